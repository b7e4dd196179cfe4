"""A state of the memory before it is committed: composed from the set of live facts alone, measured, then kept or dropped.

An edit is a function of the base, its subject's facts, and the settings and effort of its search, all of which the ledger or
the settings hold. So an edit that was made before is used again, and one that is not at hand is searched; the solve is joint
over all. Neither order nor detours show in the result.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import msgspec

from memctl.adapters import Adapter
from memctl.backends.protocol import Backend
from memctl.consolidation.stages import by_subject, edit_scale, without_lost
from memctl.consolidation.transplant import shared_out
from memctl.deltas import Composition, Delta, compose
from memctl.editing.edit import Found, find_traces, solve, trace_of
from memctl.editing.fold import weight_hashes
from memctl.editing.solve import Trace
from memctl.editing.values import Subject
from memctl.evaluation.drift import Drift
from memctl.facts import Fact
from memctl.progress import Progress
from memctl.settings import EditSettings, settings_hash
from memctl.store.encoding import sha256
from memctl.store.records import AdapterRef, DeltaRef, Ledger, Snapshot
from memctl.store.store import Store
from memctl.store.writer import Writer
from memctl.wake.live import read_adapter, read_delta

Searched = dict[EditSettings, dict[Subject, Found]]
"""What the drafts of one command have found, so that no subject is searched twice."""


@dataclass(frozen=True)
class Basis:
    """What a draft begins with.

    Attributes:
        deltas: Edits at hand.
        adapter: The adapter in force, with the edits that it took over: dissolved ones come back from there.
        read: The bytes of an object.
    """

    deltas: Sequence[DeltaRef]
    adapter: AdapterRef | None
    read: Callable[[str], bytes]

    @classmethod
    def of(cls, store: Store, head: Snapshot) -> "Basis":
        """A snapshot."""
        return cls(head.deltas, head.adapter, store.read_object)


@dataclass
class Draft:
    """A state of the memory that is not committed yet, and what was found for the subjects that had to be searched.

    Attributes:
        dissolved: Of subjects that the adapter alone carries: its neurons answer to their names as the edits did.
    """

    ledger: Ledger
    adapter_ref: AdapterRef | None = None
    adapter: Adapter | None = None
    refs: list[DeltaRef] = field(default_factory=list)
    deltas: list[Delta] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    found: dict[str, Found] = field(default_factory=dict)
    dissolved: list[Trace] = field(default_factory=list)

    @property
    def composition(self) -> Composition:
        return compose(zip(self.deltas, (ref.scale for ref in self.refs), strict=True), self.adapter)


def draft_of(
    basis: Basis, backend: Backend, settings: EditSettings, ledger: Ledger, progress: Progress, searched: Searched
) -> Draft:
    """Composes the live facts of a ledger; only subjects without an edit at hand are optimised.

    Where a fact that the adapter carries is not active any more, the adapter goes and the edits come back (see `stages`).
    Where it stays, it has what the edits beside it leave to it.
    """
    ledger, adapter = without_lost(ledger, basis.adapter)
    wanted = {wish.subject: wish for wish in _wishes(ledger, settings)}
    kept = _at_hand(basis, wanted)
    found: dict[str, Found] = {}
    for own in dict.fromkeys(wish.settings for wish in wanted.values()):
        missing = [Subject(name, wish.facts) for name, wish in wanted.items() if name not in kept and wish.settings == own]
        searches = find_traces(backend, missing, own, progress, searched.setdefault(own, {}))
        found |= {subject.name: search for subject, search in zip(missing, searches, strict=True)}
    traces = [kept[name] if name in kept else found[name].trace for name in wanted]
    deltas = solve(backend, traces, settings, progress)
    refs = [DeltaRef(name, wish.ids, "0" * 64, wish.mark, wish.scale) for name, wish in wanted.items()]
    draft = Draft(ledger, None, None, refs, deltas, traces, found)
    if adapter is not None:
        draft.adapter_ref, draft.adapter = _beside(basis, backend, adapter, ledger)
        alone = [edit for edit in adapter.edits if edit.subject not in wanted] if found else []  # who is new is told apart
        draft.dissolved = [trace_of(edit.subject, read_delta(basis.read, edit)) for edit in alone]
    return draft


def _beside(basis: Basis, backend: Backend, ref: AdapterRef, ledger: Ledger) -> tuple[AdapterRef, Adapter]:
    """The adapter beside the edits of a ledger."""
    adapter = read_adapter(basis.read, ref)
    scales = {subject: edit_scale(entries) for subject, entries in by_subject(ledger).items()}
    edits = tuple(msgspec.structs.replace(edit, scale=scales[edit.subject]) for edit in ref.edits)
    if edits == ref.edits:
        return ref, adapter
    whole = Composition(tuple((read_delta(basis.read, edit), 1.0) for edit in edits))
    (layer,) = whole.layers()
    units = whole.columns(layer)
    assert units is not None
    own = [edit.scale for edit, (delta, _) in zip(edits, whole.deltas, strict=True) for _ in range(delta.edits[0].units)]
    adapter = shared_out(adapter, backend, layer, units, own)
    return msgspec.structs.replace(ref, object=sha256(adapter.to_bytes()), edits=edits), adapter


@dataclass(frozen=True)
class _Wish:
    """An edit that a ledger asks for."""

    subject: str
    facts: tuple[Fact, ...]
    scale: float
    settings: EditSettings

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(fact.id for fact in self.facts)

    @property
    def mark(self) -> str:
        return settings_hash(self.settings)

    def is_met_by(self, ref: DeltaRef) -> bool:
        return (ref.subject, ref.facts, ref.settings) == (self.subject, self.ids, self.mark)


def _wishes(ledger: Ledger, settings: EditSettings) -> Iterator[_Wish]:
    """The edits of a ledger's subjects, sorted by subject; none where the adapter alone carries all facts."""
    for subject, entries in by_subject(ledger).items():
        if scale := edit_scale(entries):
            effort = max(entry.effort for entry in entries)
            own = msgspec.structs.replace(settings, steps=settings.steps * 2**effort)
            yield _Wish(subject, tuple(entry.fact for entry in entries), scale, own)


