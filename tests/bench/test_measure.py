"""Who is asked what when facts are measured."""

from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest
from bench_examples import ANA, BEN, ENGINE

from memctl.bench import measure
from memctl.bench.learners import Fixed
from memctl.bench.measure import Unedited, least, measured, of_some
from memctl.deltas import Composition
from memctl.evaluation.invented import facts_on_each, invented_facts
from memctl.evaluation.recall import FactRecall


def test_a_subject_is_chosen_with_all_its_facts() -> None:
    facts = facts_on_each(12, 5, 3)
    chosen = of_some(facts, 2)
    assert len({fact.subject for fact in chosen}) == 2
    assert chosen == [fact for fact in facts if fact.subject in {one.subject for one in chosen}]
    assert of_some(facts, 9) == list(facts)


@pytest.mark.parametrize("size", [100, 300, 1000])
def test_those_who_are_chosen_have_facts_of_every_relation(size: int) -> None:
    facts = invented_facts(size, 5)
    found = Counter(fact.relation for fact in of_some(facts, 50))
    assert len(found) == 6
    assert sum(found.values()) == 50


def test_the_least_is_of_a_subject_not_of_a_fact() -> None:
    facts = facts_on_each(4, 5, 2)
    found = [FactRecall(raw, 1.0, 0.0, 0.0) for raw in (0.0, 1.0, 1.0, 1.0)]
    assert least(facts, found) == {"least_raw": 0.5, "least_chat": 1.0}
    assert least(facts[::2], found[::2]) == {}


@pytest.fixture
def _says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that has no answer, on the paths that ask it."""
    monkeypatch.setattr(measure, "completions", lambda backend, prompts, *rest: [""] * len(prompts))
    monkeypatch.setattr("memctl.evaluation.recall.completions", lambda backend, prompts, *rest: [""] * len(prompts))
    monkeypatch.setattr(measure, "first_named", lambda backend, memories, prompts, said: [None] * len(prompts))
    monkeypatch.setattr(measure, "measure_drift", lambda *given: SimpleNamespace(perplexity=0.0, divergence=0.0))


PEOPLE = {"same_raw", "same_chat", "bleed_raw", "bleed_chat", "unnamed_people"}
OTHER_RELATIONS = {"relation_bleed_raw", "relation_bleed_chat"}


@pytest.mark.usefixtures("_says_nothing")
@pytest.mark.parametrize(
    ("asked", "missing"),
    [
        ({"strangers": 3, "probed": 2}, set()),
        ({"strangers": 0, "probed": 2}, PEOPLE),
        ({"strangers": 3, "probed": 0}, OTHER_RELATIONS),
    ],
)
def test_what_nobody_was_asked_about_is_not_measured(asked: dict[str, int], missing: set[str]) -> None:
    learner: Any = Fixed(Composition())
    learner.memories = (("Ana Lund", None),)
    found = measured(ENGINE, learner, Unedited(ENGINE), [ANA, BEN], 1, SimpleNamespace(**asked))
    assert {"raw", "drift", "unnamed"} <= found.keys()
    assert (PEOPLE | OTHER_RELATIONS) - found.keys() == missing
