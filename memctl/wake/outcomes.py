"""What is told, and what becomes of it: new, there already, in place of an older fact, or rejected."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from memctl.editing.cues import relation_of
from memctl.editing.preflight import Preflight
from memctl.editing.relations import relation_key
from memctl.evaluation.recall import FactRecall, normalised
from memctl.facts import Fact, LedgerEntry
from memctl.store.lock import now
from memctl.store.records import Ledger
from memctl.wake.fact_record import Told

Status = Literal["written", "present", "superseded", "rejected"]


@dataclass(frozen=True)
class Outcome:
    """What became of a fact.

    Attributes:
        fact: As it was told; as the memory has it, where it was there already.
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


def changed(outcome: Outcome, **changes: object) -> Outcome:
    fields = {name: getattr(outcome, name) for name in outcome.__dataclass_fields__} | changes
    return Outcome(**(fields | {"replaced": ""} if fields["status"] == "rejected" else fields))


def undone(outcome: Outcome) -> Outcome:
    if outcome.status not in ("written", "superseded"):
        return outcome
    return changed(outcome, status="rejected", reason="another fact was rejected (--strict)")


def sorted_out(told: Sequence[Told], ledger: Ledger) -> list[Outcome]:
    """What is new, what is there already, and what takes the place of what; of two lines that disagree the later holds."""
    live = {entry.id: entry.fact for entry in ledger.active()}
    outcomes: list[Outcome] = []
    for k, one in enumerate(told):
        fact, later = one.fact, [other.fact for other in told[k + 1 :]]
        older = next((other for other in live.values() if _contradicts(fact, other)), None)
        if any(_contradicts(fact, other) for other in later):
            outcomes.append(Outcome(fact, "rejected", reason="a later line says otherwise"))
        elif first := _told_before(fact, [*live.values(), *(one.fact for one in outcomes if one.status != "rejected")]):
            outcomes.append(Outcome(first, "present", reason=_kept_wording(fact, first)))
        else:
            status: Status = "superseded" if older else "written"
            outcomes.append(Outcome(fact, status, replaced=older.id if older else ""))
    return outcomes


def as_it_came_out(outcomes: Sequence[Outcome], ledger: Ledger) -> tuple[Outcome, ...]:
    """The outcomes; a line that repeats one that was rejected after all is rejected too, for the fact is not there."""
    there = {entry.id for entry in ledger.active()} | {outcomes[k].fact.id for k in to_write(outcomes)}
    reasons = {outcome.fact.id: outcome.reason for outcome in outcomes if outcome.status == "rejected"}
    return tuple(
        changed(outcome, status="rejected", reason=reasons[outcome.fact.id])
        if outcome.status == "present" and outcome.fact.id not in there
        else outcome
        for outcome in outcomes
    )


def _told_before(fact: Fact, known: Sequence[Fact]) -> Fact | None:
    """The fact as it was told first, in the same words or in others."""
    return next((one for one in known if one.id == fact.id), None) or next((one for one in known if _same(fact, one)), None)


def _kept_wording(fact: Fact, first: Fact) -> str:
    """Why a fact that is told again stays as it is, where its own prompt or questions are other ones now."""
    if (fact.id, fact.completion_prompt, fact.questions) == (first.id, first.completion_prompt, first.questions):
        return ""
    return f"keeps its first wording; to change it: memctl forget {first.id}, then tell it anew"


def _contradicts(fact: Fact, other: Fact) -> bool:
    """Another object for the same subject and relation, where the relation has one object at a time."""
    return _same_place(fact, other) and not _same(fact, other) and not relation_of(fact).many


def _same(fact: Fact, other: Fact) -> bool:
    """The same statement: "resides in jakarta" says what "lives in Jakarta" says."""
    if not _same_place(fact, other):  # first, for it is cheap: each line is compared with all that is known
        return False
    return (normalised(fact.object) or fact.object) == (normalised(other.object) or other.object)


def _same_place(fact: Fact, other: Fact) -> bool:
    if fact.subject.casefold() != other.subject.casefold():
        return False
    return relation_key(fact.relation, fact.object) == relation_key(other.relation, other.object)


def to_write(outcomes: Sequence[Outcome]) -> list[int]:
    return [k for k, outcome in enumerate(outcomes) if outcome.status in ("written", "superseded")]


def ledger_with(ledger: Ledger, told: Sequence[Told], outcomes: Sequence[Outcome], new: Sequence[int]) -> Ledger:
    entries = dict(ledger.entries)
    time = now()
    for k in new:
        fact = told[k].fact
        if (replaced := outcomes[k].replaced) in entries:
            entries[replaced] = msgspec.structs.replace(entries[replaced], state="superseded", superseded_by=fact.id)
        provenance = told[k].provenance
        if not provenance.time:
            provenance = msgspec.structs.replace(provenance, time=time)
        entries[fact.id] = LedgerEntry(fact.id, fact, provenance)
    return Ledger(entries)
