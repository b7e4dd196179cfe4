"""What changed between two snapshots: facts by id, deltas by subject, and the adapter."""

from typing import TYPE_CHECKING

import msgspec

from memctl.facts import LedgerEntry
from memctl.store.records import AdapterRef, DeltaRef, Snapshot

if TYPE_CHECKING:
    from memctl.store.store import Store


class FactChange(msgspec.Struct, frozen=True):
    """A fact whose state, stage or scale is not what it was."""

    before: LedgerEntry
    after: LedgerEntry


class DeltaChange(msgspec.Struct, frozen=True):
    """A delta whose bytes, scale, settings or facts are not what they were."""

    before: DeltaRef
    after: DeltaRef


class AdapterChange(msgspec.Struct, frozen=True):
    """An adapter that came, went, or is not what it was."""

    before: AdapterRef | None
    after: AdapterRef | None


class Diff(msgspec.Struct, frozen=True):
    """From one snapshot to another; facts sorted by id, deltas by subject. `adapter` is None where it did not change."""

    facts_added: tuple[LedgerEntry, ...]
    facts_removed: tuple[LedgerEntry, ...]
    facts_changed: tuple[FactChange, ...]
    deltas_added: tuple[DeltaRef, ...]
    deltas_removed: tuple[DeltaRef, ...]
    deltas_changed: tuple[DeltaChange, ...]
    adapter: AdapterChange | None

    def __bool__(self) -> bool:
        return any(msgspec.structs.astuple(self))


def diff(store: "Store", a: Snapshot, b: Snapshot) -> Diff:
    """What it takes to get from `a` to `b`; false where nothing."""
    before, after = store.ledger(a).entries, store.ledger(b).entries
    old, new = ({delta.subject: delta for delta in snapshot.deltas} for snapshot in (a, b))
    return Diff(
        facts_added=tuple(after[id] for id in sorted(after.keys() - before.keys())),
        facts_removed=tuple(before[id] for id in sorted(before.keys() - after.keys())),
        facts_changed=tuple(
            FactChange(before[id], after[id])
            for id in sorted(before.keys() & after.keys())
            if _standing(before[id]) != _standing(after[id])
        ),
        deltas_added=tuple(new[subject] for subject in sorted(new.keys() - old.keys())),
        deltas_removed=tuple(old[subject] for subject in sorted(old.keys() - new.keys())),
        deltas_changed=tuple(
            DeltaChange(old[subject], new[subject])
            for subject in sorted(old.keys() & new.keys())
            if old[subject] != new[subject]
        ),
        adapter=None if a.adapter == b.adapter else AdapterChange(a.adapter, b.adapter),
    )


def _standing(entry: LedgerEntry) -> tuple[str, int, float]:
    return entry.state, entry.stage, entry.scale
