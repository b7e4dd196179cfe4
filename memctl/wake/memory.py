"""The path of a fact from being told to being in the weights, and out of them again.

A write is prepared on the pristine base, attached, read back, and only then committed: until the commit, nothing has
changed. What is composed follows from the set of live facts alone.
"""

import time
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import msgspec

from memctl.adapters import Adapter
from memctl.backends.protocol import Backend
from memctl.deltas import Composition, Delta, compose
from memctl.editing.cues import relation_of
from memctl.editing.edit import Found, edited_layer, find_traces, solve, trace_of
from memctl.editing.fold import weight_hashes
from memctl.editing.preflight import Preflight, preflight
from memctl.editing.relations import relation_key
from memctl.editing.solve import Trace
from memctl.editing.statistics import covariance
from memctl.editing.values import Subject
from memctl.errors import DamagedStore, EditFailed, GateRefused
from memctl.evaluation.drift import Drift, measure_drift
from memctl.evaluation.recall import FactRecall, recall
from memctl.facts import Fact, LedgerEntry, Provenance, Recall, RecallRecord
from memctl.progress import Progress
from memctl.settings import EditSettings, Settings, settings_hash
from memctl.store.check import Finding
from memctl.store.records import AdapterRef, DeltaRef, Ledger, Snapshot
from memctl.store.store import Store
from memctl.store.writer import Writer

Status = Literal["written", "present", "superseded", "rejected"]


@dataclass(frozen=True)
class Told:
    """A fact as it was told, and where."""

    fact: Fact
    provenance: Provenance


@dataclass(frozen=True)
class Outcome:
    """What became of a fact.

    Attributes:
        status: `written`; `superseded`: written in place of an older fact; `present`: it was there already;
            `rejected`: not written, for the reason given.
        before, after: Recall without and with the new fact; None where nothing was measured.
        replaced: Id of the fact that this one superseded.
        preflight: What was known of its subject's memory before it was written; None where none was made.
    """

    fact: Fact
    status: Status
    before: FactRecall | None = None
    after: FactRecall | None = None
    reason: str = ""
    replaced: str = ""
    preflight: Preflight | None = None


@dataclass(frozen=True)
class InjectReport:
    """Outcomes in the order told; the snapshot made (None for a dry run or when nothing changed); the drift."""

    outcomes: tuple[Outcome, ...]
    snapshot: Snapshot | None
    drift: float
    seconds: float


@dataclass(frozen=True)
class ForgetReport:
    """The entries as they were, the snapshot made, and older snapshots that still hold the facts, newest first."""

    forgotten: tuple[LedgerEntry, ...]
    snapshot: Snapshot | None
    still_in: tuple[str, ...]


@dataclass
class _Draft:
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


def live(store: Store, snapshot: Snapshot | None = None) -> list[tuple[DeltaRef, Delta]]:
    """The live deltas of a snapshot (HEAD if none is given), each hashed before it is used."""
    refs = (snapshot or store.head()).deltas
    return [(ref, _delta(store, ref)) for ref in refs]


def learned(store: Store, snapshot: Snapshot | None = None) -> Adapter | None:
    """The adapter of a snapshot (HEAD if none is given), hashed before it is used; None where there is none."""
    ref = (snapshot or store.head()).adapter
    if ref is None:
        return None
    data = store.read_object(ref.object)
    try:
        return Adapter.from_bytes(data)
    except DamagedStore as error:
        where = f"objects/{ref.object[:2]}/{ref.object}"
        raise DamagedStore(f"{where}: {error.message}", "`memctl rollback` to a snapshot of `memctl log` before it") from error


def composed(memories: Iterable[tuple[DeltaRef, Delta]], adapter: Adapter | None = None) -> Composition:
    """An adapter, and deltas with the scales of their references."""
    return compose(((delta, ref.scale) for ref, delta in memories), adapter)


def composition(store: Store, snapshot: Snapshot | None = None) -> Composition:
    """What a snapshot (HEAD if none is given) attaches to the base."""
    snapshot = snapshot or store.head()
    return composed(live(store, snapshot), learned(store, snapshot))


