"""What a sleep would have to do, from the store alone: no model is loaded for a night in which there is nothing to do."""

import msgspec

from memctl.consolidation.stages import by_subject, edit_scale, waiting_under
from memctl.settings import Settings
from memctl.sleep.learning import effort_of, most_efforts
from memctl.sleep.pressure import Pressure, is_degraded, pressure
from memctl.sleep.waiting import waiting
from memctl.store.store import Store


class Plan(msgspec.Struct, frozen=True):
    """The work that waits.

    Attributes:
        waiting: Facts in the journal.
        degraded: Facts that were hardly recalled when they were last asked for.
        stages: Active facts by stage.
        edits: Live edits.
        trains: Whether the facts are not just those of the adapter, or its settings have changed.
        idle: Whether nothing at all is to be done: every fact is carried by the adapter alone, or waits for another one.
    """

    waiting: int
    degraded: int
    stages: tuple[int, int, int, int]
    edits: int
    trains: bool
    idle: bool
    pressure: Pressure


def plan(store: Store, settings: Settings) -> Plan:
    """The plan for the store as it is."""
    head = store.head()
    ledger = store.ledger(head)
    active = ledger.active()
    last = store.workroom.last_sleep()
    found = len(waiting(store)[0])
    worn = sum(is_degraded(entry, settings.sleep.threshold) for entry in active)
    adapter = head.adapter
    stale = adapter is None or adapter.facts != tuple(entry.id for entry in active)
    settled = adapter is not None and all(
        waiting_under(entries, adapter) for entries in by_subject(ledger).values() if edit_scale(entries)
    )
    effort = None if adapter is None else effort_of(adapter.settings, settings)
    settled = settled and (not head.deltas or (effort or 0) >= most_efforts(settings))
    stale = stale or effort is None
    stages = [sum(entry.stage == stage for entry in active) for stage in range(4)]
    return Plan(
        waiting=found,
        degraded=worn,
        stages=(stages[0], stages[1], stages[2], stages[3]),
        edits=len(head.deltas),
        trains=bool(active) and stale,
        idle=not found and not worn and (not active or (settled and not stale)),
        pressure=pressure(head, ledger, last.slept if last else "", settings.sleep),
    )
