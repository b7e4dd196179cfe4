"""What an adapter is taught and what it is held to: wordings that are measured are in neither."""

from memctl.backends.numpy_backend import NumpyBackend
from memctl.consolidation.lessons import Curriculum, curriculum
from memctl.editing.cues import measuring_cues
from memctl.editing.subjects import names
from memctl.facts import Fact, make_fact
from memctl.progress import silent
from memctl.settings import LoraSettings

BACKEND = NumpyBackend()
SETTINGS = LoraSettings(look_alikes=6, strangers=2, probes=3, passages=4)
FACTS = (
    make_fact("Ana Lund", "lives in", "Oslo", questions=("Where would I find Ana Lund?",)),
    make_fact("Ben Lund", "lives in", "Rome"),
    make_fact("Ana Lund", "speaks", "Urdu"),
)


def written(*facts: Fact) -> Curriculum:
    return curriculum(BACKEND, facts, SETTINGS, silent)


def texts(lessons: Curriculum, numbers) -> list[str]:
    return [BACKEND.decode(lessons.lessons[number].tokens) for number in numbers]


def test_each_fact_is_taught_raw_and_in_chat_in_its_own_words_and_ends_in_its_object() -> None:
    lessons = written(*FACTS)
    for fact, own in zip(FACTS, lessons.taught, strict=True):
        said = texts(lessons, own)
        assert f"{fact.completion_prompt} {fact.object}." in said
        assert len(said) > 12
        assert all(fact.subject in text and fact.object in text for text in said)
        assert all(not lessons.lessons[number].to_base for number in own)
    assert any("Where would I find Ana Lund?" in text for text in texts(lessons, lessons.taught[0]))


def test_no_lesson_has_a_wording_that_recall_is_measured_on() -> None:
    lessons = written(*FACTS)
    said = texts(lessons, range(len(lessons.lessons)))
    for fact in FACTS:
        for cue in measuring_cues(fact).unseen:
            assert not any(text.startswith(cue.prompt) for text in said), cue.prompt


def test_wordings_that_are_checked_are_not_taught() -> None:
    lessons = written(*FACTS)
    for taught, checked in zip(lessons.taught, lessons.checked, strict=True):
        assert checked
        assert not set(texts(lessons, taught)) & set(texts(lessons, checked))


def test_whatever_is_taught_has_counter_examples_in_both_modes() -> None:
    lessons = written(*FACTS)
    for kind in ("names", "relations", "text"):
        kept = [lessons.lessons[number] for number in lessons.kept[kind]]
        assert all(lesson.to_base for lesson in kept)
        chat = BACKEND.encode("", "chat").tokens[:2]
        assert {lesson.tokens[:2] == chat for lesson in kept} == {True, False}, kind


def test_a_name_within_another_word_of_the_users_prompt_stays() -> None:
    fact = make_fact("Al", "lives in", "Oslo", prompt="In Albania, Al lives in")
    lessons = curriculum(BACKEND, [fact], LoraSettings(look_alikes=0, strangers=60, probes=0, passages=0), silent)
    said = [text for text in texts(lessons, lessons.kept["names"]) if "bania" in text]
    assert said
    assert all(text.startswith("In Albania, ") for text in said)


def test_nobody_who_is_stored_is_held_to_the_base_in_the_wordings_of_a_fact() -> None:
    """Look-alikes are drawn from few names: with so many, each of these two would be one of the other's."""
    first, second, *_ = names().first
    stored = [f"{first} Lund", f"{second} Lund"]
    facts = [make_fact(name, "lives in", "Oslo") for name in stored]
    lessons = curriculum(BACKEND, facts, LoraSettings(look_alikes=300, strangers=0, probes=0, passages=0), silent)
    said = texts(lessons, lessons.kept["names"])
    assert sum("Lund" in text for text in said) > 100
    assert not any(name in text for text in said for name in stored)


def test_a_kept_lesson_is_scored_from_where_the_answer_begins_to_its_object() -> None:
    lessons = written(*FACTS)
    chat = BACKEND.encode("", "chat").tokens[:2]
    for number in lessons.kept["names"]:
        lesson = lessons.lessons[number]
        assert lesson.predict[-1] == len(lesson.tokens) - 1
        asked = lesson.predict[0]
        assert lesson.predict == tuple(range(asked, len(lesson.tokens)))
        assert (asked < len(lesson.tokens) - 1) == (lesson.tokens[:2] == chat)