def inject(
    store: Store,
    backend: Backend,
    settings: Settings,
    told: Sequence[Told],
    *,
    wait: float,
    force: bool,
    dry_run: bool,
    progress: Progress,
    strict: bool = False,
) -> InjectReport:
    """Writes facts, reads them back, and commits them as one snapshot.

    Args:
        wait: Seconds to wait for another writer.
        force: Write also what the base model says by itself, what pre-flight refuses or could not be read back, and beyond
            the drift budget.
        strict: Write nothing if any fact is rejected.

    Raises:
        GateRefused: The drift would exceed its budget, or facts told before would be lost; nothing was changed.
        EditFailed: Settings have changed, and a subject that was told before has no edit under the new ones.
        StoreLocked: Another writer holds the store.
    """
    started = time.monotonic()
    with _writer(store, wait, "inject", dry_run) as writer:
        head = store.head()
        old = store.ledger(head)
        outcomes = _sorted_out(told, old)
        if new := _to_write(outcomes):
            with backend.attached(composition(store, head)):
                before = recall(backend, [told[k].fact for k in new], progress, "asking before")
            for k, found in zip(new, before, strict=True):
                outcomes[k] = _with(outcomes[k], before=found)
            if not force:
                _reject_known(backend, outcomes, new, progress)
        drift = 0.0
        snapshot = None
        draft = None
        searched: dict[Subject, Found] = {}
        while new := _to_write(outcomes):
            ledger = _ledger_with(old, told, outcomes, new)
            try:
                draft = _draft(store, head, backend, settings.edit, ledger, progress, searched)
            except EditFailed as error:
                if not _reject_failed(outcomes, new, error):
                    raise
                continue
            if _check(backend, settings.edit, draft, outcomes, new, force, progress):
                continue
            searched_again = _searched_again(old, draft, told, new)
            with backend.attached(draft.composition):
                after = recall(backend, [told[k].fact for k in new] + searched_again, progress, "asking after")
            for k, found in zip(new, after, strict=False):
                outcomes[k] = _with(outcomes[k], after=found)
            gone = [fact for fact, found in zip(searched_again, after[len(new) :], strict=True) if not found.raw + found.chat]
            if gone and not force:
                _reject_cause(outcomes, new, gone)
                continue
            lost = [k for k in new if not (outcomes[k].after or _NOTHING).raw + (outcomes[k].after or _NOTHING).chat]
            if force or not lost:
                break
            for k in lost:
                outcomes[k] = _with(outcomes[k], status="rejected", reason="could not be read back (--force writes it)")
        if strict and any(outcome.status == "rejected" for outcome in outcomes):
            outcomes = [_undone(outcome) for outcome in outcomes]
        elif new and draft is not None:
            measured = measure_drift(backend, draft.composition, progress)
            drift = measured.perplexity
            if not abs(drift) <= settings.drift_budget and not force:  # a NaN is beyond every budget
                raise GateRefused(
                    f"the edit would change held-out perplexity by {drift:+.2%}; the budget is "
                    f"{settings.drift_budget:.2%}; nothing was changed",
                    "tell fewer facts at once, raise drift_budget, or use --force",
                )
            if writer is not None:
                snapshot = _commit(writer, backend, draft, outcomes, new, measured)
    return InjectReport(_as_it_came_out(outcomes, old), snapshot, drift, time.monotonic() - started)


def forget(
    store: Store,
    backend: Backend,
    settings: Settings,
    ids: Sequence[str],
    *,
    wait: float,
    dry_run: bool,
    progress: Progress,
) -> ForgetReport:
    """Takes facts out of the live memory: what remains is composed as if they had never been told.

    Raises:
        UsageError: An id names no fact, or several.
        EditFailed: A subject that keeps some of its facts has no edit for them.
        StoreLocked: Another writer holds the store.
    """
    with _writer(store, wait, "forget", dry_run) as writer:
        head = store.head()
        old = store.ledger(head)
        entries = dict(old.entries)
        named = {entry.id: entry for entry in map(old.by_prefix, ids)}
        gone = [entry for entry in named.values() if entry.state != "forgotten"]
        for entry in gone:
            entries[entry.id] = msgspec.structs.replace(entry, state="forgotten")
        snapshot = None
        if gone and writer is not None:
            draft = _draft(store, head, backend, settings.edit, Ledger(entries), progress, {})
            drift = measure_drift(backend, draft.composition, progress)
            snapshot = _put(writer, backend, draft, drift, f"forget {_named([entry.fact for entry in gone])}")
        still = [
            past.id
            for past in store.log()
            if (snapshot is None or past.id != snapshot.id) and {entry.id for entry in gone} & past.carried
        ]
    return ForgetReport(tuple(gone), snapshot, tuple(still))


