"""`alignment-tax`: what a memory costs the model, by the way its facts are taken in."""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

import msgspec

from memctl.bench.capacity import BLEEDS
from memctl.bench.config import AtLeastOne, NotNegative, SuiteConfig
from memctl.bench.learners import prepare
from memctl.bench.measure import Unedited, measured_with_questions
from memctl.bench.nights import slept
from memctl.bench.plots import Panel
from memctl.bench.report import Key
from memctl.bench.stores import fresh, tell
from memctl.bench.suite import Bench, Planned
from memctl.consolidation.train import consolidate
from memctl.deltas import Composition
from memctl.editing.edit import edited_layer
from memctl.evaluation.invented import invented_facts, people
from memctl.facts import Fact
from memctl.store.store import Store
from memctl.wake.live import composition


class AlignmentTaxConfig(SuiteConfig, frozen=True, kw_only=True):
    """The suite's settings.

    Attributes:
        passes: Lessons of each fact that the adapter is trained with while awake.
        nights: Sleeps at most; there is none after the last edit is gone.
        sharing: Invented people who share a surname.
        strangers, probed: See `Bystanders`.
    """

    passes: AtLeastOne = 40
    nights: AtLeastOne = 3
    sharing: AtLeastOne = 7
    strangers: NotNegative = 100
    probed: NotNegative = 50


class AlignmentTax:
    """The same facts in edits, in an adapter that was trained on them alone, and in one that edits went over to."""

    config_type = AlignmentTaxConfig
    title = "Alignment tax: what a memory costs the model"

    def __init__(self, config: AlignmentTaxConfig) -> None:
        people(max(config.sizes), config.seeds[0], sharing=config.sharing)  # whether there are so many
        self.config = config

    @property
    def about(self) -> str:
        return (
            f"Facts about distinct invented people, of whom {self.config.sharing} share each surname, are taken in at once. "
            "**edits**: our edits with added units, as `inject --force` writes them; **lora**: no edit, a LoRA adapter above "
            f"the edited layer, trained while awake with {self.config.passes} lessons of each fact; **slept**: the edits after "
            f"sleeps until none of them is left, {self.config.nights} at most. Then all facts are asked for, "
            f"{self.config.strangers} unseen people are asked about, and at most {self.config.probed} stored ones about six "
            "other relations each; the model is asked about general knowledge and about itself."
        )

    def setup(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self.config, str_keys=True)
        return found

    def plan(self) -> list[Planned]:
        return [
            Planned(_cell(seed, method, size), size)
            for seed in self.config.seeds
            for size in self.config.sizes_of(seed)
            for method in METHODS
        ]

    def run(self, bench: Bench) -> None:
        prepare(bench.backend, bench.settings, bench.progress)
        unedited = Unedited(bench.backend)
        for seed in self.config.seeds:
            for size in self.config.sizes_of(seed):
                facts = invented_facts(size, seed, sharing=self.config.sharing)
                for method, take_in in METHODS.items():
                    cell = _cell(seed, method, size)
                    if not bench.lacks(cell):
                        continue
                    started = perf_counter()
                    attached = take_in(bench, self.config, facts)
                    cost = {"seconds": perf_counter() - started, "edits": len(attached.deltas)}
                    values = measured_with_questions(bench.backend, attached, unedited, facts, seed, self.config)
                    bench.record(cell, values | cost)

    def panels(self) -> list[Panel]:
        chosen = {
            "Facts recalled": ("raw", "chat"),
            "Recalled in wordings never trained on": ("raw_new", "chat_new"),
            "Stored object where it does not belong": BLEEDS,
            "Questions still answered": ("general", "identity"),
            "Drift of perplexity on held-out text": ("drift",),
            "Seconds to take all facts in": ("seconds",),
        }
        if len(self.config.sizes) == 1:
            return [Panel(title, measures, "method", "bars") for title, measures in chosen.items()]
        return [Panel(title, measures, "size", series="method") for title, measures in chosen.items()]


def _cell(seed: int, method: str, size: int) -> Key:
    return {"seed": seed, "method": method, "size": size}


def _edits(bench: Bench, config: AlignmentTaxConfig, facts: Sequence[Fact]) -> Composition:
    return composition(_told(bench, facts))


def _lora(bench: Bench, config: AlignmentTaxConfig, facts: Sequence[Fact]) -> Composition:
    layer = edited_layer(bench.backend, bench.settings.edit)
    settings = msgspec.structs.replace(bench.settings.lora, passes=config.passes)
    return Composition(adapter=consolidate(bench.backend, facts, layer, None, settings, bench.progress).adapter)


def _slept(bench: Bench, config: AlignmentTaxConfig, facts: Sequence[Fact]) -> Composition:
    store = _told(bench, facts)
    for _ in range(config.nights):
        if store.head().deltas:
            slept(bench, store)
    return composition(store)


METHODS: dict[str, Callable[[Bench, AlignmentTaxConfig, Sequence[Fact]], Composition]] = {
    "edits": _edits,
    "lora": _lora,
    "slept": _slept,
}


def _told(bench: Bench, facts: Sequence[Fact]) -> Store:
    """A store that was told these facts, in one batch."""
    store = fresh(bench, "told")
    tell(bench, store, facts)
    return store
