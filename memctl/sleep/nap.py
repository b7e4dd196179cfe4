"""A nap: the newest facts are asked for, and what they recall is recorded. The model stays as it is."""

from dataclasses import dataclass

from memctl.backends.protocol import Backend
from memctl.consolidation.stages import with_entries
from memctl.evaluation.recall import FactRecall, recall
from memctl.facts import LedgerEntry, with_recall
from memctl.progress import Progress
from memctl.settings import Settings
from memctl.store.lock import now
from memctl.store.records import Snapshot
from memctl.store.store import Store
from memctl.wake.draft import writing
from memctl.wake.live import composition


@dataclass(frozen=True)
class NapReport:
    """The facts asked for, newest first, with their recall, and the snapshot that records it (None for a dry run)."""

    facts: tuple[tuple[LedgerEntry, FactRecall], ...]
    snapshot: Snapshot | None


def nap(store: Store, backend: Backend, settings: Settings, *, wait: float, dry_run: bool, progress: Progress) -> NapReport:
    """Asks for the newest facts, raw and in chat, and records the answers in the ledger."""
    with writing(store, wait, "nap", dry_run) as writer:
        head = store.head()
        ledger = store.ledger(head)
        newest = sorted(ledger.active(), key=lambda entry: (entry.provenance.time, entry.id), reverse=True)
        asked = newest[: settings.sleep.nap]
        with backend.attached(composition(store, head)):
            found = recall(backend, [entry.fact for entry in asked], progress, "napping", [entry.fact for entry in newest])
        snapshot = None
        if asked and writer is not None:
            time = now()
            snapshot = writer.commit(
                ledger=with_entries(
                    ledger, (with_recall(entry, time, one.raw, one.chat) for entry, one in zip(asked, found, strict=True))
                ),
                deltas=head.deltas,
                adapter=head.adapter,
                weights=head.weights,
                metrics=head.metrics,
                message=f"nap: {len(asked)} facts",
            )
    return NapReport(tuple(zip(asked, found, strict=True)), snapshot)
