"""An audit: recall of the facts of a store, and the drift of all its edits together. Changes nothing."""

from collections.abc import Sequence

import msgspec

from memctl.backends.protocol import Backend
from memctl.deltas import Composition
from memctl.evaluation.drift import Drift, measure_drift
from memctl.evaluation.recall import FactRecall, recall
from memctl.facts import LedgerEntry
from memctl.progress import Progress


class AuditReport(msgspec.Struct, frozen=True):
    """Recall of each audited fact, in their order, and the drift."""

    facts: tuple[tuple[LedgerEntry, FactRecall], ...]
    drift: Drift


def audit(
    backend: Backend, composition: Composition, entries: Sequence[LedgerEntry], told: Sequence[LedgerEntry], progress: Progress
) -> AuditReport:
    """Asks for facts, of all that are told, with the composition attached, and measures what it does to other text."""
    with backend.attached(composition):
        found = recall(backend, [entry.fact for entry in entries], progress, "auditing", [entry.fact for entry in told])
    return AuditReport(tuple(zip(entries, found, strict=True)), measure_drift(backend, composition, progress))
