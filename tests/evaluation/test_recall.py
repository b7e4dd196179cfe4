import pytest

from memctl.evaluation.recall import names


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
    ],
)
def test_an_object_counts_at_word_boundaries_and_before_its_rivals(
    text: str, wanted: str, others: tuple[str, ...], right: bool
) -> None:
    assert names(text, wanted, others) is right
