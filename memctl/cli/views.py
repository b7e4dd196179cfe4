"""How ledger entries and snapshots look as records, and as cells of a table."""

from typing import Any

import msgspec

from memctl.facts import LedgerEntry, Provenance
from memctl.store.records import Snapshot

SHORT = 12
"""Digits of an id that people get to see."""


def entry_record(entry: LedgerEntry) -> dict[str, Any]:
    """A ledger entry, flat where people ask for it: the fact's own fields beside its state."""
    fields = msgspec.to_builtins(entry.fact)
    last = entry.recalls[-1] if entry.recalls else None
    return {
        "id": entry.id,
        **fields,
        "state": entry.state,
        "stage": entry.stage,
        "scale": entry.scale,
        "effort": entry.effort,
        "superseded_by": entry.superseded_by,
        "provenance": msgspec.to_builtins(entry.provenance),
        "recall": msgspec.to_builtins(last) if last else None,
    }


def entry_cells(entry: LedgerEntry) -> list[str]:
    """Id, subject, relation, object, state, last recall."""
    fact = entry.fact
    last = entry.recalls[-1].recall if entry.recalls else None
    recall = recall_text(last.raw, last.chat) if last else ""
    return [entry.id, fact.subject, fact.relation, fact.object, entry.state, recall]


def provenance_text(told: Provenance) -> str:
    """Where a fact came from and when, such as `facts.ndjson line 3, 2025-01-31T12:00:00.000Z`."""
    place = " ".join(part for part in (told.source, told.session, f"line {told.line}" if told.line else "") if part)
    return ", ".join(part for part in (place, told.time) if part) or "nobody knows from where"


def recall_text(raw: float, chat: float) -> str:
    """Recall raw and in chat, such as `1.00/0.75`."""
    return f"{raw:.2f}/{chat:.2f}"


def snapshot_record(snapshot: Snapshot) -> dict[str, Any]:
    """What `log` says of a snapshot."""
    return {
        "id": snapshot.id,
        "parent": snapshot.parent,
        "time": snapshot.time,
        "command": snapshot.command,
        "message": snapshot.message,
        "composition": snapshot.composition,
        "metrics": snapshot.metrics,
    }
