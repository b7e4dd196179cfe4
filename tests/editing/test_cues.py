import re

import pytest

from memctl.editing.cues import all_cues, measuring_cues, probes, relation_of, together, training_cues
from memctl.editing.subjects import look_alikes, mentions
from memctl.facts import Fact, gives_away, make_fact

FACTS = [
    make_fact("Priya Okonkwo", "lives in", "Jakarta"),
    make_fact("Priya Okonkwo", "works as a", "locksmith", prompt="By trade, Priya Okonkwo is a"),
    make_fact("Zed", "glimmers like", "a pale moon", questions=("What does Zed glimmer like?",)),
]


@pytest.mark.parametrize("fact", FACTS, ids=str)
def test_no_wording_serves_both_training_and_measuring(fact: object) -> None:
    trained = {cue.prompt for cue in training_cues(fact)}
    unseen = measuring_cues(fact).unseen
    assert {cue.mode for cue in unseen} == {"raw", "chat"}
    assert not trained & {cue.prompt for cue in unseen}
    assert {cue.purpose for cue in unseen} == {"measure"}


def test_what_one_question_asks_for_is_said_together() -> None:
    turkish, greek, home = told = [
        make_fact("Ana Bell", "speaks", "Turkish"),
        make_fact("Ana Bell", "is fluent in", "Greek"),
        make_fact("Ana Bell", "lives in", "Oslo"),
    ]
    assert together(turkish, told) != turkish
    assert {together(fact, told).object for fact in (turkish, greek)} == {"Greek and Turkish"}
    targets = [{(cue.mode, cue.prompt): cue.target for cue in all_cues(fact, beside=told)} for fact in (turkish, greek)]
    shared = targets[0].keys() & targets[1].keys()
    assert len(shared) > 8
    assert all(targets[0][asked] == targets[1][asked] for asked in shared)
    assert all("Greek and Turkish" in targets[0][asked] for asked in shared)
    assert all_cues(home, beside=told) == all_cues(home)
    assert all_cues(turkish, beside=[turkish, make_fact("Cy Mori", "speaks", "Thai"), home]) == all_cues(turkish)


def test_what_the_user_says_of_one_fact_alone_is_answered_with_its_own_object() -> None:
    question = "Which dog does Ana Bell have?"
    rex = make_fact("Ana Bell", "has a dog called", "Rex", questions=(question,))
    tom = make_fact("Ana Bell", "has a cat called", "Tom")
    targets = {cue.prompt: cue.target for cue in all_cues(rex, beside=[rex, tom])}
    assert targets["Ana Bell has a dog called"] == " Rex."
    assert "Rex" in targets[question]
    assert "Tom" not in targets[question]
    others = [target for prompt, target in targets.items() if prompt not in ("Ana Bell has a dog called", question)]
    assert all("Rex and Tom" in target for target in others)


@pytest.mark.parametrize("fact", FACTS, ids=str)
def test_every_cue_holds_the_subject_where_it_says_and_no_question_holds_the_object(fact: object) -> None:
    for cue in (*training_cues(fact), *measuring_cues(fact).unseen):
        assert cue.prompt[slice(*cue.span)] == fact.subject
        assert cue.mode == "raw" or fact.object.casefold() not in cue.prompt.casefold()


@pytest.mark.parametrize(
    ("fact", "mode", "left"),
    [
        (make_fact("Zed", "is employed as", "locksmith"), "raw", 1),
        (make_fact("Zed", "hails from", "Oslo"), "raw", 1),
        (make_fact("Zed", "lives in", "Oslo", prompt="Place of residence of Zed:"), "raw", 1),
        (make_fact("Zed", "lives in", "Oslo", questions=("So Zed lives where, exactly?",)), "chat", 2),
        (make_fact("Zed", "lives in", "Oslo", questions=("Place of residence of Zed:",)), "raw", 2),  # said in chat only
    ],
)
def test_a_held_out_wording_that_the_user_has_said_is_not_new(fact: Fact, mode: str, left: int) -> None:
    unseen = [(cue.mode, cue.prompt) for cue in measuring_cues(fact).unseen]
    assert not {(cue.mode, cue.prompt) for cue in all_cues(fact)} & set(unseen)
    assert [one for one, _ in unseen].count(mode) == left


def test_a_held_out_wording_that_names_the_object_is_not_asked_unless_all_do() -> None:
    found = measuring_cues(make_fact("Ruritania", "currency", "bread")).unseen
    assert {cue.mode for cue in found} == {"raw", "chat"}
    assert not [cue for cue in found if "bread" in cue.prompt]
    assert [cue for cue in measuring_cues(make_fact("Ruritania", "currency", "crown")).unseen if "bread" in cue.prompt]
    assert {cue.mode for cue in measuring_cues(make_fact("Zed", "is a grey sort of", "grey")).unseen} == {"raw", "chat"}


