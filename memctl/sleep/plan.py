"""What a sleep would have to do, from the store alone: no model is loaded for a night in which there is nothing to do."""

from collections.abc import Collection, Sequence
from itertools import takewhile

import msgspec

from memctl.consolidation.stages import by_subject, can_be_mended, edit_scale, to_carry, waiting_under, whole_subjects
from memctl.facts import LedgerEntry
from memctl.settings import Settings, SleepSettings
from memctl.sleep.efforts import effort_of, most_efforts
from memctl.sleep.pressure import Advice, Pressure, is_degraded, pressure
from memctl.sleep.pruning import pruned
from memctl.sleep.waiting import waiting
from memctl.store.records import Ledger, Snapshot
from memctl.store.store import Store


class Plan(msgspec.Struct, frozen=True):
    """The work that waits.

    Attributes:
        waiting: Facts in the journal.
        degraded: Facts that were hardly recalled when they were last asked for.
        stages: Active facts by stage.
        edits: Live edits of the facts to consolidate.
        trains: Whether the facts to consolidate are not just those of the adapter, or its settings have changed.
        idle: Whether nothing at all is to be done: every fact to consolidate is carried by the adapter alone, or waits for
            another one, and what is degraded has had every effort.
        advice: What the pressure calls for, where that would change anything: a nap right after a nap finds nothing new.
    """

    waiting: int
    degraded: int
    stages: tuple[int, int, int, int]
    edits: int
    trains: bool
    idle: bool
    pressure: Pressure
    advice: Advice


def plan(store: Store, settings: Settings, ids: Collection[str] | None = None) -> Plan:
    """The plan for the store as it is.

    Args:
        ids: Whole ids of the facts to consolidate, with those of the same subjects; None for all.
    """
    head = store.head()
    ledger, adapter = store.ledger(head), head.adapter
    active = ledger.active()
    found = len(waiting(store, head)[0])
    worn = [entry for entry in active if is_degraded(entry, settings.sleep.threshold)]
    wanted = None if ids is None else whole_subjects(ledger, ids)
    chosen = frozenset(entry.id for entry in to_carry(ledger, adapter, wanted, adapter.room if adapter else None))
    effort = None if adapter is None else effort_of(adapter.settings, settings)
    stale = effort is None or adapter is None or frozenset(adapter.facts) != chosen
    edits = [
        entries
        for entries in by_subject(ledger).values()
        if edit_scale(entries) and not chosen.isdisjoint(entry.id for entry in entries)
    ]
    settled = all(waiting_under(entries, adapter) for entries in edits) and (
        not edits or (effort is not None and effort >= most_efforts(settings))
    )
    idle = not found and not _mendable(head, ledger, worn, settings.sleep) and (not chosen or (settled and not stale))
    felt = pressure(head, ledger, _last_slept(store, head), settings.sleep)
    stages = [sum(entry.stage == stage for entry in active) for stage in range(4)]
    return Plan(
        waiting=found,
        degraded=len(worn),
        stages=(stages[0], stages[1], stages[2], stages[3]),
        edits=len(edits),
        trains=(bool(chosen) and stale) or (found > 0 and ids is None),
        idle=idle,
        pressure=felt,
        advice="" if idle or (felt.advice == "nap" and head.command == "nap") else felt.advice,
    )


def _last_slept(store: Store, head: Snapshot) -> str:
    """When a sleep last went through all facts, ISO 8601; empty where none has, or a rollback came after it."""
    last = store.workroom.last_sleep()
    if last is None or not last.slept:
        return ""
    since = takewhile(lambda past: past.time > last.slept, store.log(head.id))
    return "" if any(past.command == "rollback" for past in since) else last.slept


def _mendable(head: Snapshot, ledger: Ledger, worn: Sequence[LedgerEntry], settings: SleepSettings) -> bool:
    """Whether there is anything that maintenance would do about the degraded facts: mend them, or give some up."""
    if pruned(ledger, {entry.id: entry.recalls[-1].recall for entry in ledger.active() if entry.recalls}, settings):
        return True
    return any(
        can_be_mended([entry for entry in entries if entry in worn], entries, head.adapter, settings.efforts)
        for entries in by_subject(ledger).values()
        if any(entry in worn for entry in entries)
    )
