from collections import Counter

import pytest

from memctl.editing.cues import relation_of
from memctl.errors import UsageError
from memctl.evaluation.invented import facts_on_each, invented_facts, people, strangers


def test_surnames_are_shared_by_as_many_as_was_said_and_nobody_is_there_twice() -> None:
    found = people(1000, 5)
    assert len(set(found)) == 1000
    assert set(Counter(name.split()[-1] for name in found[:994]).values()) == {7}


def test_the_first_of_many_are_the_few() -> None:
    assert invented_facts(40, 5)[:9] == invented_facts(9, 5)
    assert invented_facts(9, 5) != invented_facts(9, 6)


def test_more_people_than_names_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be invented"):
        people(10_000, 5)


def test_strangers_are_not_stored_and_two_thirds_share_a_name() -> None:
    stored = people(10, 5)
    words = {word for name in stored for word in name.split()}
    found = strangers(30, 5, stored)
    assert not set(found) & set(stored)
    assert sum(bool(set(name.split()) & words) for name in found) >= 20


def test_more_strangers_than_names_are_refused() -> None:
    with pytest.raises(UsageError, match="760 strangers"):
        strangers(760, 5, people(1, 5))


def test_each_person_has_as_many_facts_as_was_said_of_different_relations() -> None:
    found = facts_on_each(20, 5, 10)
    assert Counter(fact.subject for fact in found) == dict.fromkeys(people(2, 5), 10)
    assert len({(fact.subject, relation_of(fact).id) for fact in found}) == 20
    assert found[:7] == facts_on_each(7, 5, 10)


def test_more_facts_on_each_than_relations_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot be invented"):
        facts_on_each(200, 5, 100)
