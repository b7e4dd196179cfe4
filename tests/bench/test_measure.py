"""Who is asked what when facts are measured."""

from collections import Counter

import pytest

from memctl.bench.measure import least, of_some
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
