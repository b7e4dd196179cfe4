"""Stages: how far a fact has gone over from its edit into the adapter. Pure functions of ledger entries.

A fact is at stage 0 (its edit carries it) to 3 (the adapter does), and each stage has a scale of the edit. At every sleep it is
asked for with its edit at the next stage's scale: passed, it is one stage on; failed, one back, never below 0.

An edit is shared by all active facts of its subject and has one scale: that of its least advanced fact. "The minimum over the
facts" is meant of their stages; the minimum of their scales would take the edit away from a fact that has passed no gate. So at
0.0, where the edit leaves the composition, each of its facts has been answered without it.

Forgetting stays exact. An adapter that carries a fact which is not active any more leaves the composition whole, and the facts
that it carried begin at stage 0 again: no step could take one fact out of it, and the next sleep trains another from the base.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from memctl.facts import LedgerEntry
from memctl.store.records import AdapterRef, Ledger

LAST = 3
"""The stage of a fact that the adapter alone carries."""

Schedule = Sequence[float]
"""Scales of the stages 0 to LAST, falling."""


def stage_of(scale: float, schedule: Schedule) -> int:
    """The last stage whose scale is not below this one."""
    return max(stage for stage, of_stage in enumerate(schedule) if of_stage >= scale)


def edit_scale(entries: Iterable[LedgerEntry]) -> float:
    """The scale of the edit that these facts share: the one that its least advanced fact needs."""
    return max(entry.scale for entry in entries)


def last_effort(entries: Iterable[LedgerEntry]) -> int:
    """The last effort that was made for a subject's edit, whether it helped or not."""
    return max(max(entry.effort, entry.tried) for entry in entries)


def by_subject(ledger: Ledger) -> dict[str, list[LedgerEntry]]:
    """The active entries by subject, subjects sorted, each subject's in the order of their ids."""
    found: dict[str, list[LedgerEntry]] = {}
    for entry in ledger.active():
        found.setdefault(entry.fact.subject, []).append(entry)
    return dict(sorted(found.items()))


def whole_subjects(ledger: Ledger, ids: Collection[str]) -> frozenset[str]:
    """These facts, and all others of their subjects: they share one edit, which goes as a whole or not at all."""
    return frozenset(
        entry.id for entries in by_subject(ledger).values() if any(entry.id in ids for entry in entries) for entry in entries
    )


def at_scale(entry: LedgerEntry, scale: float, schedule: Schedule) -> LedgerEntry:
    """The entry with its edit at a scale, and the stage that has reached it."""
    return msgspec.structs.replace(entry, stage=stage_of(scale, schedule), scale=scale)


def next_scale(entries: Iterable[LedgerEntry], schedule: Schedule) -> float:
    """The scale at which the facts of one edit are asked for next; 0.0 for an edit that is gone."""
    return schedule[min(LAST, stage_of(edit_scale(entries), schedule) + 1)]


def gated(entries: Sequence[LedgerEntry], passed: Collection[str], schedule: Schedule, adapter: str) -> list[LedgerEntry]:
    """The facts of one edit after they were asked for with it at the next stage's scale.

    A fact that is ahead of the edit stays where it is when it passes, and comes back below the edit when it fails. One that
    fails waits for another adapter: under this one, all would go the same way again.

    Args:
        passed: Ids of the facts that were answered.
        adapter: What the adapter that they were asked under was trained on.
    """
    stage = stage_of(edit_scale(entries), schedule)
    on, back = min(LAST, stage + 1), max(0, stage - 1)
    return [
        msgspec.structs.replace(at_scale(entry, min(entry.scale, schedule[on]), schedule), waits="")
        if entry.id in passed
        else msgspec.structs.replace(at_scale(entry, schedule[back], schedule), waits=adapter)
        for entry in entries
    ]


def waiting_under(entries: Iterable[LedgerEntry], adapter: AdapterRef | None) -> list[LedgerEntry]:
    """Those of the facts that failed a gate under this very adapter."""
    return [entry for entry in entries if adapter is not None and entry.waits == adapter.trained]


def can_be_mended(
    worn: Sequence[LedgerEntry], entries: Sequence[LedgerEntry], adapter: AdapterRef | None, efforts: int
) -> bool:
    """Whether there is anything left to try for an edit with degraded facts: a stronger scale of it, or another search.

    Args:
        worn: The degraded ones.
        entries: All facts of the edit.
        efforts: Searches at most.
    """
    if edit_scale(entries) < 1.0:
        return any(entry.stuck != beside(adapter) for entry in worn)
    return bool(worn) and last_effort(entries) < efforts


def beside(adapter: AdapterRef | None) -> str:
    """A name for what a fact's edit stands beside."""
    return adapter.trained if adapter is not None else "nothing"


def renamed(ledger: Ledger, old: str, new: str) -> Ledger:
    """The ledger with another name for the adapter under which facts wait or are stuck."""
    return with_entries(
        ledger,
        (
            msgspec.structs.replace(
                entry, waits=new if entry.waits == old else entry.waits, stuck=new if entry.stuck == old else entry.stuck
            )
            for entry in ledger.active()
            if old in (entry.waits, entry.stuck)
        ),
    )


def to_carry(
    ledger: Ledger, adapter: AdapterRef | None, wanted: Collection[str] | None, room: int | None
) -> tuple[LedgerEntry, ...]:
    """The facts that an adapter shall carry, in the order of their ids: those it carries, and those wanted, the oldest first.

    Where there is no room for all, the others keep their edits.

    Args:
        wanted: Ids of whole subjects' facts; None for all.
        room: Subjects at most; None for any number.
    """
    carried = set(adapter.facts if adapter else ())
    chosen = [
        [entry for entry in entries if wanted is None or entry.id in wanted or entry.id in carried]
        for entries in by_subject(ledger).values()
    ]

    def turn(entries: list[LedgerEntry]) -> tuple[bool, str]:
        return carried.isdisjoint(entry.id for entry in entries), min(entry.provenance.time for entry in entries)

    subjects = sorted(filter(None, chosen), key=turn)
    return tuple(sorted((entry for entries in subjects[:room] for entry in entries), key=lambda entry: entry.id))


def with_entries(ledger: Ledger, changed: Iterable[LedgerEntry]) -> Ledger:
    """The ledger with these entries in place of its own."""
    return Ledger({**ledger.entries, **{entry.id: entry for entry in changed}})


def without_lost(ledger: Ledger, adapter: AdapterRef | None) -> tuple[Ledger, AdapterRef | None]:
    """The ledger and the adapter that may stay: none, and all facts that it carried at stage 0, once one of them has gone."""
    if adapter is None or all(_active(ledger.entries, id) for id in adapter.facts):
        return ledger, adapter
    back = (ledger.entries[id] for id in adapter.facts if _active(ledger.entries, id))
    return with_entries(ledger, (msgspec.structs.replace(entry, stage=0, scale=1.0) for entry in back)), None


def _active(entries: Mapping[str, LedgerEntry], id: str) -> bool:
    return id in entries and entries[id].state == "active"
