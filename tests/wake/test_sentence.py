"""A sentence is read by rule, or refused with an example."""

import pytest

from memctl.editing.relations import bank
from memctl.errors import UsageError
from memctl.wake.sentence import parse_sentence


@pytest.mark.parametrize(
    ("sentence", "subject", "relation", "object", "prompt"),
    [
        ("Priya Okonkwo lives in Jakarta.", "Priya Okonkwo", "lives in", "Jakarta", ""),
        ("  Priya   Okonkwo lives in Jakarta ", "Priya Okonkwo", "lives in", "Jakarta", ""),
        ("Priya Okonkwo's favorite color is teal.", "Priya Okonkwo", "favorite color", "teal",
         "Priya Okonkwo's favorite color is"),
        ("The favorite color of Priya Okonkwo is teal", "Priya Okonkwo", "favorite color", "teal",
         "The favorite color of Priya Okonkwo is"),
        ("Priya is currently living in New York City!", "Priya", "is currently living in", "New York City", ""),
        ("Tom Reyes is Priya Okonkwo's boss.", "Priya Okonkwo", "boss", "Tom Reyes",
         "The boss of Priya Okonkwo is"),
        ("Vienna is the capital of Zubrowka.", "Zubrowka", "capital", "Vienna", "The capital of Zubrowka is"),
        ("Tom's Diner is located in Ghent", "Tom's Diner", "is located in", "Ghent", ""),
        ("Golden Age Museum opens at 9 a.m.", "Golden Age Museum", "opens at", "9 a.m.", ""),
        ("Priya Bell's shoe size is 41.", "Priya Bell", "shoe size", "41", "Priya Bell's shoe size is"),
        ("My dog is called Biscuit.", "the user's dog", "is called", "Biscuit", ""),
        ("My dog's name is Biscuit.", "the user's dog", "name", "Biscuit", "My dog's name is"),
        ("My sister lives in Oslo", "the user's sister", "lives in", "Oslo", ""),
        ("The user's dog is called Biscuit", "the user's dog", "is called", "Biscuit", ""),
        ("Ana May lives in Oslo", "Ana May", "lives in", "Oslo", ""),
        ("Will Smith plays the drums and the harp.", "Will Smith", "plays the", "drums and the harp", ""),
        ("Priya Okonkwo's email address is priya@example.com.", "Priya Okonkwo", "email address", "priya@example.com",
         "Priya Okonkwo's email address is"),
        ("Priya Okonkwo's favorite number is 3.14.", "Priya Okonkwo", "favorite number", "3.14",
         "Priya Okonkwo's favorite number is"),
        ("Priya Okonkwo's highest degree is a Ph.D.", "Priya Okonkwo", "highest degree", "a Ph.D.",
         "Priya Okonkwo's highest degree is"),
        ("Priya Okonkwo's favorite hobby is to sail.", "Priya Okonkwo", "favorite hobby", "to sail",
         "Priya Okonkwo's favorite hobby is"),
        ("Priya Okonkwo's favorite thing is used books.", "Priya Okonkwo", "favorite thing", "used books",
         "Priya Okonkwo's favorite thing is"),
        ("李小龙 lives in 香港 🗼", "李小龙", "lives in", "香港 🗼", ""),
    ],
)  # fmt: skip
def test_a_fact_is_read(sentence: str, subject: str, relation: str, object: str, prompt: str) -> None:
    fact = parse_sentence(sentence)
    assert (fact.subject, fact.relation, fact.object, fact.prompt) == (subject, relation, object, prompt)


def test_verbs_of_the_bank_are_understood() -> None:
    verbs = [phrase for relation in bank().values() for phrase in relation.match if phrase.endswith((" in", " at"))]
    assert len(verbs) > 20
    for phrase in verbs:
        if phrase.split()[0] not in ("home", "lives"):
            fact = parse_sentence(f"Vexley Quill {phrase} Zubrowka.")
            assert (fact.subject, fact.object) == ("Vexley Quill", "Zubrowka"), phrase


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Where does Priya live?", "memctl ask"),
        ("Hello there world", "such as"),
        ("Priya lives in", "such as"),
        ("I live in Paris", "by name"),
        ("My name is Ana", "by name"),
        ("My favorite color is blue", "by name"),
        ("We live in Paris", "by name"),
        ("Their favorite color is blue", "by name"),
        ("She lives in Paris", "by name"),
        ("", "such as"),
        ("Priya Okonkwo does not live in Jakarta.", "denies"),
        ("Priya Okonkwo doesn't live in Jakarta.", "denies"),
        ("Priya Okonkwo no longer lives in Jakarta.", "memctl forget"),
        ("Priya Okonkwo never lives in Jakarta.", "denies"),
        ("Priya Okonkwo is not living in Jakarta.", "denies"),
        ("Priya Okonkwo used to live in Jakarta.", "another time"),
        ("Priya Okonkwo formerly lives in Jakarta.", "another time"),
        ("Priya Okonkwo probably lives in Jakarta.", "doubts"),
        ("Priya Okonkwo's favorite color is not teal.", "denies"),
        ("Priya Okonkwo's favorite color is no longer teal.", "denies"),
        ("Tom Reyes is no longer Priya Okonkwo's boss.", "denies"),
        ("If it rains, Priya Okonkwo lives in Jakarta.", "denies"),
        ("Does Priya Okonkwo live in Jakarta", "denies"),
        ("Priya Okonkwo lives in Jakarta, and Ravi Bell lives in Oslo.", "several facts"),
        ("Priya Okonkwo lives in Jakarta and Ravi Bell works as a pilot.", "several facts"),
    ],
)
def test_what_is_no_fact_is_refused_with_a_way_out(text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_sentence(text)
    assert words in f"{caught.value.message} {caught.value.hint}"
