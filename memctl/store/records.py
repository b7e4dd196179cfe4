"""What a store holds: ledger, delta references, snapshots, and the hashes that name them.

They are plain data; what is true of each follows from its fields, and what names it is the hash of them.
"""

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Annotated

import msgspec

from memctl.errors import AmbiguousId, MemctlError, NonFinite, UsageError
from memctl.facts import LedgerEntry
from memctl.store.encoding import FORMAT, compact, damaged, decode, sha256

SHA256_PATTERN = r"^[0-9a-f]{64}\Z"
Sha256 = Annotated[str, msgspec.Meta(pattern=SHA256_PATTERN)]
ParentId = Annotated[str, msgspec.Meta(pattern=r"^([0-9a-f]{64})?\Z")]


class BaseRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The base model a store belongs to: its name, and the fingerprint of its weights."""

    name: str
    fingerprint: Annotated[str, msgspec.Meta(min_length=1)]


class DeltaRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One edit of a composition.

    Attributes:
        subject: Unique within a composition; gives the canonical order.
        facts: Ids of the facts it carries.
        object: SHA-256 of its bytes in the store.
        settings: Hash of the settings it was made with.
        scale: Factor on its output, above 0.0 up to 1.0: an edit at 0.0 is no part of a composition.
    """

    subject: str
    facts: tuple[str, ...]
    object: Sha256
    settings: str
    scale: float = 1.0