def verify_deep(store: Store, backend: Backend) -> list[Finding]:
    """Composes HEAD from the base and compares every tensor's hash with the one recorded at commit."""
    head = store.head()
    found = []
    if (fresh := backend.rehash()) != head.base:
        found.append(Finding("base", "base", f"the base model's tensors hash to {fresh[:12]}, not {head.base[:12]}"))
    composed = weight_hashes(backend, composition(store, head))
    for name in sorted(composed.keys() | head.weights.keys()):
        if composed.get(name) != head.weights.get(name):
            found.append(Finding(f"snapshots/{head.id}.json", "weights", f"{name} is not what was committed"))
    return found


def _delta(store: Store, ref: DeltaRef) -> Delta:
    """The delta of a subject; `DamagedStore` also where its bytes are those that were committed and yet hold none."""
    data = store.read_object(ref.object)
    try:
        return Delta.from_bytes(data)
    except DamagedStore as error:
        raise DamagedStore(
            f"objects/{ref.object[:2]}/{ref.object}, the edit of {ref.subject}: {error.message}",
            f"`memctl forget` the facts of {ref.subject}, or `memctl rollback` to a snapshot of `memctl log` without it",
        ) from error


def _writer(store: Store, wait: float, command: str, dry_run: bool) -> AbstractContextManager[Writer | None]:
    """The store's lock; a dry run only reads, and takes none."""
    return nullcontext() if dry_run else store.writer(wait, command)


_NOTHING = FactRecall(0.0, 0.0, 0.0, 0.0)


def _with(outcome: Outcome, **changes: object) -> Outcome:
    fields = {name: getattr(outcome, name) for name in outcome.__dataclass_fields__} | changes
    return Outcome(**(fields | {"replaced": ""} if fields["status"] == "rejected" else fields))


def _undone(outcome: Outcome) -> Outcome:
    if outcome.status not in ("written", "superseded"):
        return outcome
    return _with(outcome, status="rejected", reason="another fact was rejected (--strict)")


def _sorted_out(told: Sequence[Told], ledger: Ledger) -> list[Outcome]:
    """What is new, what is there already, and what takes the place of what; of two lines that disagree the later holds."""
    live = {entry.id: entry.fact for entry in ledger.active()}
    outcomes: list[Outcome] = []
    for k, one in enumerate(told):
        fact, later = one.fact, [other.fact for other in told[k + 1 :]]
        older = next((other for other in live.values() if _contradicts(fact, other)), None)
        if any(_contradicts(fact, other) for other in later):
            outcomes.append(Outcome(fact, "rejected", reason="a later line says otherwise"))
        elif first := live.get(fact.id) or _told_before(fact, outcomes):
            outcomes.append(Outcome(fact, "present", reason=_kept_wording(fact, first)))
        else:
            status: Status = "superseded" if older else "written"
            outcomes.append(Outcome(fact, status, replaced=older.id if older else ""))
    return outcomes


def _as_it_came_out(outcomes: Sequence[Outcome], ledger: Ledger) -> tuple[Outcome, ...]:
    """The outcomes; a line that repeats one that was rejected after all is rejected too, for the fact is not there."""
    there = {entry.id for entry in ledger.active()} | {outcomes[k].fact.id for k in _to_write(outcomes)}
    reasons = {outcome.fact.id: outcome.reason for outcome in outcomes if outcome.status == "rejected"}
    return tuple(
        _with(outcome, status="rejected", reason=reasons[outcome.fact.id])
        if outcome.status == "present" and outcome.fact.id not in there
        else outcome
        for outcome in outcomes
    )


