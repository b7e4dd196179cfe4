"""What a sleep has worked out so far, and what it leaves behind: plain data that a killed sleep goes on from."""

from typing import Literal

import msgspec

from memctl.evaluation.recall import FactRecall
from memctl.store.records import AdapterRef, DeltaRef, Ledger

StepName = Literal["health", "curate", "audit", "maintain", "consolidate", "scale", "validate", "report"]

STEPS: tuple[StepName, ...] = ("health", "curate", "audit", "maintain", "consolidate", "scale", "validate", "report")


class Health(msgspec.Struct, frozen=True):
    """How a memory leaves the model: drift and divergence on held-out text, general and identity questions kept."""

    drift: float
    divergence: float
    general: float
    identity: float


class Step(msgspec.Struct, frozen=True):
    """One step: what it did in words and in numbers, and how long it took, a part that was lost to a kill not counted."""

    name: StepName
    seconds: float
    said: str
    counts: dict[str, float] = {}


class State(msgspec.Struct, frozen=True):
    """The memory as a sleep would leave it, after the steps so far.

    Attributes:
        key: What the sleep began with; work of another beginning is of no use.
        ledger, deltas, adapter: The memory; objects that are not in the store yet lie in the workroom.
        before, after: Health at the first step and at the last.
        asked: Recall of the facts at the audit, where maintenance changed it thereafter.
        final: Recall of the facts in the end.
        passed, failed: Ids of the facts that were asked for at their next stage's scale.
        refreshed, pruned: Ids of facts that were searched anew, and that were given up.
        journal: Records of the journal that are worked in.
        efforts: Those with which an adapter may still be made; None before the first was.
    """

    key: str
    ledger: Ledger
    deltas: tuple[DeltaRef, ...]
    adapter: AdapterRef | None
    steps: tuple[Step, ...] = ()
    before: Health | None = None
    after: Health | None = None
    asked: dict[str, FactRecall] = {}
    final: dict[str, FactRecall] = {}
    passed: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    refreshed: tuple[str, ...] = ()
    pruned: tuple[str, ...] = ()
    journal: int = 0
    efforts: tuple[int, ...] | None = None

    @property
    def objects(self) -> frozenset[str]:
        """SHA-256 of every object that its memory needs."""
        adapter = () if self.adapter is None else self.adapter.objects
        return frozenset({*(ref.object for ref in self.deltas), *adapter})


class FactReport(msgspec.Struct, frozen=True):
    """A fact before and after a sleep; `gate` is what its edit's next scale came to."""

    id: str
    stage_before: int
    stage: int
    scale: float
    raw: float | None
    chat: float | None
    gate: Literal["passed", "failed", "not asked"]
    refreshed: bool
    pruned: bool


class SleepReport(msgspec.Struct, frozen=True):
    """What a sleep did: per step, per fact, and the model's health before and after."""

    steps: tuple[Step, ...]
    facts: tuple[FactReport, ...]
    before: Health | None
    after: Health | None


def report_of(state: State, old: Ledger) -> SleepReport:
    """The report of a state against the ledger that the sleep began with."""
    facts = []
    for id, entry in sorted(state.ledger.entries.items()):
        if entry.state != "active" and id not in state.pruned:
            continue
        found = state.final.get(id, state.asked.get(id))
        facts.append(
            FactReport(
                id=id,
                stage_before=old.entries[id].stage if id in old.entries else 0,
                stage=entry.stage,
                scale=entry.scale,
                raw=found.raw if found else None,
                chat=found.chat if found else None,
                gate="passed" if id in state.passed else "failed" if id in state.failed else "not asked",
                refreshed=id in state.refreshed,
                pruned=id in state.pruned,
            )
        )
    return SleepReport(state.steps, tuple(facts), state.before, state.after)
