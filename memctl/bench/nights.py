"""`consolidation`, `convergence`, `lifetime`: what becomes of facts over nights, measured as they are asked for by day."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import msgspec
import numpy as np

from memctl.bench.capacity import BLEEDS
from memctl.bench.config import AtLeastOne, NotNegative, SuiteConfig
from memctl.bench.measure import Unedited, means, measured_with_questions
from memctl.bench.plots import Panel
from memctl.bench.report import Key
from memctl.bench.stores import fresh, tell
from memctl.bench.suite import Bench, Planned
from memctl.deltas import Columns, Delta
from memctl.editing.subjects import seeded
from memctl.evaluation.invented import invented_facts, people
from memctl.evaluation.recall import recall
from memctl.facts import Fact
from memctl.progress import silent
from memctl.sleep.pipeline import sleep
from memctl.sleep.plan import plan
from memctl.store.store import Store
from memctl.wake.live import composition, live


class NightsConfig(SuiteConfig, frozen=True, kw_only=True):
    """The suites' settings.

    Attributes:
        nights: Sleeps: after each the suite measures, `lifetime` after the last of a round.
        damaged: Share of the edits that are made empty before the first night.
        sharing: Invented people who share a surname.
        strangers, probed: See `Bystanders`.
    """

    nights: AtLeastOne = 4
    damaged: float = 0.0
    sharing: AtLeastOne = 7
    strangers: NotNegative = 100
    probed: NotNegative = 50


class Consolidation:
    """Facts told at once, and what is left of their edits after each night; damaged first, where that is asked for."""

    config_type = NightsConfig
    title = "Consolidation: facts over nights"

    def __init__(self, config: NightsConfig) -> None:
        people(max(config.sizes), config.seeds[0], sharing=config.sharing)  # whether there are so many
        self.config = config

    @property
    def about(self) -> str:
        hurt = f" {self.config.damaged:.0%} of the edits are made empty before the first night." if self.config.damaged else ""
        config = self.config
        return (
            f"Facts about distinct invented people, of whom {config.sharing} share each surname, are told at once.{hurt} "
            f"Then come {config.nights} sleeps. Before the first and after each, all facts are asked for. Before the first and "
            f"after the last, {config.strangers} unseen people are asked about, and {config.probed} stored ones at most about "
            "six other relations each. Drift and questions kept in between are the sleep's own measures."
        )

    def setup(self) -> dict[str, Any]:
        found: dict[str, Any] = msgspec.to_builtins(self.config, str_keys=True)
        return found

    def plan(self) -> list[Planned]:
        return [
            Planned({"seed": seed, "size": size, "night": night}, size)
            for seed in self.config.seeds
            for size in self.config.sizes_of(seed)
            for night in range(self.config.nights + 1)
        ]

    def run(self, bench: Bench) -> None:
        unedited = Unedited(bench.backend)
        for seed in self.config.seeds:
            for size in self.config.sizes_of(seed):
                cells: list[Key] = [{"seed": seed, "size": size, "night": k} for k in range(self.config.nights + 1)]
                if not any(map(bench.lacks, cells)):
                    continue
                facts = invented_facts(size, seed, sharing=self.config.sharing)
                store = fresh(bench, f"{seed}-{size}")
                tell(bench, store, facts)
                damage(store, self.config.damaged, seed)
                seconds = 0.0
                for night, cell in enumerate(cells):
                    if night:
                        seconds = slept(bench, store)
                    if bench.lacks(cell):
                        if night in (0, self.config.nights):
                            values = state_of(bench, store, unedited, facts, seed, self.config)
                        else:
                            values = between(bench, store, facts)
                        bench.record(cell, values | {"sleep_seconds": seconds})

    def panels(self) -> list[Panel]:
        if len(self.config.sizes) == 1:
            return along("night")
        chosen = {
            "raw": "Facts recalled, raw",
            "chat": "Facts recalled, chat",
            "chat_new": "Recalled in chat wordings never trained on",
            "stage3": "Facts that the adapter alone carries",
            "drift": "Drift of perplexity on held-out text",
            "sleep_seconds": "Seconds of the sleep",
        }
        return [Panel(title, (measure,), "night", series="size", log=False) for measure, title in chosen.items()]


class Convergence(Consolidation):
    """The same facts, some of them damaged."""

    title = "Convergence: damaged facts over nights"


class Lifetime(Consolidation):
    """Rounds of new facts and nights in one memory; a cell is what all facts so far have come to."""

    title = "Lifetime: rounds of new facts and nights"

    @property
    def about(self) -> str:
        return (
            "One memory for each seed. In each round it is told facts about new people until it knows as many as the size "
            f"says, and sleeps {self.config.nights} times. Then all facts, old and new, are asked for."
        )

    def plan(self) -> list[Planned]:
        return [Planned(cell, int(cell["size"])) for seed in self.config.seeds for cell in self._cells(seed)]

    def _cells(self, seed: int) -> Iterator[Key]:
        for size in self.config.sizes_of(seed):
            yield {"seed": seed, "size": size}

    def run(self, bench: Bench) -> None:
        unedited = Unedited(bench.backend)
        for seed in self.config.seeds:
            cells = list(self._cells(seed))
            if not any(map(bench.lacks, cells)):
                continue
            facts = invented_facts(max(self.config.sizes_of(seed)), seed, sharing=self.config.sharing)
            store, told = _as_left(bench, seed, cells)
            for cell in cells:
                size = int(cell["size"])
                if size <= told:
                    continue
                tell(bench, store, facts[told:size])
                told = size
                seconds = sum(slept(bench, store) for _ in range(self.config.nights))
                if bench.lacks(cell):
                    values = state_of(bench, store, unedited, facts[:size], seed, self.config)
                    bench.record(cell, values | {"sleep_seconds": seconds})
                kept = _after_round(bench, seed, size)
                shutil.rmtree(kept, ignore_errors=True)
                shutil.copytree(store.path, bench.work / "copy", dirs_exist_ok=True).rename(kept)  # whole, or not there

    def panels(self) -> list[Panel]:
        return [*along("size"), Panel("Size of the memory, MiB", ("store_mib", "live_mib"), "size", log=False)]


def _as_left(bench: Bench, seed: int, cells: Sequence[Key]) -> tuple[Store, int]:
    """The memory as the last measured round of an interrupted run left it, and how many facts it knows; else an empty one."""
    shutil.rmtree(bench.work / "copy", ignore_errors=True)
    for size in (int(cell["size"]) for cell in reversed(cells) if not bench.lacks(cell)):
        if (kept := _after_round(bench, seed, size)).exists():
            folder = bench.work / str(seed)
            shutil.rmtree(folder, ignore_errors=True)
            return Store.open(shutil.copytree(kept, folder)), size
    return fresh(bench, str(seed)), 0


def _after_round(bench: Bench, seed: int, size: int) -> Path:
    return bench.work / f"{seed}-{size}"


def along(axis: str) -> list[Panel]:
    """All measures of one memory, night by night or size by size."""
    return [
        Panel("Facts recalled", ("raw", "chat", "raw_new", "chat_new"), axis, log=False),
        Panel("Facts that the adapter alone carries", ("stage3",), axis, log=False),
        Panel("Stored object where it does not belong", BLEEDS, axis, log=False),
        Panel("Questions still answered", ("general", "identity"), axis, log=False),
        Panel("Drift of perplexity on held-out text", ("drift",), axis, log=False),
        Panel("Seconds of the sleep", ("sleep_seconds",), axis, log=False),
    ]


def damage(store: Store, share: float, seed: int) -> None:
    """Makes a share of the edits empty, in what they add and in what they would be solved from again."""
    head, memories = store.head(), live(store)
    hurt = set(seeded("damage", seed).permutation(len(memories))[: round(share * len(memories))].tolist())
    if not hurt:
        return
    with store.writer(command="bench") as writer:
        refs = [
            msgspec.structs.replace(ref, object=writer.put(_emptied(delta).to_bytes(), ".safetensors")) if k in hurt else ref
            for k, (ref, delta) in enumerate(memories)
        ]
        writer.commit(ledger=store.ledger(head), deltas=refs, weights={}, metrics={}, message=f"{len(hurt)} edits damaged")


def _emptied(delta: Delta) -> Delta:
    (edit,) = delta.edits
    change = edit.change
    empty = replace(change, down=np.zeros_like(change.down)) if isinstance(change, Columns) else replace(change, U=0 * change.U)
    return Delta((replace(edit, change=empty, residual=np.zeros_like(edit.residual)),))


def slept(bench: Bench, store: Store) -> float:
    """One night; its seconds. Like the command, it begins nothing where nothing is to be done."""
    started = perf_counter()
    if plan(store, bench.settings).idle:
        return 0.0
    sleep(store, lambda: bench.backend, bench.settings, ids=None, wait=0, max_time=None, progress=bench.progress)
    return perf_counter() - started


def state_of(
    bench: Bench, store: Store, unedited: Unedited, facts: Sequence[Fact], seed: int, config: NightsConfig
) -> dict[str, float]:
    """All measures of a memory as it is."""
    values = measured_with_questions(bench.backend, composition(store), unedited, facts, seed, config)
    return values | _of_store(store)


def between(bench: Bench, store: Store, facts: Sequence[Fact]) -> dict[str, float]:
    """Recall after a night, and what was measured when HEAD was written: by this sleep, or before it where it was refused."""
    with bench.backend.attached(composition(store)):
        found = means(recall(bench.backend, facts, silent))
    return found | store.head().metrics | _of_store(store)


def _of_store(store: Store) -> dict[str, float]:
    active = store.ledger().active()
    size = sum(path.stat().st_size for path in store.path.rglob("*") if path.is_file())
    return {
        "stage3": sum(entry.stage == 3 for entry in active) / len(active) if active else 0.0,
        "edits": len(store.head().deltas),
        "store_mib": size / 2**20,
        "live_mib": (size - store.plan_gc(keep_last=1).bytes) / 2**20,
    }
