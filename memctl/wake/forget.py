"""The way of facts out of the weights: what remains is composed as if they had never been told."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from memctl.backends.protocol import Backend
from memctl.errors import DamagedStore, MemctlError
from memctl.evaluation.drift import measure_drift
from memctl.evaluation.recall import recall
from memctl.facts import LedgerEntry, with_recall
from memctl.progress import Progress
from memctl.settings import Settings
from memctl.store.lock import now
from memctl.store.records import Ledger, Snapshot
from memctl.store.store import Store
from memctl.wake.draft import Basis, Draft, commit, draft_of, named, writing
from memctl.wake.gates import searched_again


@dataclass(frozen=True)
class ForgetReport:
    """What has gone, and what it did to the rest.

    Attributes:
        forgotten: The entries as they are now.
        lost: Facts whose edit had to be found anew without them, and which are not recalled any more.
        replaced: Entries that the forgotten ones had superseded. They stay so: nobody has said that they hold again.
        snapshot: The snapshot made.
        still_in: Ids of older snapshots that still hold the facts, newest first.
        unread: Why the history could not be read to its end; empty where it was.
    """

    forgotten: tuple[LedgerEntry, ...]
    lost: tuple[LedgerEntry, ...]
    replaced: tuple[LedgerEntry, ...]
    snapshot: Snapshot | None
    still_in: tuple[str, ...]
    unread: str


def forget(
    store: Store,
    backend: Backend,
    settings: Settings,
    ids: Sequence[str],
    *,
    wait: float,
    dry_run: bool,
    progress: Progress,
) -> ForgetReport:
    """Takes facts out of the live memory: what remains is composed as if they had never been told.

    Raises:
        UsageError: An id names no fact, or several.
        EditFailed: A subject that keeps some of its facts has no edit for them.
        StoreLocked: Another writer holds the store.
    """
    with writing(store, wait, "forget", dry_run) as writer:
        head = store.head()
        old = store.ledger(head)
        entries = dict(old.entries)
        meant = {entry.id: entry for entry in map(old.by_prefix, ids)}
        gone = [msgspec.structs.replace(entry, state="forgotten") for entry in meant.values() if entry.state != "forgotten"]
        entries.update({entry.id: entry for entry in gone})
        snapshot = None
        lost: list[LedgerEntry] = []
        if gone and writer is not None:
            draft = draft_of(Basis.of(store, head), backend, settings.edit, Ledger(entries), progress, {})
            lost = _read_back(backend, old, draft, progress)
            drift = measure_drift(backend, draft.composition, progress)
            snapshot = commit(writer, backend, draft, drift, f"forget {named([entry.fact for entry in gone])}")
            with suppress(MemctlError, OSError):  # the change stands
                store.workroom.clear()  # an unfinished sleep began with the facts, and its work is of no use any more
        ids_gone = {entry.id for entry in gone}
        still, unread = _still_in(store, ids_gone, snapshot)
    replaced = [entry for entry in entries.values() if entry.state == "superseded" and entry.superseded_by in ids_gone]
    return ForgetReport(tuple(gone), tuple(lost), tuple(replaced), snapshot, still, unread)


def _still_in(store: Store, ids: set[str], made: Snapshot | None) -> tuple[tuple[str, ...], str]:
    """Older snapshots that hold one of the facts, and why the history was not read to its end: the change stands by now."""
    found = []
    try:
        for past in store.log():
            if (made is None or past.id != made.id) and ids & past.carried:
                found.append(past.id)
    except DamagedStore as error:
        return tuple(found), error.message
    return tuple(found), ""


def _read_back(backend: Backend, old: Ledger, draft: Draft, progress: Progress) -> list[LedgerEntry]:
    """Asks for the facts whose edits were found anew, and keeps the answers in the draft's ledger; the ones that are lost."""
    again = searched_again(old, draft, (), ())
    with backend.attached(draft.composition):
        found = recall(backend, again, progress, "asking after")
    time, entries = now(), dict(draft.ledger.entries)
    for fact, one in zip(again, found, strict=True):
        entries[fact.id] = with_recall(entries[fact.id], time, one.raw, one.chat)
    draft.ledger = Ledger(entries)
    return [entries[fact.id] for fact, one in zip(again, found, strict=True) if not one.raw + one.chat]
