"""Invented facts about what is the user's, and whose to ask about instead."""

import pytest

from memctl.editing.cues import measuring_cues
from memctl.errors import UsageError
from memctl.evaluation.invented import facts_of_user, things_of_others


def test_each_is_about_another_thing_and_few_are_the_first_of_many() -> None:
    facts = facts_of_user(20, 1)
    assert len({fact.subject for fact in facts}) == 20
    assert facts_of_user(8, 1) == facts[:8]


def test_they_are_asked_for_as_the_user_would_ask() -> None:
    prompts = [cue.prompt for fact in facts_of_user(20, 2) for cue in measuring_cues(fact).plain]
    assert not [prompt for prompt in prompts if "user" in prompt.casefold()]
    assert all("my " in prompt.casefold() for prompt in prompts)


def test_more_than_there_are_is_an_error() -> None:
    with pytest.raises(UsageError, match="21 things of the user's"):
        facts_of_user(21, 1)


def test_others_have_what_the_user_has() -> None:
    facts = facts_of_user(4, 1)
    asked = things_of_others(facts, 1, 8)
    assert [fact for fact, _ in asked] == [*facts, *facts]
    for fact, name in asked:
        assert name.endswith(fact.subject.partition("'s ")[2])
        assert "user" not in name
