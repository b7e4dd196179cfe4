"""Step 4, maintenance: degraded facts get a stronger edit or another one, and what is healthy stays as it is."""

import msgspec

from memctl.consolidation.stages import (
    at_scale,
    beside,
    by_subject,
    can_be_mended,
    edit_scale,
    last_effort,
    stage_of,
    with_entries,
)
from memctl.editing.null_space import changed_outputs
from memctl.errors import EditFailed
from memctl.evaluation.recall import FactRecall
from memctl.facts import LedgerEntry
from memctl.progress import plural
from memctl.settings import SleepSettings
from memctl.sleep.night import Night
from memctl.sleep.pruning import is_worn, pruned
from memctl.sleep.state import State
from memctl.sleep.steps import Done
from memctl.store.records import Ledger
from memctl.wake.draft import Draft

HELD = 1e-2
"""Most that a refresh may change what the edits add at a key of a healthy memory, relative to what they added."""

Attempts = dict[str, list[LedgerEntry]]
"""By subject, the entries of an edit with a degraded fact, as an attempt to mend it has them."""


def maintain(night: Night, state: State) -> Done:
    """4: degraded facts get a stronger edit, or are searched anew; what stays hopeless above the capacity is given up.

    A degraded fact whose edit is scaled down goes one stage back. One whose edit is in full force is searched anew, with twice
    the steps: the effort goes into the ledger, so the edit stays a function of what the ledger holds, and every later write, in
    whatever order, composes the same one. For the same reason the new value goes through the joint solve, which fits each
    memory's value at its own keys, and not through one that begins with what happened to be there. What null-space constraints
    would promise of the healthy ones is measured instead: an attempt that moves them, or that does not help, is not kept.
    """
    settings = night.settings.sleep
    gone = pruned(state.ledger, state.asked, settings)
    if gone:
        given_up = (msgspec.structs.replace(state.ledger.entries[id], state="forgotten") for id in gone)
        state = night.settled(state, night.draft(state, with_entries(state.ledger, given_up)))
        left = {id: found for id, found in state.asked.items() if id not in gone}
        state = msgspec.structs.replace(state, asked=left, pruned=gone)
    attempts = attempts_at(state, settings)
    if attempts:
        state = _noted(_refreshed(night, state, attempts), attempts)
    counts = {"attempts": float(len(attempts)), "refreshed": float(len(state.refreshed)), "pruned": float(len(gone))}
    return state, f"{plural(len(state.refreshed), 'fact')} refreshed, {len(gone)} given up", counts


def attempts_at(state: State, settings: SleepSettings) -> Attempts:
    """What is to be tried for the edits that hold a degraded fact; nothing more for those for which all was tried."""
    found: Attempts = {}
    for subject, entries in by_subject(state.ledger).items():
        worn = [entry for entry in entries if is_worn(state.asked[entry.id], settings.threshold)]
        if not can_be_mended(worn, entries, state.adapter, settings.efforts):
            continue
        if (scale := edit_scale(entries)) < 1.0:
            above = settings.schedule[max(0, stage_of(scale, settings.schedule) - 1)]
            found[subject] = [at_scale(one, above, settings.schedule) if one in worn else one for one in entries]
        else:
            found[subject] = [msgspec.structs.replace(entry, effort=last_effort(entries) + 1) for entry in entries]
    return found


def _refreshed(night: Night, state: State, attempts: Attempts) -> State:
    """The state with the attempts that lose nothing and move nobody who is healthy."""
    before = night.draft(state, state.ledger)
    kept = attempts
    while kept:
        try:
            after = night.draft(state, _with(state, kept))
        except EditFailed as error:  # the edit that there is stays
            left = {subject: entries for subject, entries in kept.items() if subject not in error.reasons}
            if len(left) == len(kept):
                raise
            kept = left
            continue
        tried = tuple(entry for entries in kept.values() for entry in entries)
        asked = night.ask(after.composition, tried, after.ledger, "asking the refreshed")
        gains = {subject: _recalled(asked, entries) - _recalled(state.asked, entries) for subject, entries in kept.items()}
        good = {subject: entries for subject, entries in kept.items() if gains[subject] > 0}
        if _moved(night, before, after, attempts):
            good = {
                subject: entries
                for subject, entries in good.items()
                if not _moved(night, before, night.draft(state, _with(state, {subject: entries})), attempts)
            }
            if len(good) == len(kept):  # only together: then without the one that helps least
                del good[min(good, key=gains.__getitem__)]
        if len(good) == len(kept):
            ids = tuple(sorted(asked))
            return msgspec.structs.replace(night.settled(state, after), asked={**state.asked, **asked}, refreshed=ids)
        kept = good  # what is left was asked for beside what goes: once more
    return state


def _noted(state: State, attempts: Attempts) -> State:
    """The state with what did not help in its ledger, so that no later night tries it again."""
    noted: list[LedgerEntry] = []
    for tried in (entry for entries in attempts.values() for entry in entries):
        now = state.ledger.entries[tried.id]
        if now.effort < tried.effort:
            noted.append(msgspec.structs.replace(now, tried=tried.effort))
        elif now.scale < tried.scale:
            noted.append(msgspec.structs.replace(now, stuck=beside(state.adapter)))
    return msgspec.structs.replace(state, ledger=with_entries(state.ledger, noted)) if noted else state


def _with(state: State, attempts: Attempts) -> Ledger:
    return with_entries(state.ledger, (entry for entries in attempts.values() for entry in entries))


def _moved(night: Night, before: Draft, after: Draft, attempts: Attempts) -> bool:
    """Whether what the edits add at a healthy memory's keys is not what it was."""
    healthy = [trace for trace in before.traces if trace.subject not in attempts]
    if not healthy:
        return False
    changed = changed_outputs(healthy, before.deltas, after.deltas, night.backend.activation)
    return max(changed.values()) > HELD


def _recalled(asked: dict[str, FactRecall], entries: list[LedgerEntry]) -> float:
    return sum(asked[entry.id].raw + asked[entry.id].chat for entry in entries)
