"""Facts told one at a time, and what can be measured once there are so many of them."""

import math
import shutil
import time
from collections.abc import Callable, Sequence

from memctl.bench.learners import Learner, Method, MethodsConfig, begin
from memctl.bench.report import Key
from memctl.bench.suite import Bench, Planned
from memctl.facts import Fact

RECENT = 10
"""The cost of a fact is the mean over the last so many tellings at most."""

MEASURING = 0.3
"""Steps that measuring one fact counts for, in the estimate of the time that is left; telling one counts for 1."""

Measuring = Callable[[Learner, Sequence[Fact], int], dict[str, float]]
"""Measures a learner that was told these facts, drawn by this seed."""


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
    together: int = 1,
) -> None:
    """Tells facts, so many together, up to the largest size whose cell is missing, and measures at each that is."""
    wanted = [size for size in sizes if bench.lacks(cell_of(seed, method, size))]
    if not wanted:
        return
    work = bench.work / f"{method}-{seed}"
    learner = begin(method, bench.backend, bench.settings, config, work, bench.progress)
    tellings: list[tuple[float, int]] = []
    told = 0
    for size in wanted:
        for at in range(told, size, together):
            some = facts[at : min(at + together, size)]
            started = time.perf_counter()
            if learner.tell(*some):  # a run that goes on finds facts that were told already
                tellings.append((time.perf_counter() - started, len(some)))
            for _ in some:
                bench.step()
        told = size
        values = measure(learner, facts[:size], seed)
        seconds, count = map(sum, zip(*tellings[-RECENT:], strict=True)) if tellings else (math.nan, 1)
        values["refused"] = learner.refused
        cost = {"seconds_per_fact": seconds / count, "peak_memory_gib": bench.backend.memory_bytes() / 2**30}
        bench.record(cell_of(seed, method, size), values | cost)
    shutil.rmtree(work, ignore_errors=True)
