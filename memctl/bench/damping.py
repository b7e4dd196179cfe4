"""`lambda`: what the damping λ does to a plain edit, and the threshold θ to added units."""

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from memctl.bench.config import AtLeastOne, NotNegative, SuiteConfig
from memctl.bench.learners import Fixed
from memctl.bench.measure import Unedited, measured
from memctl.bench.plots import Panel
from memctl.bench.report import Key
from memctl.bench.suite import Bench, Planned
from memctl.deltas import compose
from memctl.editing.edit import find_traces, solve
from memctl.editing.selectors import UNITS
from memctl.editing.values import Subject
from memctl.evaluation.invented import invented_facts, people
from memctl.settings import EditSettings


class DampingConfig(SuiteConfig, frozen=True, kw_only=True):
    """The suite's settings.

    Attributes:
        sharing: Invented people who share a surname.
        strangers, probed: See `Bystanders`.
        dampings: λ of edits without units.
        thresholds: θ of edits with units.
    """

    sharing: AtLeastOne = 7
    strangers: NotNegative = 100
    probed: NotNegative = 50
    dampings: tuple[float, ...]
    thresholds: tuple[float, ...]


class Damping:
    """Facts are edited in together, once for each threshold; each λ is one more solve of the same keys and values."""

    config_type = DampingConfig
    title = "Damping λ and threshold θ"

    def __init__(self, config: DampingConfig) -> None:
        people(max(config.sizes), config.seeds[0], sharing=config.sharing)
        self.config = config

    @property
    def about(self) -> str:
        return (
            "Facts about distinct invented people are edited in together: without added units, where λ weighs the facts "
            "against ordinary text, and with them, where θ is the score under which a subject's units are silent."
        )

    def setup(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self.config, str_keys=True)
        return found

    def plan(self) -> list[Planned]:
        return [
            Planned(cell, size)
            for seed in self.config.seeds
            for size in self.config.sizes_of(seed)
            for cells in self._cells(seed, size).values()
            for cell in cells
        ]

    def _cells(self, seed: int, size: int) -> dict[tuple[int, float], list[Key]]:
        """The cells by units and threshold, on which keys and values depend; λ does not change them."""
        base: Key = {"seed": seed, "size": size}
        cells: dict[tuple[int, float], list[Key]] = {
            (0, math.nan): [base | {"edit": "plain", "damping": damping} for damping in self.config.dampings]
        }
        return cells | {(UNITS, theta): [base | {"edit": "units", "threshold": theta}] for theta in self.config.thresholds}

    def run(self, bench: Bench) -> None:
        unedited = Unedited(bench.backend)
        for seed in self.config.seeds:
            for size in self.config.sizes_of(seed):
                facts = invented_facts(size, seed, sharing=self.config.sharing)
                for (units, theta), cells in self._cells(seed, size).items():
                    wanted = [cell for cell in cells if bench.lacks(cell)]
                    if not wanted:
                        continue
                    changes = {"units": units} | ({"threshold": theta} if units else {})
                    edit = msgspec.structs.replace(bench.settings.edit, **changes)
                    subjects = [Subject(fact.subject, (fact,)) for fact in facts]
                    traces = [one.trace for one in find_traces(bench.backend, subjects, edit, bench.progress)]
                    for cell, chosen in self._damped(wanted, edit):
                        deltas = solve(bench.backend, traces, chosen, bench.progress)
                        learner = Fixed(compose((delta, 1.0) for delta in deltas))
                        bench.record(cell, measured(bench.backend, learner, unedited, facts, seed, self.config))

    def _damped(self, cells: list[Key], edit: EditSettings) -> Iterator[tuple[Key, EditSettings]]:
        for cell in cells:
            yield cell, msgspec.structs.replace(edit, damping=float(cell.get("damping", edit.damping)))

    def panels(self) -> list[Panel]:
        plain, units = (("edit", "plain"),), (("edit", "units"),)
        return [
            Panel("Plain: facts recalled", ("raw", "chat", "raw_new", "chat_new"), "damping", where=plain),
            Panel("Plain: unseen people unchanged", ("same_raw", "same_chat"), "damping", where=plain),
            Panel("Plain: drift of perplexity", ("drift",), "damping", where=plain),
            Panel("Units: facts recalled", ("raw", "chat", "raw_new", "chat_new"), "threshold", where=units, log=False),
            Panel("Units: unseen people unchanged", ("same_raw", "same_chat"), "threshold", where=units, log=False),
            Panel("Units: drift of perplexity", ("drift",), "threshold", where=units, log=False),
        ]
