import pytest

from memctl.errors import UsageError
from memctl.facts import make_fact


def test_the_same_fact_has_the_same_id_whatever_its_spacing_and_unicode_form() -> None:
    assert make_fact("Ana  Nuñez", "lives in", "Oslo").id == make_fact(" Ana Nun\u0303ez ", "lives in", "Oslo").id
    assert make_fact("Ana", "lives in", "Oslo").id != make_fact("Ana", "lives in", "Rome").id


@pytest.mark.parametrize("hidden", ["\u200b", "\u00ad", "\ufeff", "\u200e", "\u200f", "\u2060", "\u202b", "\u2068"])
def test_what_nobody_sees_makes_no_other_fact(hidden: str) -> None:
    fact = make_fact(f"Ana{hidden} Ruiz", f"lives {hidden} in", f"{hidden}Os{hidden}lo")
    assert fact.id == make_fact("Ana Ruiz", "lives in", "Oslo").id


@pytest.mark.parametrize("name", ["👩\u200d🚀", "می\u200cخواهم"])
def test_joiners_stay_where_scripts_and_emoji_need_them(name: str) -> None:
    assert make_fact(f"{name}\u200b", "lives in", "Oslo").subject == name


@pytest.mark.parametrize(
    ("subject", "object", "prompt", "question", "said"),
    [
        ("", "Oslo", "", None, "subject is empty"),
        ("x" * 200_000, "Oslo", "", None, "200,000 characters"),
        ("Ana", " ", "", None, "object is empty"),
        ("An\x00a", "Oslo", "", None, "control character"),
        ("Ana", "Oslo", "Bob lives in", None, "does not contain the subject"),
        ("Ana", "Oslo", "", "Where does Bob live?", "does not contain the subject"),
        ("Ana", "Oslo", "", "Does Ana live in Oslo?", "gives the object away"),
        ("Ann", "Annapolis", "", "Does Ann live in Annapolis?", "gives the object away"),
        ("Ada", "Ada Lovelace Labs", "", "Is Ada at Ada Lovelace Labs?", "gives the object away"),
        ("Straße", "Oslo", "", "Is Straße near OSLO?", "gives the object away"),
        ("Ana", "Oslo", "Oslo is the city in which Ana lives, so Ana lives in", None, "gives the object away"),
        ("\u200b", "Oslo", "", None, "subject is empty"),
    ],
)
def test_a_fact_that_cannot_be_written_says_why(
    subject: str, object: str, prompt: str, question: str | None, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        make_fact(subject, "lives in", object, prompt=prompt, questions=(question,) if question else ())


def test_emoji_and_right_to_left_text_are_facts_like_any_other() -> None:
    assert make_fact("🦊 Fox", "lives in", "القاهرة").object == "القاهرة"


def test_a_subject_inside_another_word_is_not_named() -> None:
    with pytest.raises(UsageError, match="does not contain the subject"):
        make_fact("Ann", "lives in", "Oslo", prompt="Anna lives in")


def test_an_object_within_the_subject_does_not_give_itself_away() -> None:
    assert make_fact("Paris Hilton", "lives in", "Paris", questions=("Where does Paris Hilton live?",)).questions
    assert make_fact("Paris Hilton", "lives in", "Paris", prompt="The home of Paris Hilton is in").prompt
    assert make_fact("Straße Oslo", "lives in", "Oslo", questions=("Where is Straße Oslo?",)).questions


def test_an_article_gives_no_grade_away() -> None:
    assert make_fact("Ana", "grade", "A", prompt="Ana has a grade of", questions=("Does Ana have a grade?",)).prompt
    with pytest.raises(UsageError, match="gives the object away"):
        make_fact("Ana", "grade", "A", questions=("Does Ana have an A?",))
