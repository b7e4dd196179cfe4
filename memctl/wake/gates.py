"""What keeps a fact from being written: the base knows it, no edit can be made, or others would be lost."""

from collections.abc import Sequence

from memctl.backends.protocol import Backend
from memctl.deltas import Composition
from memctl.editing.edit import edited_layer
from memctl.editing.preflight import preflight
from memctl.editing.statistics import covariance
from memctl.errors import EditFailed, GateRefused
from memctl.evaluation.recall import FactRecall, recall
from memctl.facts import Fact
from memctl.progress import Progress
from memctl.settings import EditSettings
from memctl.store.records import Ledger
from memctl.wake.draft import Draft
from memctl.wake.fact_record import Told
from memctl.wake.outcomes import Outcome, changed


def reject_failed(outcomes: list[Outcome], new: Sequence[int], error: EditFailed) -> bool:
    """Rejects the new facts of subjects that have no edit; whether there are any."""
    failed = [k for k in new if outcomes[k].fact.subject in error.reasons]
    for k in failed:
        reason = f"no edit could be made: {error.reasons[outcomes[k].fact.subject]}"
        outcomes[k] = changed(outcomes[k], status="rejected", reason=reason)
    return bool(failed)


def searched_again(old: Ledger, draft: Draft, told: Sequence[Told], new: Sequence[int]) -> list[Fact]:
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


def reject_cause(outcomes: list[Outcome], new: Sequence[int], gone: Sequence[Fact]) -> None:
    """Rejects the new facts of subjects whose older facts would be lost.

    Raises:
        GateRefused: Nothing new was told of such a subject: its edit is made anew because the settings have changed.
    """
    subjects = {fact.subject: fact for fact in gone}
    cause = [k for k in new if outcomes[k].fact.subject in subjects]
    for k in cause:
        older = subjects[outcomes[k].fact.subject]
        outcomes[k] = changed(
            outcomes[k], status="rejected", reason=f"{older} could not be recalled beside it (--force writes it)"
        )
    if not cause:
        raise GateRefused(
            f"the settings have changed, and under them {gone[0]} could not be recalled; nothing was changed",
            "undo the change of edit.* settings (`memctl config`), forget the fact, or use --force",
        )


def reject_known(backend: Backend, outcomes: list[Outcome], new: Sequence[int], progress: Progress) -> None:
    """Rejects what the base says by itself, raw and in a chat wording at least: an edit would only take up room."""
    suspects = [k for k in new if _says(outcomes[k].before) and not outcomes[k].replaced]
    with backend.attached(Composition()):
        known = recall(backend, [outcomes[k].fact for k in suspects], progress, "asking the base")
    for k, found in zip(suspects, known, strict=True):
        if _says(found):
            reason = "the base model says so by itself (--force writes it)"
            outcomes[k] = changed(outcomes[k], status="rejected", reason=reason)


def _says(found: FactRecall | None) -> bool:
    return found is not None and found.raw == 1 and max(found.chat, found.chat_new) > 0


def check(
    backend: Backend,
    settings: EditSettings,
    draft: Draft,
    outcomes: list[Outcome],
    new: Sequence[int],
    force: bool,
    progress: Progress,
) -> bool:
    """Adds the pre-flight of each new fact's subject to its outcome, and rejects what it refuses; whether it did."""
    told = list(dict.fromkeys(outcomes[k].fact.subject for k in new))
    layer = edited_layer(backend, settings)
    alike = [one for one in draft.dissolved if one.layer == layer and bool(len(one.gate)) == bool(settings.units)]
    stored = [trace for trace in (*draft.traces, *alike) if trace.subject not in told]
    moment = None if settings.units else covariance(backend, layer, progress)
    checks = preflight([draft.found[name] for name in told], stored, backend.activation, moment)
    by_subject = {one.subject: one for one in checks}
    for k in new:
        found = by_subject[outcomes[k].fact.subject]
        outcomes[k] = changed(outcomes[k], preflight=found)
        if found.refused and not force:
            outcomes[k] = changed(outcomes[k], status="rejected", reason=f"{found.refused} (--force writes it)")
    return any(outcomes[k].status == "rejected" for k in new)