class AdapterRef(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The LoRA adapter of a composition.

    Attributes:
        facts: Ids of the facts it carries, sorted.
        object: SHA-256 of its bytes in the store.
        settings: Hash of the settings it was made with, and the number of the attempt.
        edits: Those that it took over. It adds 1 − scale of each, which with an edit of that scale beside it makes one.
        room: How many subjects its base has room for; None for any number.
    """

    facts: tuple[str, ...]
    object: Sha256
    settings: str
    edits: tuple[DeltaRef, ...] = ()
    room: int | None = None

    @property
    def objects(self) -> frozenset[str]:
        """SHA-256 of every object it needs: itself, and the edits that would come back without it."""
        return frozenset({self.object, *(edit.object for edit in self.edits)})

    @property
    def trained(self) -> str:
        """SHA-256 of what it is a function of, the scales of its edits left aside: the same at every stage."""
        return sha256("\n".join([self.settings, *self.facts]).encode())


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All facts a store knows of, by id, whatever their state."""

    entries: dict[str, LedgerEntry] = {}  # msgspec copies an empty default for each instance

    def active(self) -> tuple[LedgerEntry, ...]:
        """The active entries, sorted by id."""
        return tuple(entry for _, entry in sorted(self.entries.items()) if entry.state == "active")

    def by_prefix(self, prefix: str) -> LedgerEntry:
        """The one entry whose id begins with `prefix`.

        Raises:
            UsageError: No entry does.
            AmbiguousId: Several do.
        """
        found = [self.entries[id] for id in sorted(self.entries) if prefix and id.startswith(prefix)]
        if len(found) == 1:
            return found[0]
        if not found:
            raise UsageError(f"no fact has an id that begins with {prefix!r}", "`memctl facts` lists them")
        candidates = ", ".join(f"{entry.id} ({entry.fact})" for entry in found[:8])
        more = f" and {len(found) - 8} more" if len(found) > 8 else ""
        raise AmbiguousId(f"{prefix!r} could be any of {candidates}{more}", "give more digits of the id")


class Snapshot(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Immutable manifest of one state of the memory.

    Attributes:
        id: SHA-256 of the canonical JSON of all other fields.
        parent: Id of the snapshot before it; empty for the first.
        time: ISO 8601, UTC, milliseconds; always later than the parent's.
        base: Fingerprint of the base model.
        ledger: SHA-256 of the ledger object.
        deltas: Sorted by subject.
        adapter: None until a sleep has trained one.
        composition: `composition_hash` of base, deltas and adapter.
        weights: Tensor name to SHA-256 of the composed tensor; empty for the empty store.
        metrics: What was measured at commit, by name.
        report: SHA-256 of the report of the sleep that made it; empty for other commands.
        journal: Records of the journal that are worked in.
    """

    format: int
    id: Sha256
    parent: ParentId
    time: str
    command: str
    message: str
    base: str
    ledger: Sha256
    deltas: tuple[DeltaRef, ...]
    adapter: AdapterRef | None
    composition: Sha256
    weights: dict[str, Sha256]
    metrics: dict[str, float]
    report: ParentId
    journal: Annotated[int, msgspec.Meta(ge=0)]

    @property
    def objects(self) -> frozenset[str]:
        """SHA-256 of every object it needs."""
        adapter = () if self.adapter is None else self.adapter.objects
        report = (self.report,) if self.report else ()
        return frozenset({self.ledger, *(delta.object for delta in self.deltas), *adapter, *report})

    @property
    def carried(self) -> frozenset[str]:
        """Ids of the facts that its deltas or its adapter carry."""
        learned = () if self.adapter is None else self.adapter.facts
        return frozenset({*learned, *(fact for delta in self.deltas for fact in delta.facts)})


def composition_hash(base: str, deltas: Iterable[DeltaRef], adapter: AdapterRef | None = None) -> str:
    """SHA-256 over the base fingerprint and, in canonical order, every delta's object and scale, and the adapter's object.

    A scale enters as the shortest decimal that reads back as the same float, so equal hashes mean equal scales.
    """
    lines = [f"base {base}", *(f"{delta.object} {float(delta.scale)!r}" for delta in canonical_order(deltas))]
    if adapter is not None:
        lines.append(f"adapter {adapter.object}")
    return sha256("\n".join(lines).encode())


def canonical_order(deltas: Iterable[DeltaRef]) -> tuple[DeltaRef, ...]:
    """The deltas sorted by subject.

    Raises:
        NonFinite: A scale is NaN or infinite.
        MemctlError: Two deltas have one subject, or a scale is not above 0.0 and at most 1.0.
    """
    ordered = tuple(sorted(deltas, key=lambda delta: delta.subject))
    for delta in ordered:
        if not math.isfinite(delta.scale):
            raise NonFinite(f"the delta of {delta.subject!r} has the scale {delta.scale}")
        if not 0.0 < delta.scale <= 1.0:
            raise MemctlError(f"the delta of {delta.subject!r} has the scale {delta.scale}, outside (0, 1]")
    for left, right in pairwise(ordered):
        if left.subject == right.subject:
            raise MemctlError(f"two deltas of one composition have the subject {left.subject!r}")
    return ordered


def contradictions(ledger: Ledger, deltas: Iterable[DeltaRef], adapter: AdapterRef | None = None) -> list[str]:
    """What ledger and composition disagree on, as sentences; empty when they agree.

    Every active fact has a delta unless it is at stage 3, where the adapter carries it; no delta carries a fact
    that is not active, and no adapter a forgotten one (one that was superseded stays until the next sleep, under the newer
    fact's edit); every entry is filed under its fact's id.
    """
    carried = {fact for delta in deltas for fact in delta.facts}
    learned = set(adapter.facts if adapter else ())
    found = []
    for id, entry in sorted(ledger.entries.items()):
        if not id == entry.id == entry.fact.id:
            found.append(f"the entry {id} holds the fact {entry.fact.id}")
        if entry.state == "active" and id not in carried:
            if entry.stage != 3:
                found.append(f"no delta carries the active fact {id} ({entry.fact})")
            elif id not in learned:
                found.append(f"neither a delta nor the adapter carries the active fact {id} ({entry.fact})")
    for id in sorted(carried):
        if id not in ledger.entries:
            found.append(f"a delta carries the fact {id}, which the ledger does not know")
        elif ledger.entries[id].state != "active":
            found.append(f"a delta carries the {ledger.entries[id].state} fact {id}")
    for id in sorted(learned):
        if id not in ledger.entries:
            found.append(f"the adapter carries the fact {id}, which the ledger does not know")
        elif ledger.entries[id].state == "forgotten":
            found.append(f"the adapter carries the forgotten fact {id}")
    return found


def make_snapshot(
    *,
    parent: str,
    time: str,
    command: str,
    message: str,
    base: str,
    ledger: str,
    deltas: Iterable[DeltaRef],
    adapter: AdapterRef | None,
    weights: Mapping[str, str],
    metrics: Mapping[str, float],
    report: str = "",
    journal: int = 0,
) -> Snapshot:
    """The snapshot of these fields, with the format, composition and id that follow from them.

    Raises:
        NonFinite: A scale or metric is NaN or infinite.
        MemctlError: The deltas are no composition, or a field has the wrong type.
    """
    ordered = canonical_order(deltas)
    draft = Snapshot(
        format=FORMAT,
        id="0" * 64,
        parent=parent,
        time=time,
        command=command,
        message=message,
        base=base,
        ledger=ledger,
        deltas=ordered,
        adapter=adapter,
        composition=composition_hash(base, ordered, adapter),
        weights=dict(weights),
        metrics={name: float(value) for name, value in metrics.items()},
        report=report,
        journal=journal,
    )
    try:
        checked = msgspec.convert(msgspec.to_builtins(draft), Snapshot)
    except msgspec.ValidationError as error:
        raise MemctlError(f"this cannot be a snapshot: {error}") from error
    return msgspec.structs.replace(checked, id=snapshot_id(checked))


def snapshot_id(snapshot: Snapshot) -> str:
    """The id that the snapshot's other fields give it."""
    fields = msgspec.to_builtins(snapshot)
    del fields["id"]
    return sha256(compact(fields))


def decode_ledger(data: bytes, where: str) -> Ledger:
    """The ledger in `data`.

    Raises:
        DamagedStore: It is none, naming `where` and the field.
    """
    return decode(data, Ledger, where)


def decode_snapshot(data: bytes, id: str, where: str) -> Snapshot:
    """The snapshot in `data`, which must be the one called `id`.

    Raises:
        UnknownFormat: A newer memctl wrote it.
        DamagedStore: It is no snapshot, or not the one its name says, naming `where`.
    """
    snapshot = decode(data, Snapshot, where)
    if not snapshot.id == id == snapshot_id(snapshot):
        raise damaged(where, "its content does not have the hash that it is named by")
    return snapshot
