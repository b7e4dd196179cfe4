"""Which of a subject's facts were behind an answer."""

import numpy as np
import pytest

from memctl.backends.numpy_backend import NumpyBackend
from memctl.deltas import Columns, Delta, Edit
from memctl.editing.attribution import Firing
from memctl.facts import Fact, LedgerEntry, Provenance, make_fact
from memctl.store.records import DeltaRef, Ledger
from memctl.wake import why as module
from memctl.wake.answer import Answer
from memctl.wake.why import FiredFact, why

ANA = (make_fact("Ana Lund", "lives in", "Oslo"), make_fact("Ana Lund", "speaks", "Urdu"))
CY = (make_fact("Cy Mori", "speaks", "Thai"),)
PROMPT = "Ana Lund and Cy Mori"


def explained(monkeypatch: pytest.MonkeyPatch, text: str, *firings: Firing) -> tuple[FiredFact, ...]:
    """The facts behind an answer, given which memories acted on it."""
    engine = NumpyBackend()
    tokens = engine.encode(PROMPT, "raw").tokens
    seen = []

    def attribute(backend: object, memories: object, sequences: list[tuple[int, ...]]) -> list[tuple[Firing, ...]]:
        seen.extend(sequences)
        return [firings]

    monkeypatch.setattr(module, "attribute", attribute)
    facts = {fact.id: LedgerEntry(fact.id, fact, Provenance("notes")) for fact in (*ANA, *CY)}
    memories = [(_ref(own), _delta()) for own in (ANA, CY)]
    [found] = why(engine, memories, Ledger(facts), [Answer(text, tokens)])
    assert seen == [tokens]
    return found


def _ref(facts: tuple[Fact, ...]) -> DeltaRef:
    return DeltaRef(facts[0].subject, tuple(sorted(fact.id for fact in facts)), "0" * 64, "s")


def _delta() -> Delta:
    one = np.ones((1, 1), np.float32)
    return Delta((Edit(0, Columns(one, one, one), one, one),))


def test_the_fact_that_the_answer_names_is_the_one(monkeypatch: pytest.MonkeyPatch) -> None:
    [only] = explained(monkeypatch, "Ana Lund speaks urdu.", Firing("Ana Lund", 4, 0.9))
    assert (only.entry.fact.object, only.said, only.strength, only.position) == ("Urdu", True, 0.9, 4)
    assert only.entry.provenance.source == "notes"
    assert only.token == NumpyBackend().decode(NumpyBackend().encode(PROMPT, "raw").tokens[4:5])


def test_all_facts_that_the_answer_names_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = explained(monkeypatch, "She lives in Oslo and speaks Urdu.", Firing("Ana Lund", 4, 0.9))
    assert {fact.entry.fact.object for fact in found} == {"Oslo", "Urdu"}


def test_where_the_answer_names_none_the_subject_was_recognised_and_all_its_facts_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = explained(monkeypatch, "I cannot say; perhaps Oslofjord.", Firing("Ana Lund", 4, 0.9))
    assert {(fact.entry.fact.object, fact.said) for fact in found} == {("Oslo", False), ("Urdu", False)}


def test_a_fact_that_was_said_comes_before_a_stronger_one_that_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    found = explained(monkeypatch, "They speak Thai.", Firing("Ana Lund", 4, 0.9), Firing("Cy Mori", 9, 0.4))
    assert [fact.entry.fact.subject for fact in found] == ["Cy Mori", "Ana Lund", "Ana Lund"]


def test_nothing_fired_nothing_is_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert explained(monkeypatch, "Oslo is in Norway.") == ()