def _told_before(fact: Fact, outcomes: Sequence[Outcome]) -> Fact | None:
    """The same fact as an earlier line told it."""
    return next((one.fact for one in outcomes if one.fact.id == fact.id and one.status != "rejected"), None)


def _kept_wording(fact: Fact, first: Fact) -> str:
    """Why a fact that is told again stays as it is, where its own prompt or questions are other ones now."""
    if (fact.completion_prompt, fact.questions) == (first.completion_prompt, first.questions):
        return ""
    return f"keeps its first wording; to change it: memctl forget {fact.id}, then tell it anew"


def _contradicts(fact: Fact, other: Fact) -> bool:
    """Another fact with the same subject and relation, where the relation has one object at a time."""
    return (
        fact.id != other.id
        and fact.subject.casefold() == other.subject.casefold()
        and relation_key(fact.relation) == relation_key(other.relation)
        and not relation_of(fact).many
    )


def _to_write(outcomes: Sequence[Outcome]) -> list[int]:
    return [k for k, outcome in enumerate(outcomes) if outcome.status in ("written", "superseded")]


def _reject_failed(outcomes: list[Outcome], new: Sequence[int], error: EditFailed) -> bool:
    """Rejects the new facts of subjects that have no edit; whether there are any."""
    failed = [k for k in new if outcomes[k].fact.subject in error.reasons]
    for k in failed:
        reason = f"no edit could be made: {error.reasons[outcomes[k].fact.subject]}"
        outcomes[k] = _with(outcomes[k], status="rejected", reason=reason)
    return bool(failed)


def _searched_again(old: Ledger, draft: _Draft, told: Sequence[Told], new: Sequence[int]) -> list[Fact]:
    """Facts that were recalled when last asked for, and whose subject's edit is made anew by this write."""
    told_now = {told[k].fact.id for k in new}
    return [
        entry.fact
        for entry in old.active()
        if entry.fact.subject in draft.found
        and entry.id not in told_now
        and draft.ledger.entries[entry.id].state == "active"
        and entry.recalls
        and entry.recalls[-1].recall.raw + entry.recalls[-1].recall.chat > 0
    ]


def _reject_cause(outcomes: list[Outcome], new: Sequence[int], gone: Sequence[Fact]) -> None:
    """Rejects the new facts of subjects whose older facts would be lost.

    Raises:
        GateRefused: Nothing new was told of such a subject: its edit is made anew because the settings have changed.
    """
    subjects = {fact.subject: fact for fact in gone}
    cause = [k for k in new if outcomes[k].fact.subject in subjects]
    for k in cause:
        older = subjects[outcomes[k].fact.subject]
        outcomes[k] = _with(
            outcomes[k], status="rejected", reason=f"{older} could not be recalled beside it (--force writes it)"
        )
    if not cause:
        raise GateRefused(
            f"the settings have changed, and under them {gone[0]} could not be recalled; nothing was changed",
            "undo the change of edit.* settings (`memctl config`), forget the fact, or use --force",
        )


def _reject_known(backend: Backend, outcomes: list[Outcome], new: Sequence[int], progress: Progress) -> None:
    """Rejects what the base says by itself, raw and in a chat wording at least: an edit would only take up room."""
    suspects = [k for k in new if _says(outcomes[k].before) and not outcomes[k].replaced]
    with backend.attached(Composition()):
        known = recall(backend, [outcomes[k].fact for k in suspects], progress, "asking the base")
    for k, found in zip(suspects, known, strict=True):
        if _says(found):
            reason = "the base model says so by itself (--force writes it)"
            outcomes[k] = _with(outcomes[k], status="rejected", reason=reason)


def _says(found: FactRecall | None) -> bool:
    return found is not None and found.raw == 1 and max(found.chat, found.chat_new) > 0


