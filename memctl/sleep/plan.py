"""What a sleep would have to do, from the store alone: no model is loaded for a night in which there is nothing to do."""

from collections.abc import Collection, Sequence

import msgspec

from memctl.consolidation.stages import by_subject, edit_scale, last_effort, waiting_under, whole_subjects
from memctl.facts import LedgerEntry
from memctl.settings import Settings, SleepSettings
from memctl.sleep.learning import effort_of, most_efforts
from memctl.sleep.pressure import Pressure, is_degraded, pressure
from memctl.sleep.waiting import waiting
from memctl.store.records import Ledger
from memctl.store.store import Store


class Plan(msgspec.Struct, frozen=True):
    """The work that waits.

    Attributes:
        waiting: Facts in the journal.
        degraded: Facts that were hardly recalled when they were last asked for.
        stages: Active facts by stage.
        edits: Live edits.
        trains: Whether the facts to consolidate are not just those of the adapter, or its settings have changed.
        idle: Whether nothing at all is to be done: every fact to consolidate is carried by the adapter alone, or waits for
            another one, and what is degraded has had every effort.
    """

    waiting: int
    degraded: int
    stages: tuple[int, int, int, int]
    edits: int
    trains: bool
    idle: bool
    pressure: Pressure


def plan(store: Store, settings: Settings, ids: Collection[str] | None = None) -> Plan:
    """The plan for the store as it is.

    Args:
        ids: Whole ids of the facts to consolidate, with those of the same subjects; None for all.
    """
    head = store.head()
    ledger = store.ledger(head)
    active = ledger.active()
    last = store.workroom.last_sleep()
    found = len(waiting(store, head)[0])
    worn = [entry for entry in active if is_degraded(entry, settings.sleep.threshold)]
    adapter = head.adapter
    carried = frozenset(adapter.facts if adapter else ())
    chosen = frozenset(entry.id for entry in active) if ids is None else carried | whole_subjects(ledger, ids)
    stale = adapter is None or carried != chosen
    settled = adapter is not None and all(
        waiting_under(entries, adapter)
        for entries in by_subject(ledger).values()
        if edit_scale(entries) and not chosen.isdisjoint(entry.id for entry in entries)
    )
    effort = None if adapter is None else effort_of(adapter.settings, settings)
    settled = settled and (not head.deltas or (effort or 0) >= most_efforts(settings))
    stale = stale or effort is None
    stages = [sum(entry.stage == stage for entry in active) for stage in range(4)]
    return Plan(
        waiting=found,
        degraded=len(worn),
        stages=(stages[0], stages[1], stages[2], stages[3]),
        edits=len(head.deltas),
        trains=bool(active) and stale,
        idle=not found and not _mendable(ledger, worn, settings.sleep) and (not active or (settled and not stale)),
        pressure=pressure(head, ledger, last.slept if last else "", settings.sleep),
    )


def _mendable(ledger: Ledger, worn: Sequence[LedgerEntry], settings: SleepSettings) -> bool:
    """Whether there is anything that maintenance would do about the degraded facts: mend them, or give some up."""
    subjects = {entry.fact.subject for entry in worn}
    edits = {subject: entries for subject, entries in by_subject(ledger).items() if edit_scale(entries)}
    return (len(edits) > settings.capacity and bool(worn)) or any(
        edit_scale(entries) < 1.0 or last_effort(entries) < settings.efforts
        for subject, entries in by_subject(ledger).items()
        if subject in subjects
    )
