"""What a snapshot adds to the base: its live deltas, read from the store."""

from collections.abc import Iterable

from memctl.deltas import Composition, Delta, compose
from memctl.errors import DamagedStore
from memctl.store.records import DeltaRef, Snapshot
from memctl.store.store import Store


def live(store: Store, snapshot: Snapshot | None = None) -> list[tuple[DeltaRef, Delta]]:
    """The live deltas of a snapshot (HEAD if none is given), each hashed before it is used."""
    refs = (snapshot or store.head()).deltas
    return [(ref, read_delta(store, ref)) for ref in refs]


def composed(memories: Iterable[tuple[DeltaRef, Delta]]) -> Composition:
    """Deltas with the scales of their references."""
    return compose((delta, ref.scale) for ref, delta in memories)


def composition(store: Store, snapshot: Snapshot | None = None) -> Composition:
    """What a snapshot (HEAD if none is given) attaches to the base."""
    return composed(live(store, snapshot))


def read_delta(store: Store, ref: DeltaRef) -> Delta:
    """The delta of a subject; `DamagedStore` also where its bytes are those that were committed and yet hold none."""
    data = store.read_object(ref.object)
    try:
        return Delta.from_bytes(data)
    except DamagedStore as error:
        raise DamagedStore(
            f"objects/{ref.object[:2]}/{ref.object}, the edit of {ref.subject}: {error.message}",
            f"`memctl forget` the facts of {ref.subject}, or `memctl rollback` to a snapshot of `memctl log` without it",
        ) from error
