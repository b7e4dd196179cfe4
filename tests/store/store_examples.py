"""Small stores for tests: facts about invented people, deltas of a few bytes."""

from pathlib import Path

from memctl.facts import LedgerEntry, make_fact
from memctl.store.records import BaseRef, DeltaRef, Ledger, Snapshot
from memctl.store.store import Store, Writer

BASE = BaseRef(name="tiny", fingerprint="ab" * 32)
TOWNS = (
    "Jakarta",
    "Quito",
    "Oslo",
    "Turin",
    "Perth",
    "Lagos",
    "Lima",
    "Cork",
    "Basel",
    "Kyoto",
    "Malmo",
    "Split",
)


def entry(subject: str, town: str) -> LedgerEntry:
    fact = make_fact(subject, "lives in", town)
    return LedgerEntry(id=fact.id, fact=fact)


def tell(writer: Writer, ledger: Ledger, deltas: tuple[DeltaRef, ...], subject: str, town: str) -> Snapshot:
    """Commits one more fact with a delta of its own."""
    told = entry(subject, town)
    sha = writer.put(f"delta of {told.fact}".encode(), ".safetensors")
    return writer.commit(
        ledger=Ledger({**ledger.entries, told.id: told}),
        deltas=(*deltas, DeltaRef(subject=subject, facts=(told.id,), object=sha, settings="s1")),
        weights={"layers.1.down_proj": sha},
        metrics={"recall": 1.0},
        message=f"{subject} lives in {town}",
    )


def tell_one(store: Store, number: int, wait: float = 0.0) -> Snapshot:
    """One whole writing command: takes the lock, adds person `number`."""
    with store.writer(wait=wait, command="inject") as writer:
        head = store.head()
        return tell(writer, store.ledger(head), head.deltas, f"Person {number}", TOWNS[number % len(TOWNS)])


def build(path: Path, commits: int) -> Store:
    store = Store.create(path, BASE)
    for number in range(commits):
        tell_one(store, number)
    return store


def told(store: Store) -> set[str]:
    """The subjects that the store's current ledger knows."""
    return {known.fact.subject for known in store.ledger().entries.values()}
