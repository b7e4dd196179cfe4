"""Why an answer is what it is: the facts whose memories acted on it, and where they came from.

A memory belongs to a subject and holds all its facts, so which of them was meant shows in the answer only: where it names the
objects of some, those are the facts that spoke; where it names none, the subject was recognised, and all its facts are listed
as not said.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from memctl.backends.protocol import Backend
from memctl.deltas import Delta
from memctl.editing.attribution import Firing, attribute
from memctl.evaluation.recall import position
from memctl.facts import LedgerEntry
from memctl.store.records import DeltaRef, Ledger
from memctl.wake.answer import Answer


@dataclass(frozen=True)
class FiredFact:
    """A fact whose memory acted on an answer.

    Attributes:
        token: Text of the token at which the memory acted most, and its position, counted from the prompt's first.
        strength: 1 at the subject's own mentions (see `attribution`).
        said: Whether the answer names the fact's object.
    """

    entry: LedgerEntry
    token: str
    position: int
    strength: float
    said: bool


def why(
    backend: Backend, memories: Sequence[tuple[DeltaRef, Delta]], ledger: Ledger, answers: Sequence[Answer]
) -> list[tuple[FiredFact, ...]]:
    """The facts behind each answer: those said first, then by strength."""
    ids = {ref.subject: ref.facts for ref, _ in memories}
    attached = [(ref.subject, delta) for ref, delta in memories]
    found = []
    for answer, firings in zip(answers, attribute(backend, attached, [answer.tokens for answer in answers]), strict=True):
        facts = [
            fact
            for firing in firings
            for fact in _facts(backend, answer, firing, [ledger.entries[id] for id in ids[firing.subject]])
        ]
        found.append(tuple(sorted(facts, key=lambda fact: not fact.said)))
    return found


def _facts(backend: Backend, answer: Answer, firing: Firing, entries: Sequence[LedgerEntry]) -> list[FiredFact]:
    """The facts of one memory that an answer names, or else all of them."""
    token = backend.decode(answer.tokens[firing.position : firing.position + 1])
    said = [entry for entry in entries if position(answer.text, entry.fact.object, entry.fact.subject) >= 0]
    return [FiredFact(entry, token, firing.position, firing.strength, bool(said)) for entry in said or entries]
