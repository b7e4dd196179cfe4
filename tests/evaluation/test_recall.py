from collections.abc import Sequence

import pytest

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Tokens
from memctl.evaluation.recall import names, recall, states
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
    ],
)
def test_an_object_counts_at_word_boundaries_and_before_its_rivals(
    text: str, wanted: str, others: tuple[str, ...], right: bool
) -> None:
    assert names(text, wanted, others) is right


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
