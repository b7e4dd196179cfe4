from collections.abc import Sequence

import pytest

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Tokens
from memctl.editing.cues import relation_of
from memctl.evaluation.recall import judged, names, normalised, recall, recall_prompts, states
from memctl.facts import make_fact
from memctl.progress import silent


@pytest.mark.parametrize(
    ("text", "wanted", "others", "right"),
    [
        ("She lives in JAKARTA.", "Jakarta", (), True),
        ("It is the Jakartan way", "Jakarta", (), False),
        ("Oslo, or perhaps Jakarta", "Jakarta", ("Oslo",), False),
        ("Jakarta, not Oslo", "Jakarta", ("Oslo",), True),
        ("an  Apple-tree", "the apple tree", (), True),
        ("likes dark green", "dark green", ("green",), True),
        ("住在东京。", "东京", (), True),
        ("here: 🦊", "🦊", (), True),
        ("", "Jakarta", (), False),
        ("His blood type is A.", "A", (), True),
        ("As he said, Anna does not know", "A", (), False),
        ("O+", "O-", (), False),
        ("It is O-.", "O-", (), True),
        ("AB+ or A+", "A+", ("AB+",), False),
        ("He writes C#.", "C++", (), False),
        ("He writes C++ daily", "C++", ("C#",), True),
        ("He writes C++ daily", "C", (), False),
        ("the co-op", "co op", (), True),
        ("AB+ or B+", "B+", ("AB+",), False),
        ("48, or 8", "8", ("48",), False),
        ("Take vitamin D.", "Vitamin A", (), False),
        ("Vitamin A is good for the eyes.", "Vitamin A", (), True),
        ("It went into trunk a.", "trunk A", (), True),
        ("a tale of War and the Peace", "War and Peace", (), True),
        ("It is -5 degrees.", "-5", (), True),
        ("It is **−5** degrees.", "-5", (), True),
        ("It is 5 degrees.", "-5", (), False),
        ("It is -5 degrees.", "5", (), False),
        ("between 3-5", "5", (), True),
        ("Call (301)-555-0117.", "301-555-0117", (), True),
        ("It costs €5.", "$5", (), False),
        ("It costs $5.", "$5", (), True),
        ("It costs $5.", "5", (), True),
        ("5 €", "5 $", (), False),
        ("version 2.4.1", "2.4.1", (), True),
    ],
)
def test_an_object_counts_at_word_boundaries_and_before_its_rivals(
    text: str, wanted: str, others: tuple[str, ...], right: bool
) -> None:
    assert names(text, wanted, others) is right


@pytest.mark.parametrize(
    ("text", "wanted", "right"),
    [
        ("Примерно так", "Рим", False),
        ("Это Рим.", "Рим", True),
        ("She lives in Köln", "Öl", False),
        ("at Malmöhus", "Malmö", False),
        ("Malmö's harbour", "Malmö", True),
        ("Αθήναι", "Αθήνα", False),
        ("वह राम में है", "रोम", False),
        ("वह रोमन है", "रोम", False),
        ("वह रोम में है", "रोम", True),
        ("ปู", "ปี", False),
        ("ทุกปีใหม่", "ปี", True),
        ("๑๒๓", "๑๒", False),
        ("서울에 살아요", "서울", True),
        ("북서울", "서울", False),
        ("הוא גר ברומא", "רומא", True),
        ("הוא רומאי", "רומא", False),
        ("يسكن بروما", "روما", True),
        ("يسكن في رومانيا", "روما", False),
        ("東京タワーにいる", "東京", True),
        ("IKEAで働く", "IKEA", True),
        ("Shepherd´s pie", "shepherd's pie", True),
        ("❤\ufe0f", "🧡\ufe0f", False),
        ("1\ufe0f\u20e3", "1", True),
    ],
)
def test_words_end_as_their_script_writes_them(text: str, wanted: str, right: bool) -> None:
    assert names(text, wanted, ()) is right


@pytest.mark.parametrize(
    ("one", "other"),
    [("Vitamin A", "Vitamin"), ("रोम", "राम"), ("ปี", "ปู"), ("-$5", "$5"), ("$5", "€5"), ("5 $", "5 €"), ("C++", "C#")],
)
def test_different_objects_stay_different(one: str, other: str) -> None:
    assert normalised(one) != normalised(other)


def test_a_minus_is_one_however_it_is_written() -> None:
    assert normalised("−5") == normalised("-5") != normalised("5")


@pytest.mark.parametrize(
    ("subject", "relation", "object", "text", "right"),
    [
        ("Boston Consulting Group", "is headquartered in", "Boston", "Boston Consulting Group is in New York.", False),
        ("Boston Consulting Group", "is headquartered in", "Boston", "Boston Consulting Group is in Boston.", True),
        ("Violet Okonkwo", "favorite color is", "green", "Violet Okonkwo's favorite color is green.", True),
        ("Violet Okonkwo", "favorite color is", "green", "violet, says Violet Okonkwo, not green", False),
        ("Okonkwo", "works for", "Okonkwo & Sons", "Okonkwo works for Okonkwo & Sons.", True),
        ("New York", "has as its largest city", "New York", "New York", True),
        ("the user's cat", "is called", "Cat", "Your cat is called Cat.", True),
        ("the user's cat", "is called", "Cat", "Your cat is nice.", False),
    ],
)
def test_the_subjects_own_name_is_no_answer(subject: str, relation: str, object: str, text: str, right: bool) -> None:
    assert states(text, make_fact(subject, relation, object)) is right


def test_what_is_true_as_well_may_be_said_before() -> None:
    turkish, greek = (make_fact("Ana Bell", "speaks", language) for language in ("Turkish", "Greek"))
    said = "Ana Bell speaks Greek and Turkish."
    assert "Greek" in relation_of(turkish).objects
    assert not states(said, turkish)
    assert states(said, turkish, [turkish, greek])
    assert not states("Finnish, Greek and Turkish", turkish, [turkish, greek])
    asked = recall_prompts([turkish, greek])
    assert {(found.raw, found.chat) for found in judged([turkish, greek], [said] * len(asked))} == {(1.0, 1.0)}
    (alone,) = judged([turkish], [said] * len(recall_prompts([turkish])), [greek])
    assert alone.raw == 1.0


def test_a_long_object_has_room_in_the_answer() -> None:
    class Recording(NumpyBackend):
        def generate(
            self, prompts: Sequence[Tokens], max_tokens: int | Sequence[int], stop: Sequence[str] = ()
        ) -> list[Tokens]:
            assert not isinstance(max_tokens, int)
            room.extend(max_tokens)
            return [()] * len(prompts)

    room: list[int] = []
    backend = Recording(1)
    short, long = (
        make_fact("Ana Ruiz", "lives in", "Oslo"),
        make_fact("Ana Ruiz", "lives in", "12 Nguyen Thi Minh Khai Street, " * 2),
    )
    recall(backend, [short], silent)
    assert set(room) == {16, 32}
    room.clear()
    recall(backend, [long], silent)
    tokens = len(backend.encode(f" {long.object}", "raw").tokens)
    assert set(room) == {tokens + 4, tokens + 16}