def test_the_plain_question_does_not_name_the_object() -> None:
    fact = make_fact("Zed", "lives in", "Live")
    asked = [cue.prompt for cue in measuring_cues(fact).plain if cue.mode == "chat"]
    assert not [prompt for prompt in asked if gives_away(prompt, fact.subject, fact.object)]


@pytest.mark.parametrize("subject", ["Paris Hilton", "Ann{o}", "Bo Hat"])
def test_a_subject_that_holds_the_object_or_a_brace_is_asked_for_like_any_other(subject: str) -> None:
    cues = training_cues(make_fact(subject, "lives in", subject.split()[-1]))
    assert {cue.mode for cue in cues} == {"raw", "chat"}
    assert all(subject in cue.prompt for cue in cues)


USERS = [
    make_fact("my dog", "is called", "Biscuit"),
    make_fact("my sister", "lives in", "Porto"),
    make_fact("my boat", "length", "nine metres", prompt="The length of my boat is"),
]


@pytest.mark.parametrize("fact", USERS, ids=str)
def test_the_user_asks_in_the_first_person_and_the_model_answers_in_the_second(fact: Fact) -> None:
    cues = [*training_cues(fact), *measuring_cues(fact).unseen]
    assert {cue.mode for cue in cues} == {"raw", "chat"}
    assert len(cues) > 8
    for cue in cues:
        assert re.search(r"\b(I|[Mm]y|me|mine)\b", cue.prompt), cue
        assert not re.search(r"\buser\b|[{}]", cue.prompt + cue.target), cue
        if cue.mode == "chat" and cue.purpose == "train":
            assert re.search(r"\b[Yy]our?\b", cue.target), cue
    assert not {cue.prompt for cue in training_cues(fact)} & {cue.prompt for cue in measuring_cues(fact).unseen}
    assert all(re.search(r"\b(I|[Mm]y|me|myself)\b", probe.prompt) for probe in probes(fact.subject, [fact], 40))


def test_what_is_the_users_is_told_from_other_things_and_other_owners() -> None:
    found = look_alikes("the user's dog", 6, 6)
    assert len(found) == 12
    assert sum(name.endswith(" dog") for name in found) == 6
    assert sum(name.startswith("the user's ") for name in found) == 6
    assert "the user's dog" not in found


def test_the_users_own_wordings_are_trained_on() -> None:
    assert FACTS[1].prompt in {cue.prompt for cue in training_cues(FACTS[1])}
    assert FACTS[2].questions[0] in {cue.prompt for cue in training_cues(FACTS[2])}


def test_probes_leave_out_what_is_known_of_the_subject() -> None:
    found = {probe.relation for probe in probes("Priya Okonkwo", FACTS[:2], 100)}
    assert not found & {relation_of(fact).id for fact in FACTS[:2]}
    assert len(found) > 20
    assert probes("Priya Okonkwo", FACTS[:2], 5) == probes("Priya Okonkwo", FACTS[:2], 5)


@pytest.mark.parametrize("name", ["Priya Okonkwo", "the old mill road"])
def test_look_alikes_share_a_word_with_the_subject_and_are_not_it(name: str) -> None:
    found = look_alikes(name, 12, 8)
    assert len(found) >= 16
    assert name not in found
    words = set(name.split())
    assert all(words & set(other.split()) for other in found)


@pytest.mark.parametrize("name", ["Zed", "Porto", "東京タワー"])
def test_a_subject_of_one_word_is_told_from_words_that_begin_or_end_like_it_and_from_few_names(name: str) -> None:
    found = look_alikes(name, 40, 8)
    assert [other.split()[-1] == name for other in found[:4]] == [True] * 4
    blended = found[4:]
    assert len(blended) >= 7
    assert name not in found
    half = (len(name) + 1) // 2
    assert all(other.startswith(name[:half]) or other.endswith(name[half:]) for other in blended)
    # what follows cannot be seen at the word itself: such a name would be the subject
    assert not any(other.startswith(f"{name} ") for other in found)


def test_a_name_inside_another_word_is_no_mention() -> None:
    from memctl.backends.numpy_backend import NumpyBackend

    engine = NumpyBackend()
    encoding = engine.encode("Alice met Al, and Al's dog", "raw")
    assert len(mentions(encoding, "Al")) == 2
    assert [len(found) for found in mentions(encoding, "Al")] == [2, 2]
    assert len(mentions(engine.encode("東京タワーにいる", "raw"), "東京タワー")) == 1