def _at_hand(basis: Basis, wanted: Mapping[str, _Wish]) -> dict[str, Trace]:
    """What edits that were made before were solved from, by subject."""

    def met(refs: Sequence[DeltaRef], open: set[str]) -> Iterator[DeltaRef]:
        for ref in refs:
            if not open:
                return
            if ref.subject in open and wanted[ref.subject].is_met_by(ref):
                open.remove(ref.subject)
                yield ref

    taken = basis.adapter.edits if basis.adapter else ()
    return {
        ref.subject: trace_of(ref.subject, read_delta(basis.read, ref)) for ref in met((*basis.deltas, *taken), set(wanted))
    }


def commit(writer: Writer, backend: Backend, draft: Draft, drift: Drift, message: str) -> Snapshot:
    """Makes a draft the current state."""
    refs = [
        msgspec.structs.replace(ref, object=writer.put(delta.to_bytes(), ".safetensors"))
        for ref, delta in zip(draft.refs, draft.deltas, strict=True)
    ]
    if draft.adapter is not None:
        writer.put(draft.adapter.to_bytes(), ".safetensors")
    return writer.commit(
        ledger=draft.ledger,
        deltas=refs,
        adapter=draft.adapter_ref,
        weights=weight_hashes(backend, draft.composition),
        metrics={"drift": drift.perplexity, "divergence": drift.divergence},
        message=message,
    )


def writing(store: Store, wait: float, command: str, dry_run: bool) -> AbstractContextManager[Writer | None]:
    """The store's lock; a dry run only reads, and takes none."""
    return nullcontext() if dry_run else store.writer(wait, command)


def named(facts: Sequence[Fact]) -> str:
    return str(facts[0]) if len(facts) == 1 else f"{len(facts)} facts"
