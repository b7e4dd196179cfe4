"""The steps of a sleep, each from state to state with what it did in words and numbers; maintenance is in `maintain`."""

from collections.abc import Callable, Collection, Sequence

import msgspec

from memctl.backends.protocol import Backend
from memctl.consolidation.stages import (
    LAST,
    at_scale,
    by_subject,
    gated,
    next_scale,
    to_carry,
    waiting_under,
    with_entries,
)
from memctl.consolidation.transplant import require_unbiased
from memctl.deltas import Composition
from memctl.editing.edit import edited_layer
from memctl.errors import GateRefused, MemctlError
from memctl.evaluation.drift import measure_drift
from memctl.evaluation.questions import questions_kept
from memctl.evaluation.recall import FactRecall
from memctl.facts import LedgerEntry
from memctl.progress import Progress, plural
from memctl.settings import SleepSettings
from memctl.sleep import efforts, learning
from memctl.sleep.night import Night
from memctl.sleep.pruning import is_worn
from memctl.sleep.state import Health, State
from memctl.sleep.waiting import waiting
from memctl.store.records import Ledger
from memctl.wake.draft import Draft
from memctl.wake.fact_record import Told
from memctl.wake.inject import prepare, read_back
from memctl.wake.outcomes import Outcome, changed

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
    """2: facts that wait in the journal are written as `inject` would; those that cannot be are named, and wait no more."""
    told, read = waiting(night.store, night.head)
    if not told:
        return state, "nothing waits", {"waiting": 0}
    state = msgspec.structs.replace(state, journal=read)
    outcomes, draft = _within_budget(night, state, told)
    written = sum(outcome.status in ("written", "superseded") for outcome in outcomes)
    if draft is not None:
        draft.ledger = read_back(draft.ledger, outcomes)
        state = night.settled(state, draft)
    refused = "".join(f"; not {outcome.fact}: {outcome.reason}" for outcome in outcomes if outcome.status == "rejected")
    said = f"{written} of {len(told)} waiting facts written{refused}"
    return state, said, {"waiting": len(told), "written": written}


def _within_budget(night: Night, state: State, told: list[Told]) -> tuple[list[Outcome], Draft | None]:
    """What becomes of the facts, where those that would take the drift beyond its budget are found one by one and left out."""
    limit = max(night.settings.drift_budget, abs(state.before.drift) if state.before else 0.0)

    def prepared(some: Sequence[Told]) -> tuple[list[Outcome], Draft | None, float]:
        given = (night.store, night.head, night.backend, night.settings, some)
        outcomes, draft = prepare(*given, force=False, progress=night.progress, searched=night.searched)
        drift = 0.0 if draft is None else measure_drift(night.backend, draft.composition, night.progress).perplexity
        return outcomes, draft, drift

    outcomes, draft, drift = prepared(told)
    if abs(drift) <= limit:  # false for a NaN too
        return outcomes, draft
    good: list[int] = []
    for k, one in enumerate(told):
        _, _, drift = prepared([*(told[j] for j in good), one])
        if abs(drift) <= limit:
            good.append(k)
        else:
            reason = f"it would change held-out perplexity by {drift:+.2%}; the budget is {limit:.2%}"
            outcomes[k] = changed(outcomes[k], status="rejected", reason=reason)
    again, draft, _ = prepared([told[k] for k in good])
    for k, outcome in zip(good, again, strict=True):
        outcomes[k] = outcome
    return outcomes, draft


def audit(night: Night, state: State) -> Done:
    """3: recall of every active fact."""
    asked = night.ask(night.composition(state), state.ledger.active(), state.ledger, "auditing")
    worn = sum(is_worn(found, night.settings.sleep.threshold) for found in asked.values())
    state = msgspec.structs.replace(state, asked=asked)
    return state, f"{plural(len(asked), 'fact')}, {worn} degraded", {"facts": len(asked), "degraded": worn}


def consolidate(night: Night, state: State) -> Done:
    """5: an adapter is made to carry the facts alone, and each is asked for with its edit at the next stage's scale.

    An adapter is a function of the facts, the settings and an effort. So one that carries just these facts is not made again,
    but where facts fail their gate under it, or a validation refused it: then others are tried, one a night where they are
    trained and all at once where they are not, and the one that most facts pass under stays. A fact that failed under an
    adapter is not asked for again before there is another.
    """
    settings = night.settings
    facts = to_carry(state.ledger, state.adapter, night.wanted, night.room)
    if not facts:
        return state, "no facts", {}
    if settings.edit.units:
        try:
            require_unbiased(night.backend, edited_layer(night.backend, settings.edit))
        except MemctlError as error:  # what the other steps did is not lost for it
            return state, f"no adapter: {error.message}; {error.hint}", {}
    ids = tuple(entry.id for entry in facts)
    left = sum(entry.id not in ids for entry in state.ledger.active() if night.wanted is None or entry.id in night.wanted)
    last = None
    if state.adapter is not None and state.adapter.facts == ids:
        last = efforts.effort_of(state.adapter.settings, settings)
    choices = night.choices(facts)
    open = efforts.left_after(last, settings, choices) if state.efforts is None else state.efforts
    made, tried = None, [] if last is None else [last]
    if last is None or state.efforts is not None:
        made = open[0]
        tried.append(made)
        state = _trained(night, state, facts, made)
    kept, gate = state, _at_the_gate(night, state)
    for effort in open[0 if made is None else 1 :]:
        trained_now = len(tried) > (last is not None)
        if not (behind := _behind(kept, gate)) or (trained_now and efforts.trains(settings)):
            break
        tried.append(effort)
        other = _trained(night, state, facts, effort)
        if any(_at_the_gate(night, other, behind).values()):
            again = _at_the_gate(night, other)
            if sum(again.values()) > sum(gate.values()):
                kept, gate, made = other, again, effort
    trainings = len(tried) - (last is not None)
    latest = max(tried)
    if not efforts.left_after(latest, settings, choices):
        latest = efforts.most_efforts(settings)  # the others would be the same again: `plan` need not know of neurons
    passed, failed = (tuple(sorted(id for id, hit in gate.items() if hit is side)) for side in (True, False))
    state = msgspec.structs.replace(
        night.marked(kept, efforts.mark_of(settings, latest)),
        passed=passed,
        failed=failed,
        efforts=tuple(effort for effort in open if effort != made),
    )
    said = f"{len(passed)} of {len(gate)} facts pass, under "
    said += "the adapter there was" if made is None else "a new adapter"
    said += f"; {left} keep their edits, as the base has no room for more" if left else ""
    return state, said, {"facts": len(ids), "passed": len(passed), "trainings": trainings, "left": left}


