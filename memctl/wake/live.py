"""What a snapshot adds to the base: its live deltas and its adapter, read from the store."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from memctl.adapters import Adapter
from memctl.deltas import Composition, Delta, compose
from memctl.errors import DamagedStore
from memctl.store.records import AdapterRef, DeltaRef, Ledger, Snapshot
from memctl.store.store import Store

Read = Callable[[str], bytes]
"""The bytes of an object, hashed."""


@dataclass(frozen=True)
class Memory:
    """All that a snapshot holds, for commands that hold no lock.

    Attributes:
        memories: The live deltas.
        carried: The edits that the adapter has all of.
    """

    head: Snapshot
    ledger: Ledger
    memories: list[tuple[DeltaRef, Delta]]
    carried: list[tuple[DeltaRef, Delta]]
    adapter: Adapter | None

    @classmethod
    def current(cls, store: Store) -> "Memory":
        """HEAD's, begun again where a commit and gc have swept away what was about to be read."""

        def read() -> Memory:
            head = store.head()
            return cls(head, store.ledger(head), live(store, head), taken_over(store, head), learned(store, head))

        return store.layout.undisturbed(read)

    @property
    def composition(self) -> Composition:
        """What is attached to the base."""
        return composed(self.memories, self.adapter)


def live(store: Store, snapshot: Snapshot | None = None) -> list[tuple[DeltaRef, Delta]]:
    """The live deltas of a snapshot (HEAD if none is given), each hashed before it is used."""
    refs = (snapshot or store.head()).deltas
    return [(ref, read_delta(store.read_object, ref)) for ref in refs]


def taken_over(store: Store, snapshot: Snapshot | None = None) -> list[tuple[DeltaRef, Delta]]:
    """The edits that an adapter has all of: they are not attached any more, and tell what its neurons answer to."""
    ref = (snapshot or store.head()).adapter
    return [(edit, read_delta(store.read_object, edit)) for edit in ref.edits if not edit.scale] if ref else []


def learned(store: Store, snapshot: Snapshot | None = None) -> Adapter | None:
    """The adapter of a snapshot (HEAD if none is given), hashed before it is used; None where there is none."""
    ref = (snapshot or store.head()).adapter
    return None if ref is None else read_adapter(store.read_object, ref)


def composed(memories: Iterable[tuple[DeltaRef, Delta]], adapter: Adapter | None = None) -> Composition:
    """An adapter, and deltas with the scales of their references."""
    return compose(((delta, ref.scale) for ref, delta in memories), adapter)


def composition(store: Store, snapshot: Snapshot | None = None) -> Composition:
    """What a snapshot (HEAD if none is given) attaches to the base."""
    snapshot = snapshot or store.head()
    return composed(live(store, snapshot), learned(store, snapshot))


def read_delta(read: Read, ref: DeltaRef) -> Delta:
    """The delta of a subject; `DamagedStore` also where its bytes are those that were committed and yet hold none."""
    data = read(ref.object)
    try:
        return Delta.from_bytes(data)
    except DamagedStore as error:
        raise DamagedStore(
            f"objects/{ref.object[:2]}/{ref.object}, the edit of {ref.subject}: {error.message}",
            f"`memctl forget` the facts of {ref.subject}, or `memctl rollback` to a snapshot of `memctl log` without it",
        ) from error


def read_adapter(read: Read, ref: AdapterRef) -> Adapter:
    """The adapter; `DamagedStore` also where its bytes are those that were committed and yet hold none."""
    data = read(ref.object)
    try:
        return Adapter.from_bytes(data)
    except DamagedStore as error:
        where = f"objects/{ref.object[:2]}/{ref.object}"
        raise DamagedStore(f"{where}: {error.message}", "`memctl rollback` to a snapshot of `memctl log` before it") from error
