"""The way of a fact from being told to being in the weights.

A write is prepared on the pristine base, attached, read back, and only then committed: until the commit, nothing has
changed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic

from memctl.backends.protocol import Backend
from memctl.errors import EditFailed, GateRefused
from memctl.evaluation.drift import Drift, measure_drift
from memctl.evaluation.recall import FactRecall, recall
from memctl.facts import with_recall
from memctl.progress import Progress
from memctl.settings import Settings
from memctl.store.lock import now
from memctl.store.records import Ledger, Snapshot
from memctl.store.store import Store
from memctl.store.writer import Writer
from memctl.wake.draft import Basis, Draft, Searched, commit, draft_of, named, writing
from memctl.wake.fact_record import Told
from memctl.wake.gates import check, reject_cause, reject_failed, reject_known, searched_again
from memctl.wake.live import composition
from memctl.wake.outcomes import Outcome, as_it_came_out, changed, ledger_with, sorted_out, to_write, undone

_NOTHING = FactRecall(0.0, 0.0, 0.0, 0.0)


@dataclass(frozen=True)
class InjectReport:
    """Outcomes in the order told; the snapshot made (None for a dry run or when nothing changed); the drift."""

    outcomes: tuple[Outcome, ...]
    snapshot: Snapshot | None
    drift: float
    seconds: float


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
    started = monotonic()
    with writing(store, wait, "inject", dry_run) as writer:
        head = store.head()
        outcomes, draft = prepare(store, head, backend, settings, told, force=force, progress=progress)
        drift = 0.0
        snapshot = None
        if strict and any(outcome.status == "rejected" for outcome in outcomes):
            outcomes = [undone(outcome) for outcome in outcomes]
        elif draft is not None:
            measured = measure_drift(backend, draft.composition, progress)
            drift = measured.perplexity
            if not force:
                _require_budget(drift, head.metrics.get("drift", 0.0), settings.drift_budget)
            if writer is not None:
                snapshot = _keep(writer, backend, draft, outcomes, measured)
        return InjectReport(as_it_came_out(outcomes, store.ledger(head)), snapshot, drift, monotonic() - started)


def prepare(
    store: Store,
    head: Snapshot,
    backend: Backend,
    settings: Settings,
    told: Sequence[Told],
    *,
    force: bool,
    progress: Progress,
    searched: Searched | None = None,
) -> tuple[list[Outcome], Draft | None]:
    """What becomes of facts, and the memory with those that can be written and read back; None where there are none.

    Args:
        searched: What earlier calls have found; new finds are added.

    Raises:
        GateRefused: The settings have changed, and under them a fact told before would be lost.
        EditFailed: The same, and a subject that was told before has no edit.
    """
    old = store.ledger(head)
    outcomes = sorted_out(told, old)
    if new := to_write(outcomes):
        with backend.attached(composition(store, head)):
            before = recall(backend, [told[k].fact for k in new], progress, "asking before")
        for k, found in zip(new, before, strict=True):
            outcomes[k] = changed(outcomes[k], before=found)
        if not force:
            reject_known(backend, outcomes, new, progress)
    basis, searched = Basis.of(store, head), Searched() if searched is None else searched
    while new := to_write(outcomes):
        ledger = ledger_with(old, told, outcomes, new)
        try:
            draft = draft_of(basis, backend, settings.edit, ledger, progress, searched)
        except EditFailed as error:
            if not reject_failed(outcomes, new, error):
                raise
            continue
        if check(backend, settings.edit, draft, outcomes, new, force, progress):
            continue
        again = searched_again(old, draft, told, new)
        with backend.attached(draft.composition):
            after = recall(backend, [told[k].fact for k in new] + again, progress, "asking after")
        for k, found in zip(new, after, strict=False):
            outcomes[k] = changed(outcomes[k], after=found)
        gone = [fact for fact, found in zip(again, after[len(new) :], strict=True) if not found.raw + found.chat]
        if gone and not force:
            reject_cause(outcomes, new, gone)
            continue
        lost = [k for k in new if not (outcomes[k].after or _NOTHING).raw + (outcomes[k].after or _NOTHING).chat]
        if force or not lost:
            return outcomes, draft
        for k in lost:
            outcomes[k] = changed(outcomes[k], status="rejected", reason="could not be read back (--force writes it)")
    return outcomes, None


def _require_budget(drift: float, before: float, budget: float) -> None:
    """What is beyond the budget already, by a night's own budget or by --force, may stay as it was, and not grow."""
    if not abs(drift) <= max(budget, abs(before)):  # a NaN is beyond every budget
        raise GateRefused(
            f"the memory would change held-out perplexity by {drift:+.2%} ({before:+.2%} now); the budget is {budget:.2%}; "
            "nothing was changed",
            "tell fewer facts at once, raise drift_budget, or use --force",
        )


def read_back(ledger: Ledger, outcomes: Sequence[Outcome]) -> Ledger:
    """The ledger with what the facts that were written recalled when they were read back."""
    time = now()
    entries = dict(ledger.entries)
    for k in to_write(outcomes):
        if (after := outcomes[k].after) is not None:
            id = outcomes[k].fact.id
            entries[id] = with_recall(entries[id], time, after.raw, after.chat)
    return Ledger(entries)


def _keep(writer: Writer, backend: Backend, draft: Draft, outcomes: Sequence[Outcome], drift: Drift) -> Snapshot:
    draft.ledger = read_back(draft.ledger, outcomes)
    message = f"inject {named([outcomes[k].fact for k in to_write(outcomes)])}"
    return commit(writer, backend, draft, drift, message)