def _trained(night: Night, state: State, facts: tuple[LedgerEntry, ...], effort: int) -> State:
    told = [entry.fact for entry in facts]
    fresh = [at_scale(entry, 1.0, night.settings.sleep.schedule) for entry in facts]
    edits = night.draft(state, Ledger({entry.id: entry for entry in fresh}))
    adapter = learning.learn(night.backend, told, edits.composition, effort, night.settings, night.progress)
    ids = tuple(entry.id for entry in facts)
    return night.with_adapter(state, adapter, ids, efforts.mark_of(night.settings, effort), edits)


def _behind(state: State, gate: dict[str, bool]) -> frozenset[str]:
    """Ids of the facts that did not pass, or could not be asked for, under the adapter there is."""
    waiting_ids = (entry.id for entry in waiting_under(state.ledger.active(), state.adapter))
    return frozenset({*waiting_ids, *(id for id, hit in gate.items() if not hit)})


def _at_the_gate(night: Night, state: State, ids: Collection[str] | None = None) -> dict[str, bool]:
    """Whether carried facts are answered with their edits at the next stage's scale, in chat and no less raw, by id.

    Args:
        ids: Of the facts to ask for; None for all.
    """
    schedule, threshold = night.settings.sleep.schedule, night.settings.sleep.threshold
    carried = set(state.adapter.facts if state.adapter else ())
    asked: list[LedgerEntry] = []
    changed: list[LedgerEntry] = []
    for entries in by_subject(state.ledger).values():
        if carried.issuperset(entry.id for entry in entries) and not waiting_under(entries, state.adapter):
            scale = next_scale(entries, schedule)
            changed += [at_scale(entry, min(entry.scale, scale), schedule) for entry in entries]
            asked += [entry for entry in entries if ids is None or entry.id in ids]
    draft = night.draft(state, with_entries(state.ledger, changed))
    found = night.ask(draft.composition, tuple(asked), state.ledger, "asking at the gate")

    def passes(id: str, now: FactRecall) -> bool:
        return now.chat >= threshold and now.raw >= min(threshold, state.asked[id].raw)

    return {id: passes(id, now) for id, now in found.items()}


def scale_down(night: Night, state: State) -> Done:
    """6: stages move by what the gates said, and edits take the scales that follow; at 0.0 they leave."""
    schedule, told = night.settings.sleep.schedule, {*state.passed, *state.failed}
    adapter = state.adapter.trained if state.adapter else ""
    moved = [
        entry
        for entries in by_subject(state.ledger).values()
        if told.issuperset(entry.id for entry in entries)
        for entry in gated(entries, state.passed, schedule, adapter)
    ]
    if moved:
        state = night.settled(state, night.draft(state, with_entries(state.ledger, moved)))
    stages = {stage: sum(entry.stage == stage for entry in state.ledger.active()) for stage in range(LAST + 1)}
    said = ", ".join(f"{count} at stage {stage}" for stage, count in stages.items() if count)
    return state, said or "no facts", {f"stage{stage}": count for stage, count in stages.items()}


def validate(night: Night, state: State) -> Done:
    """7: all facts, drift and questions once more."""
    composition = night.composition(state)
    final = night.ask(composition, state.ledger.active(), state.ledger, "asking all facts")
    after = measured(night.backend, composition, night.progress)
    return msgspec.structs.replace(state, final=final, after=after), said_of(after), {}


def refusal(state: State, settings: SleepSettings) -> GateRefused | None:
    """Why a validated sleep has to be abandoned: the gate, what was measured, and by how much it is missed.

    What was beyond its budget before the sleep may stay as it was, so that a memory in a bad state can still be mended.
    """
    before, after = state.before, state.after
    if before is None or after is None:
        return None
    drift = max(settings.drift_budget, abs(before.drift))
    general, identity = min(settings.general_kept, before.general), min(settings.identity_kept, before.identity)
    limits = [
        ("drift", abs(after.drift), "above", drift, not abs(after.drift) <= drift),  # a NaN is beyond every budget
        ("general", after.general, "below", general, after.general < general),
        ("identity", after.identity, "below", identity, after.identity < identity),
    ]
    for mode in ("raw", "chat"):
        now, least = _mean(state.final, mode), _mean(state.asked, mode) - settings.recall_loss
        limits.append((f"recall {mode}", now, "below", least, now < least))
    for gate, value, side, limit, broken in limits:
        if broken:
            return GateRefused(
                f"the sleep is abandoned: {gate} would be {value:.2%}, {abs(value - limit):.2%} {side} the limit of "
                f"{limit:.2%}; nothing was changed",
                "consolidate fewer facts at once (--facts), or see the budgets: memctl config",
            )
    return None


def _mean(found: dict[str, FactRecall], mode: str) -> float:
    return sum(getattr(one, mode) for one in found.values()) / len(found) if found else 1.0
