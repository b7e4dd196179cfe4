"""A state of the memory before it is committed: composed from the set of live facts alone, measured, then kept or dropped.

Only subjects whose facts or settings have changed are searched; the solve is joint over all, so that neither order nor detours
show in the result.
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import msgspec

from memctl.adapters import Adapter
from memctl.backends.protocol import Backend
from memctl.deltas import Composition, Delta, compose
from memctl.editing.edit import Found, find_traces, solve, trace_of
from memctl.editing.fold import weight_hashes
from memctl.editing.solve import Trace
from memctl.editing.values import Subject
from memctl.evaluation.drift import Drift
from memctl.facts import Fact
from memctl.progress import Progress
from memctl.settings import EditSettings, edit_hash
from memctl.store.records import AdapterRef, DeltaRef, Ledger, Snapshot
from memctl.store.store import Store
from memctl.store.writer import Writer
from memctl.wake.live import learned, read_delta


@dataclass
class Draft:
    """A state of the memory that is not committed yet, and what was found for the subjects that are not as they were."""

    ledger: Ledger
    adapter_ref: AdapterRef | None = None
    adapter: Adapter | None = None
    refs: list[DeltaRef] = field(default_factory=list)
    deltas: list[Delta] = field(default_factory=list)
    traces: list[Trace] = field(default_factory=list)
    found: dict[str, Found] = field(default_factory=dict)

    @property
    def composition(self) -> Composition:
        return compose(zip(self.deltas, (ref.scale for ref in self.refs), strict=True), self.adapter)


def draft_of(
    store: Store,
    head: Snapshot,
    backend: Backend,
    settings: EditSettings,
    ledger: Ledger,
    progress: Progress,
    searched: dict[Subject, Found],
) -> Draft:
    """Composes the live facts of a ledger; only subjects whose facts or settings changed since `head` are optimised.

    Args:
        searched: What earlier drafts of the same command have found; what is found now is added.
    """
    mark = edit_hash(settings)
    kept: dict[str, tuple[DeltaRef, Trace]] = {}
    subjects = subjects_of(ledger)
    for ref in head.deltas:
        wanted = subjects.get(ref.subject)
        if wanted is not None and ref.settings == mark and ref.facts == tuple(fact.id for fact in wanted.facts):
            kept[ref.subject] = (ref, trace_of(ref.subject, read_delta(store, ref)))
    fresh = [subject for name, subject in sorted(subjects.items()) if name not in kept]
    searches = find_traces(backend, fresh, settings, progress, searched)
    found = {subject.name: search for subject, search in zip(fresh, searches, strict=True)}
    traces = [trace for _, trace in kept.values()] + [one.trace for one in found.values()]
    traces.sort(key=lambda trace: trace.subject)
    draft = Draft(ledger, head.adapter, learned(store, head), traces=traces, found=found)
    for trace, delta in zip(traces, solve(backend, traces, settings, progress), strict=True):
        scale = kept[trace.subject][0].scale if trace.subject in kept else 1.0
        facts = tuple(fact.id for fact in subjects[trace.subject].facts)
        draft.refs.append(DeltaRef(trace.subject, facts, "0" * 64, mark, scale))
        draft.deltas.append(delta)
    return draft


def commit(writer: Writer, backend: Backend, draft: Draft, drift: Drift, message: str) -> Snapshot:
    refs = [
        msgspec.structs.replace(ref, object=writer.put(delta.to_bytes(), ".safetensors"))
        for ref, delta in zip(draft.refs, draft.deltas, strict=True)
    ]
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


def subjects_of(ledger: Ledger) -> dict[str, Subject]:
    """The active facts by subject, each subject's in the order of their ids."""
    facts: dict[str, list[Fact]] = {}
    for entry in ledger.active():
        facts.setdefault(entry.fact.subject, []).append(entry.fact)
    return {name: Subject(name, tuple(own)) for name, own in facts.items()}


def named(facts: Sequence[Fact]) -> str:
    return str(facts[0]) if len(facts) == 1 else f"{len(facts)} facts"
