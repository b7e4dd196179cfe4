"""One canonical subject for what is the user's, and the words both sides say for it."""

import pytest

from memctl.errors import UsageError
from memctl.facts import gives_away, make_fact
from memctl.first_person import canonical_subject, mentions_of, said_by_model, said_by_user


@pytest.mark.parametrize("said", ["my dog", "My dog", "the user's dog", "The user’s dog", "user's dog"])
def test_what_is_the_users_has_one_name(said: str) -> None:
    assert make_fact(said, "is called", "Biscuit").id == make_fact("the user's dog", "is called", "Biscuit").id


@pytest.mark.parametrize(
    "name",
    [
        "My Chemical Romance",
        "Myra",
        "mysql",
        "Ian",
        "Usher's Dog",
        "I, Robot",
        "Priya's dog",
        "My Honda",
        "My Dinner with Andre",
    ],
)
def test_names_stay_names(name: str) -> None:
    assert canonical_subject(name) == name
    assert mentions_of(name) == (name,)
    assert said_by_user(name, "{s} lives in") == said_by_model(name, "{s} lives in") == f"{name} lives in"


def test_both_sides_speak_of_a_thing_in_their_own_words() -> None:
    assert said_by_user("the user's dog", "What is the name of {s}?") == "What is the name of my dog?"
    assert said_by_model("the user's dog", "{s} is called") == "Your dog is called"
    assert make_fact("my dog", "is called", "Biscuit").completion_prompt == "My dog is called"


def test_a_prompt_has_to_be_the_users_where_the_fact_is() -> None:
    assert make_fact("my dog", "is called", "Biscuit", prompt="The name of my dog is").prompt == "The name of my dog is"
    with pytest.raises(UsageError):
        make_fact("my dog", "is called", "Biscuit", prompt="Her dog is called")


def test_the_things_own_word_does_not_give_an_object_away() -> None:
    assert not gives_away("What kind of animal is my dog?", "the user's dog", "dog")
    assert gives_away("Is my dog a poodle?", "the user's dog", "poodle")


@pytest.mark.parametrize("thing", ["German teacher", "Irish setter", "PhD supervisor", "old Honda"])
def test_a_thing_with_a_capital_in_it_is_the_users(thing: str) -> None:
    assert canonical_subject(f"My {thing}") == canonical_subject(f"my {thing}") == f"the user's {thing}"
