"""`speed`: what a fact costs, as seconds and as a ratio to one forward pass, and what a memory costs in generation.

What is compared runs in one process, in turns: the ratios depend on the machine far less than the seconds do.
"""

import time
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

import msgspec
import numpy as np

from memctl.backends.protocol import PRISTINE, Backend
from memctl.bench.config import AtLeastOne, SuiteConfig
from memctl.bench.learners import prepare
from memctl.bench.plots import Panel
from memctl.bench.report import Key
from memctl.bench.stores import fresh, tell
from memctl.bench.suite import Bench, Planned
from memctl.deltas import Columns, Composition, Delta, Edit
from memctl.editing.cues import training_cues
from memctl.editing.edit import edited_layer, find_traces, solve
from memctl.editing.selectors import UNITS
from memctl.editing.values import Subject
from memctl.evaluation.drift import held_out_windows
from memctl.evaluation.invented import invented_facts
from memctl.facts import Fact
from memctl.progress import silent
from memctl.store.store import Store

PROMPT_TOKENS = 32


class SpeedConfig(SuiteConfig, frozen=True, kw_only=True):
    """The suite's settings; `sizes` are the facts that are attached while text is generated.

    Attributes:
        single: Facts that are told one at a time, after one that warms the process up.
        batch: Facts that are told together.
        prompts: Texts that are continued together.
        tokens: By so many tokens each.
        repeats: Turns of a comparison; the median counts.
    """

    single: AtLeastOne = 3
    batch: AtLeastOne = 32
    prompts: AtLeastOne = 8
    tokens: AtLeastOne = 64
    repeats: AtLeastOne = 5


class Speed:
    """Cost of telling facts, alone and in a batch, and of generating with units attached."""

    config_type = SpeedConfig
    title = "Speed: telling a fact, and generating with facts attached"

    def __init__(self, config: SpeedConfig) -> None:
        self.config = config

    @property
    def about(self) -> str:
        return (
            f"{self.config.single} facts told one at a time in a warm process, and {self.config.batch} together; both beside "
            "one forward pass over the same facts' training cues. Generation continues held-out text with and without units "
            "attached, in turns; the units are silent, so that both write the same text."
        )

    def setup(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self.config, str_keys=True)
        return found

    def plan(self) -> list[Planned]:
        return [Planned(cell, steps) for seed in self.config.seeds for cell, steps in self._cells(seed)]

    def _cells(self, seed: int) -> list[tuple[Key, int]]:
        telling = [(_telling(seed, "one at a time", self.config.single)), (_telling(seed, "together", self.config.batch))]
        attached: list[Key] = [{"seed": seed, "attached": size} for size in self.config.sizes_of(seed)]
        return [*((cell, 2 * int(cell["facts"])) for cell in telling), *((cell, 2) for cell in attached)]

    def run(self, bench: Bench) -> None:
        prepare(bench.backend, bench.settings, bench.progress)
        for seed in self.config.seeds:
            facts = invented_facts(self.config.single + self.config.batch + 1, seed)
            single, batch = facts[1 : self.config.single + 1], facts[self.config.single + 1 :]
            one, all = (cell for cell, _ in self._cells(seed)[:2])
            if bench.lacks(one):
                store = fresh(bench, f"single-{seed}")
                tell(bench, store, facts[:1])  # the first fact of a process pays for what is made once
                bench.record(one, _cost(bench, store, [(fact,) for fact in single]))
            if bench.lacks(all):
                bench.record(all, _cost(bench, fresh(bench, f"batch-{seed}"), [batch]))
            for cell, _ in self._cells(seed)[2:]:
                if bench.lacks(cell):
                    bench.record(cell, self._generation(bench.backend, bench, int(cell["attached"])))

    def _generation(self, backend: Backend, bench: Bench, facts: int) -> dict[str, float]:
        memory_of = silent_units(backend, edited_layer(backend, bench.settings.edit), UNITS * facts)
        prompts = [window[:PROMPT_TOKENS] for window in held_out_windows(backend)[: self.config.prompts]]
        written = 0

        def generate(composition: Composition) -> float:
            nonlocal written
            with backend.attached(composition):
                seconds, texts = _timed(lambda: backend.generate(prompts, self.config.tokens))
            written = sum(map(len, texts))
            return seconds

        generate(PRISTINE)
        turns = [(generate(PRISTINE), generate(memory_of)) for _ in range(self.config.repeats)]
        without, beside = (median(turn) for turn in zip(*turns, strict=True))
        return {
            "tokens_per_second": written / beside,
            "tokens_per_second_without": written / without,
            "speed_kept": without / beside,
            "peak_memory_gib": backend.memory_bytes() / 2**30,
        }

    def panels(self) -> list[Panel]:
        return [
            Panel("Seconds a fact", ("seconds_per_fact", "edit_seconds_per_fact"), "told", "bars"),
            Panel("In forward passes over its cues", ("ratio", "edit_ratio"), "told", "bars"),
            Panel("Generation speed kept", ("speed_kept",), "attached"),
        ]


def _telling(seed: int, told: str, facts: int) -> Key:
    return {"seed": seed, "told": told, "facts": facts}


def _cost(bench: Bench, store: Store, batches: Sequence[Sequence[Fact]]) -> dict[str, float]:
    """Seconds a fact of whole writes, of the edits alone, and of a forward pass; a ratio is that of neighbours in time."""
    told, edited, forward = [], [], []
    for facts in batches:
        forward.append(_forward(bench.backend, facts) / len(facts))
        told.append(tell(bench, store, facts) / len(facts))
        edited.append(_edit(bench, facts) / len(facts))
        bench.step()
    return {
        "seconds_per_fact": fmean(told),
        "edit_seconds_per_fact": fmean(edited),
        "forward_seconds_per_fact": fmean(forward),
        "ratio": median(a / b for a, b in zip(told, forward, strict=True)),
        "edit_ratio": median(a / b for a, b in zip(edited, forward, strict=True)),
        "peak_memory_gib": bench.backend.memory_bytes() / 2**30,
    }


def _edit(bench: Bench, facts: Sequence[Fact]) -> float:
    """Seconds of values, keys, units and solve."""
    subjects = [Subject(fact.subject, (fact,)) for fact in facts]
    edit = bench.settings.edit

    def make() -> list[Delta]:
        found = find_traces(bench.backend, subjects, edit, silent)
        return solve(bench.backend, [one.trace for one in found], edit, silent)

    seconds, _ = _timed(make)
    return seconds


def _forward(backend: Backend, facts: Sequence[Fact]) -> float:
    """Seconds of one pass over the training cues with their answers; the second of two, the first warms up."""
    texts = [backend.encode(cue.prompt, cue.mode, cue.target).tokens for fact in facts for cue in training_cues(fact)]
    backend.score(texts)
    seconds, _ = _timed(lambda: backend.score(texts))
    return seconds


def _timed(job: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    result = job()
    return time.perf_counter() - started, result


def silent_units(backend: Backend, layer: int, count: int) -> Composition:
    """So many units, which cost what units cost and say nothing."""
    random = np.random.default_rng(0)
    gate, up = (random.standard_normal((count, backend.shape.hidden)).astype(np.float32) for _ in range(2))
    change = Columns(gate, up, np.zeros((backend.shape.hidden, count), np.float32))
    return Composition(((Delta((Edit(layer, change, gate.T, up.T),)), 1.0),))