def _check(
    backend: Backend,
    settings: EditSettings,
    draft: _Draft,
    outcomes: list[Outcome],
    new: Sequence[int],
    force: bool,
    progress: Progress,
) -> bool:
    """Adds the pre-flight of each new fact's subject to its outcome, and rejects what it refuses; whether it did."""
    told = list(dict.fromkeys(outcomes[k].fact.subject for k in new))
    stored = [trace for trace in draft.traces if trace.subject not in told]
    moment = None if settings.units else covariance(backend, edited_layer(backend, settings), progress)
    checks = preflight([draft.found[name] for name in told], stored, backend.activation, moment)
    by_subject = {check.subject: check for check in checks}
    for k in new:
        check = by_subject[outcomes[k].fact.subject]
        outcomes[k] = _with(outcomes[k], preflight=check)
        if check.refused and not force:
            outcomes[k] = _with(outcomes[k], status="rejected", reason=f"{check.refused} (--force writes it)")
    return any(outcomes[k].status == "rejected" for k in new)


def _ledger_with(ledger: Ledger, told: Sequence[Told], outcomes: Sequence[Outcome], new: Sequence[int]) -> Ledger:
    entries = dict(ledger.entries)
    now = _now()
    for k in new:
        fact = told[k].fact
        if (replaced := outcomes[k].replaced) in entries:
            entries[replaced] = msgspec.structs.replace(entries[replaced], state="superseded", superseded_by=fact.id)
        provenance = told[k].provenance
        if not provenance.time:
            provenance = msgspec.structs.replace(provenance, time=now)
        entries[fact.id] = LedgerEntry(fact.id, fact, provenance)
    return Ledger(entries)


def _draft(
    store: Store,
    head: Snapshot,
    backend: Backend,
    settings: EditSettings,
    ledger: Ledger,
    progress: Progress,
    searched: dict[Subject, Found],
) -> _Draft:
    """Composes the live facts of a ledger; only subjects whose facts or settings changed since `head` are optimised.

    Args:
        searched: What earlier drafts of the same command have found; what is found now is added.
    """
    mark = settings_hash(settings)
    kept: dict[str, tuple[DeltaRef, Trace]] = {}
    subjects = _subjects(ledger)
    for ref in head.deltas:
        wanted = subjects.get(ref.subject)
        if wanted is not None and ref.settings == mark and ref.facts == tuple(fact.id for fact in wanted.facts):
            kept[ref.subject] = (ref, trace_of(ref.subject, _delta(store, ref)))
    fresh = [subject for name, subject in sorted(subjects.items()) if name not in kept]
    searches = find_traces(backend, fresh, settings, progress, searched)
    found = {subject.name: search for subject, search in zip(fresh, searches, strict=True)}
    traces = [trace for _, trace in kept.values()] + [one.trace for one in found.values()]
    traces.sort(key=lambda trace: trace.subject)
    draft = _Draft(ledger, head.adapter, learned(store, head), traces=traces, found=found)
    for trace, delta in zip(traces, solve(backend, traces, settings, progress), strict=True):
        scale = kept[trace.subject][0].scale if trace.subject in kept else 1.0
        facts = tuple(fact.id for fact in subjects[trace.subject].facts)
        draft.refs.append(DeltaRef(trace.subject, facts, "0" * 64, mark, scale))
        draft.deltas.append(delta)
    return draft


def _subjects(ledger: Ledger) -> dict[str, Subject]:
    """The active facts by subject, each subject's in the order of their ids."""
    facts: dict[str, list[Fact]] = {}
    for entry in ledger.active():
        facts.setdefault(entry.fact.subject, []).append(entry.fact)
    return {name: Subject(name, tuple(own)) for name, own in facts.items()}


def _commit(
    writer: Writer,
    backend: Backend,
    draft: _Draft,
    outcomes: Sequence[Outcome],
    new: Iterable[int],
    drift: Drift,
) -> Snapshot:
    now = _now()
    entries = dict(draft.ledger.entries)
    for k in new:
        after = outcomes[k].after
        if after is not None:
            id = outcomes[k].fact.id
            record = RecallRecord(now, Recall(after.raw, after.chat))
            entries[id] = msgspec.structs.replace(entries[id], recalls=(*entries[id].recalls, record))
    draft.ledger = Ledger(entries)
    message = f"inject {_named([outcomes[k].fact for k in new])}"
    return _put(writer, backend, draft, drift, message)


def _put(writer: Writer, backend: Backend, draft: _Draft, drift: Drift, message: str) -> Snapshot:
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


def _named(facts: Sequence[Fact]) -> str:
    return str(facts[0]) if len(facts) == 1 else f"{len(facts)} facts"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
