"""Pruning: which facts are given up where a base holds more edits than it can.

Only what no effort mends goes: a fact that is degraded although its edit is in full force and was searched as often as the
settings allow. What is recalled is never given up, and above the capacity never more than the excess. So a round of pruning
cannot call for the next one: that a fact goes makes no other one degraded, and at the capacity nothing goes.
"""

from collections.abc import Mapping, Sequence

from memctl.consolidation.stages import by_subject, edit_scale
from memctl.evaluation.recall import FactRecall
from memctl.facts import LedgerEntry
from memctl.settings import SleepSettings
from memctl.store.records import Ledger


def is_worn(recall: FactRecall, threshold: float) -> bool:
    """Whether a fact is degraded."""
    return (recall.raw + recall.chat) / 2 < threshold


def pruned(ledger: Ledger, asked: Mapping[str, FactRecall], settings: SleepSettings) -> tuple[str, ...]:
    """Ids of the facts to give up: whole edits, the least recalled first, of equals the oldest."""
    edits = [entries for entries in by_subject(ledger).values() if edit_scale(entries)]
    excess = len(edits) - settings.capacity
    hopeless = [entries for entries in edits if all(_is_hopeless(entry, asked, settings) for entry in entries)]
    hopeless.sort(key=lambda entries: (_recalled(entries, asked), min(entry.provenance.time for entry in entries)))
    return tuple(entry.id for entries in hopeless[: max(0, excess)] for entry in entries)


def _is_hopeless(entry: LedgerEntry, asked: Mapping[str, FactRecall], settings: SleepSettings) -> bool:
    found = asked.get(entry.id)
    tried = entry.scale == 1.0 and entry.effort >= settings.efforts
    return tried and found is not None and is_worn(found, settings.threshold)


def _recalled(entries: Sequence[LedgerEntry], asked: Mapping[str, FactRecall]) -> float:
    return sum(asked[entry.id].raw + asked[entry.id].chat for entry in entries) / len(entries)
