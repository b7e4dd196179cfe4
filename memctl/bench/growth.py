"""Facts told one at a time, and what can be measured once there are so many of them."""

import math
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from memctl.bench.learners import Learner, Method, MethodsConfig, begin
from memctl.bench.report import Key, replace
from memctl.bench.suite import Bench, Planned
from memctl.facts import Fact

RECENT = 10
"""The cost of a fact is the mean over the last so many tellings at most."""

MEASURING = 0.3
"""Steps that measuring one fact counts for, in the estimate of the time that is left; telling one counts for 1."""

Measuring = Callable[[Learner, Sequence[Fact], int], dict[str, float]]
"""Measures a learner that was told these facts, drawn by this seed."""


class _Telling(msgspec.Struct, frozen=True):
    """What telling some facts together took, and which of them were refused; see `Learner.refused`."""

    seconds: float
    facts: int
    refused: set[str]


class _Tellings:
    """All tellings of a learner, kept beside its store: a run that goes on finds there what it did not tell itself."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._all = msgspec.json.decode(path.read_bytes(), type=list[_Telling]) if path.is_file() else []

    def add(self, telling: _Telling) -> None:
        self._all.append(telling)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace(self.path, msgspec.json.encode(self._all))

    @property
    def refused(self) -> int:
        return len({id for telling in self._all for id in telling.refused})

    @property
    def seconds_per_fact(self) -> float:
        """Of the last RECENT; not a number where there is none."""
        recent = self._all[-RECENT:]
        facts = sum(telling.facts for telling in recent)
        return sum(telling.seconds for telling in recent) / facts if facts else math.nan


def planned(seeds: Sequence[int], methods: Sequence[Method], sizes_of: Callable[[int], Sequence[int]]) -> list[Planned]:
    """A cell for each seed, method and size."""
    cells = []
    for seed in seeds:
        for method in methods:
            told = 0
            for size in sizes_of(seed):
                steps = size - told + max(1, round(MEASURING * size))
                cells.append(Planned(cell_of(seed, method, size), steps))
                told = size
    return cells


def cell_of(seed: int, method: Method, size: int) -> Key:
    """What one cell is measured on."""
    return {"seed": seed, "method": method, "size": size}


def grow(
    bench: Bench,
    config: MethodsConfig,
    seed: int,
    method: Method,
    facts: Sequence[Fact],
    sizes: Sequence[int],
    measure: Measuring,
    each: int = 1,
) -> None:
    """Tells facts, so many on each subject, up to the largest size whose cell is missing, and measures at each that is."""
    wanted = [size for size in sizes if bench.lacks(cell_of(seed, method, size))]
    if not wanted:
        return
    work = bench.work / f"{method}-{seed}"
    learner = begin(method, bench.backend, bench.settings, config, work, bench.progress)
    tellings = _Tellings(work.with_suffix(".json"))
    told, together = 0, each * config.at_once
    for size in wanted:
        for at in range(told, size, together):
            some = facts[at : min(at + together, size)]
            started = time.perf_counter()
            if new := learner.tell(*some):  # a run that goes on finds facts that were told already
                refused = learner.refused & {fact.id for fact in some}
                tellings.add(_Telling(time.perf_counter() - started, new, refused))
            for _ in some:
                bench.step()
        told = size
        values = measure(learner, facts[:size], seed)
        values["refused"] = tellings.refused
        cost = {"seconds_per_fact": tellings.seconds_per_fact, "peak_memory_gib": bench.backend.memory_bytes() / 2**30}
        bench.record(cell_of(seed, method, size), values | cost)
    shutil.rmtree(work, ignore_errors=True)
    tellings.path.unlink(missing_ok=True)
