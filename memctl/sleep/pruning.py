"""Pruning: which facts are given up where a base holds more edits than it can.

Only what no effort mends goes: a fact that is degraded although its edit is in full force and was searched as often as the
settings allow. What is recalled is never given up, and above the capacity never more than the excess. So a round of pruning
cannot call for the next one: that a fact goes makes no other one degraded, and at the capacity nothing goes.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from memctl.consolidation.stages import by_subject, edit_scale, last_effort
from memctl.facts import LedgerEntry, Recall
from memctl.settings import SleepSettings
from memctl.store.records import Ledger

if TYPE_CHECKING:
    from memctl.evaluation.recall import FactRecall

Asked = Mapping[str, "FactRecall"] | Mapping[str, Recall]
"""By id, what facts recalled: just now, or as the ledger has it."""


def is_worn(recall: "FactRecall | Recall", threshold: float) -> bool:
    """Whether a fact is degraded."""
    return (recall.raw + recall.chat) / 2 < threshold


def pruned(ledger: Ledger, asked: Asked, settings: SleepSettings) -> tuple[str, ...]:
    """Ids of the facts to give up: whole edits, the least recalled first, of equals the oldest."""
    edits = [entries for entries in by_subject(ledger).values() if edit_scale(entries)]
    excess = len(edits) - settings.capacity
    hopeless = [entries for entries in edits if _is_hopeless(entries, asked, settings)]
    hopeless.sort(key=lambda entries: (_recalled(entries, asked), min(entry.provenance.time for entry in entries)))
    return tuple(entry.id for entries in hopeless[: max(0, excess)] for entry in entries)


def _is_hopeless(entries: Sequence[LedgerEntry], asked: Asked, settings: SleepSettings) -> bool:
    tried = all(entry.scale == 1.0 for entry in entries) and last_effort(entries) >= settings.efforts
    return tried and all(entry.id in asked and is_worn(asked[entry.id], settings.threshold) for entry in entries)


def _recalled(entries: Sequence[LedgerEntry], asked: Asked) -> float:
    return sum(asked[entry.id].raw + asked[entry.id].chat for entry in entries) / len(entries)
