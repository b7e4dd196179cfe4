"""What a command line did, and stores for it to work on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from memctl.deltas import Columns, Delta, Edit
from memctl.facts import LedgerEntry, Provenance, make_fact
from memctl.store.records import BaseRef, DeltaRef, Ledger, Snapshot
from memctl.store.store import Store

BASE = BaseRef(name="tiny", fingerprint="f" * 64)


@dataclass
class Ran:
    """What a command line did; `records` where it was asked for JSON."""

    code: int
    out: str
    err: str
    records: list[dict[str, Any]] = field(default_factory=list)

    def of(self, type: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["type"] == type]

    @property
    def summary(self) -> dict[str, Any]:
        assert self.records[-1]["type"] == "summary", self.out
        return self.records[-1]


Cli = Callable[..., Ran]


def remember(store: Store, *facts: tuple[str, str, str]) -> Snapshot:
    """Commits exactly these facts as the store's state, with a made-up edit for each subject."""
    told = [make_fact(*parts) for parts in facts]
    entries = [LedgerEntry(fact.id, fact, Provenance("notes.ndjson", line=k)) for k, fact in enumerate(told, 1)]
    with store.writer(command="inject") as writer:
        return writer.commit(
            ledger=Ledger({entry.id: entry for entry in entries}),
            deltas=[_edit(writer.put, subject, entries) for subject in {fact[0] for fact in facts}],
            weights={},
            metrics={"drift": 0.001},
            message=f"{len(facts)} facts",
        )


def _edit(put: Callable[[bytes, str], str], subject: str, entries: Sequence[LedgerEntry]) -> DeltaRef:
    ids = tuple(sorted(entry.id for entry in entries if entry.fact.subject == subject))
    sha = put(_delta(f"{subject} {ids}").to_bytes(), ".safetensors")
    return DeltaRef(subject=subject, facts=ids, object=sha, settings="s")


def _delta(text: str) -> Delta:
    """One unit of a model of width 8, drawn from a text."""
    draw = np.random.default_rng(list(text.encode())).standard_normal
    gate, up, down, key, value = (draw(shape).astype(np.float32) for shape in ((1, 8), (1, 8), (8, 1), (8, 2), (8, 1)))
    return Delta((Edit(1, Columns(gate, up, down), key, value),))
