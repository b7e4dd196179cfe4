"""The steps of a sleep before its validation, each from state to state with what it did in words and numbers."""

from collections.abc import Callable, Iterable

import msgspec

from memctl.backends.protocol import Backend
from memctl.consolidation.stages import (
    LAST,
    at_scale,
    by_subject,
    edit_scale,
    gated,
    next_scale,
    stage_of,
    with_entries,
)
from memctl.deltas import Columns, Composition, Delta
from memctl.editing.null_space import changed_units
from memctl.editing.solve import Trace
from memctl.evaluation.drift import measure_drift
from memctl.evaluation.questions import questions_kept
from memctl.evaluation.recall import FactRecall
from memctl.facts import LedgerEntry
from memctl.progress import Progress
from memctl.sleep import learning
from memctl.sleep.night import Night
from memctl.sleep.pruning import is_worn, pruned
from memctl.sleep.state import Health, State, StepName
from memctl.sleep.waiting import waiting
from memctl.wake.draft import Draft
from memctl.wake.inject import prepare, read_back

HELD = 1e-2
"""Most that a refresh may change what the edits add at a key of a healthy memory, relative to what they added."""

Done = tuple[State, str, dict[str, float]]
"""The state after a step, what it did in words, and in numbers."""

Step = Callable[[Night, State], Done]


def health(night: Night, state: State) -> Done:
    """1: how the memory leaves the model now; taken from HEAD where that was measured when it was made."""
    metrics = night.head.metrics
    if {"drift", "divergence", "general", "identity"} <= metrics.keys():
        found = Health(**{name: metrics[name] for name in ("drift", "divergence", "general", "identity")})
    else:
        found = measured(night.backend, night.composition(state), night.progress)
    return msgspec.structs.replace(state, before=found), said_of(found), {}


def measured(backend: Backend, composition: Composition, progress: Progress) -> Health:
    """Drift and kept questions of a composition."""
    drift = measure_drift(backend, composition, progress)
    kept = questions_kept(backend, composition, progress)
    return Health(drift.perplexity, drift.divergence, kept.general, kept.identity)


def said_of(health: Health) -> str:
    return f"drift {health.drift:+.2%}, general questions {health.general:.0%}, identity {health.identity:.0%} kept"


def curate(night: Night, state: State) -> Done:
    """2: facts that wait in the journal are written as `inject` would; those that cannot be are named by a later `inject`."""
    told, read = waiting(night.store)
    state = msgspec.structs.replace(state, journal=read)
    if not told:
        return state, "nothing waits", {"waiting": 0}
    outcomes, draft = prepare(
        night.store, night.head, night.backend, night.settings, told, force=False, progress=night.progress
    )
    written = sum(outcome.status in ("written", "superseded") for outcome in outcomes)
    if draft is not None:
        draft.ledger = read_back(draft.ledger, outcomes)
        state = night.settled(state, draft)
    return state, f"{written} of {len(told)} waiting facts written", {"waiting": len(told), "written": written}


def audit(night: Night, state: State) -> Done:
    """3: recall of every active fact."""
    asked = night.ask(night.composition(state), state.ledger.active(), "auditing")
    worn = sum(is_worn(found, night.settings.sleep.threshold) for found in asked.values())
    state = msgspec.structs.replace(state, asked=asked)
    return state, f"{len(asked)} facts, {worn} degraded", {"facts": len(asked), "degraded": worn}


def maintain(night: Night, state: State) -> Done:
    """4: degraded facts get a stronger edit, or are searched anew; what stays hopeless above the capacity is given up.

    A degraded fact whose edit is scaled down goes one stage back. One whose edit is in full force is searched anew, with twice
    the steps: the effort goes into the ledger, so the edit stays a function of what the ledger holds, and the next write, in
    whatever order, composes the same one. For the same reason the new value goes through the joint solve, which fits every
    memory's value at its own keys, and not through a solve that starts from what happened to be there before. What the
    null-space constraints promise of the healthy ones is measured: an edit whose refresh moves them, or does not help, is kept
    as it was.
    """
    settings = night.settings.sleep
    tried = _strengthened(state, night)
    gone = pruned(state.ledger, state.asked, settings)
    counts: dict[str, float] = {"degraded": 0, "refreshed": 0, "pruned": len(gone)}
    if gone:
        forgotten = (msgspec.structs.replace(state.ledger.entries[id], state="forgotten") for id in gone)
        state = night.settled(state, night.draft(state, with_entries(state.ledger, forgotten)))
        left = {id: found for id, found in state.asked.items() if id not in gone}
        state = msgspec.structs.replace(state, asked=left, pruned=gone)
    tried = {subject: entries for subject, entries in tried.items() if not set(gone) & {entry.id for entry in entries}}
    counts["degraded"] = len(tried)
    if tried:
        state = _refreshed(night, state, tried)
    counts["refreshed"] = len(state.refreshed)
    return state, f"{len(state.refreshed)} facts refreshed, {len(gone)} given up", counts


def _strengthened(state: State, night: Night) -> dict[str, list[LedgerEntry]]:
    """By subject, the entries of edits that hold a degraded fact, as the next attempt to mend it would have them."""
    settings, found = night.settings.sleep, {}
    for subject, entries in by_subject(state.ledger).items():
        worn = {entry.id for entry in entries if is_worn(state.asked[entry.id], settings.threshold)}
        scale = edit_scale(entries)
        if worn and scale < 1.0:
            above = settings.schedule[max(0, stage_of(scale, settings.schedule) - 1)]
            found[subject] = [at_scale(one, above, settings.schedule) if one.id in worn else one for one in entries]
        elif worn and (effort := max(entry.effort for entry in entries)) < settings.efforts:
            found[subject] = [msgspec.structs.replace(entry, effort=effort + 1) for entry in entries]
    return found


def _refreshed(night: Night, state: State, tried: dict[str, list[LedgerEntry]]) -> State:
    """The state with those of the attempts that help and leave the healthy ones as they are."""
    before, traces = night.draft(state, state.ledger), None
    while tried:
        changed = [entry for entries in tried.values() for entry in entries]
        draft = night.draft(state, with_entries(state.ledger, changed))
        asked = night.ask(draft.composition, tuple(changed), "asking the refreshed")
        worse = {
            subject
            for subject, entries in tried.items()
            if _sum(asked, entries) < _sum(state.asked, entries) or (traces := _moved(night, before, draft, tried))
        }
        if not worse:
            state = night.settled(state, draft)
            ids = tuple(sorted(entry.id for entry in changed))
            return msgspec.structs.replace(state, asked={**state.asked, **asked}, refreshed=ids)
        tried = {subject: entries for subject, entries in tried.items() if subject not in (worse if not traces else tried)}
    return state
