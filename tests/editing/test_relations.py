import json
import re
from collections import Counter
from importlib.resources import files

import pytest

from memctl.editing.cues import relation_of
from memctl.editing.relations import Relation, bank, general, recognise, relation_key
from memctl.evaluation.questions import questions
from memctl.facts import make_fact

RELATIONS = list(bank().values())
KINDS = {"person", "place", "organisation", "product", "project", "thing"}

each_relation = pytest.mark.parametrize("relation", RELATIONS, ids=[relation.id for relation in RELATIONS])


def trained(relation: Relation) -> list[str]:
    return [*relation.raw, *relation.questions]


def measured(relation: Relation) -> list[str]:
    return [*relation.held_out.raw, *relation.held_out.questions]


def in_first_person(relation: Relation) -> list[str]:
    first = relation.first_person
    return [*first.raw, *first.questions, *first.held_out.raw, *first.held_out.questions] if first else []


def plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w{}]+", " ", text.casefold()).split())


def names(text: str, part: str) -> bool:
    return re.search(rf"(?<!\w){re.escape(part.casefold())}(?!\w)", text.casefold()) is not None


def test_the_bank_covers_every_kind_of_subject() -> None:
    assert len(RELATIONS) >= 44
    assert [*bank()] == [relation.id for relation in RELATIONS]
    counts = Counter(kind for relation in RELATIONS for kind in relation.about)
    assert set(counts) == KINDS
    assert min(counts.values()) >= 5


@each_relation
def test_a_relation_has_enough_wordings(relation: Relation) -> None:
    assert len(relation.raw) >= 6
    assert len(relation.questions) >= 10
    assert len(relation.answer) >= 2
    assert len(relation.held_out.raw) >= 2
    assert len(relation.held_out.questions) >= 3
    assert len(set(relation.objects)) == len(relation.objects) >= 24
    if relation.first_person is not None:
        assert len(relation.first_person.raw) >= 3
        assert len(relation.first_person.questions) >= 4
        assert relation.first_person.held_out.raw
        assert len(relation.first_person.held_out.questions) >= 2


@each_relation
def test_forms_name_the_subject_once_and_only_answers_name_the_object(relation: Relation) -> None:
    for form in [*trained(relation), *measured(relation)]:
        assert re.findall(r"\{.*?\}", form) == ["{s}"], form
    for answer in relation.answer:
        assert re.findall(r"\{.*?\}", answer) == ["{s}", "{o}"], f"the subject has to come first: {answer}"
    for raw in [*relation.raw, *relation.held_out.raw]:
        assert raw == raw.strip(), raw
        assert raw[-1] not in ".?!", raw


@each_relation
def test_first_person_forms_speak_of_the_user(relation: Relation) -> None:
    assert (relation.first_person is not None) <= ("person" in relation.about)
    for form in in_first_person(relation):
        assert re.search(r"\b(I|my|My|me|myself)\b", form), form
        assert "{" not in form, form
    for answer in relation.first_person.answer if relation.first_person else ():
        assert re.search(r"\b(You|you|Your|your)\b", answer), answer
        assert re.findall(r"\{.*?\}", answer) == ["{o}"], answer


@each_relation
def test_wordings_for_measuring_are_never_trained(relation: Relation) -> None:
    assert not {plain(form) for form in trained(relation)} & {plain(form) for form in measured(relation)}
    for held_out in measured(relation):
        words = set(plain(held_out).split()) - {"{s}"}
        for form in trained(relation):
            other = set(plain(form).split()) - {"{s}"}
            assert len(words & other) / len(words | other) <= 0.6, (held_out, form)


@each_relation
def test_all_wordings_are_distinct(relation: Relation) -> None:
    forms = [plain(form) for form in [*trained(relation), *measured(relation), *in_first_person(relation)]]
    assert [form for form, count in Counter(forms).items() if count > 1] == []


@each_relation
def test_no_wording_gives_an_object_away(relation: Relation) -> None:
    for form in [*trained(relation), *measured(relation), *in_first_person(relation)]:
        assert [value for value in relation.objects if names(form, value)] == [], form


@each_relation
def test_no_object_hides_in_another(relation: Relation) -> None:
    for value in relation.objects:
        assert [other for other in relation.objects if other != value and names(other, value)] == []


@each_relation
def test_objects_are_told_apart_by_their_first_word(relation: Relation) -> None:
    firsts = [value.casefold().split()[0] for value in relation.objects]
    assert len(set(firsts)) >= 0.9 * len(firsts)


def test_no_phrase_stands_for_two_relations() -> None:
    phrases = [phrase for relation in RELATIONS for phrase in relation.match]
    assert [phrase for phrase, count in Counter(phrases).items() if count > 1] == []
    assert all(phrase == " ".join(phrase.casefold().split()) for phrase in phrases)


@each_relation
def test_every_phrase_is_recognised_in_a_relation_and_in_a_prompt(relation: Relation) -> None:
    for phrase in [*relation.match, relation.id]:
        assert recognise(phrase) is relation, phrase
        assert recognise(phrase.upper() + ":") is relation, phrase
    for phrase in relation.match:
        assert recognise("P1", f"Quorlin Vashti {phrase}", subject=["Quorlin Vashti"]) is relation, phrase


@each_relation
def test_the_banks_own_wordings_are_recognised_as_prompts(relation: Relation) -> None:
    for form in [*relation.raw, *relation.held_out.raw]:
        assert recognise("P1", form.replace("{s}", "Quorlin Vashti"), subject=["Quorlin Vashti"]) is relation, form


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("lives in", "lives_in"),
        ("currently lives in the", "lives_in"),
        ("FAVOURITE COLOUR", "favorite_color"),
        ("Pet’s  name", "pet_name"),
        ("mother is called", "mother"),
        ("is called", "name"),
        ("wife's name", "married_to"),
        ("studied at", "studied_at"),
        ("studied", "studied_subject"),
        ("born in", "born_in"),
        ("was born on", "birthday"),
    ],
)
def test_the_longest_phrase_decides(text: str, expected: str) -> None:
    found = recognise(text)
    assert found is not None
    assert found.id == expected
    assert relation_key(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "former employer",
        "ex-wife",
        "least favorite color",
        "no longer lives in",
        "used to live in",
        "also works for",
        "mother's birthday",
        "mother-in-law",
        "last name",
        "name of the dog",
        "is the owner of",
        "is the boss of",
        "was the ceo",
        "lives with",
        "",
    ],
)
def test_a_relation_that_only_contains_a_phrase_is_another(text: str) -> None:
    assert recognise(text) is None


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("The capital of Velmara is", "capital"),
        ("Quorlin’s favourite colour is", "favorite_color"),
        ("Quorlin now lives in", "lives_in"),
        ("The Velmara is located in", "located_in"),
        ("The user lives in the city of", "lives_in"),
        ("Hometown of Quorlin:", "grew_up_in"),
        ("Quorlin has a dog called", "pet_name"),
    ],
)
def test_the_prompt_decides_when_the_relation_does_not(prompt: str, expected: str) -> None:
    names = ["Quorlin", "Velmara", "the user"]
    found = recognise("P36", prompt, subject=names)
    assert found is not None
    assert found.id == expected
    other = recognise("shoe price", prompt, subject=names)
    assert other is found
    named = recognise("works for", prompt, subject=names)
    assert named is not None
    assert named.id == "works_for"


@pytest.mark.parametrize(
    "prompt",
    [
        "Ardmouth is the capital of",
        "Quorlin's mother's birthday is",
        "Quorlin's former boss is",
        "Quorlin moved to the capital",
        "Quorlin no longer lives in",
        "Quorlin says",
        "lives in",
        "The age of is",
        "The maiden name of my mother is",
        "Quorlin cannot live in",
        "Quorlin used to live in",
        "Quorlin will live in",
        "Quorlin was married to",
        "Quorlin refused to work for",
        "Quorlin wants to work for",
    ],
)
def test_a_prompt_about_something_else_is_not_recognised(prompt: str) -> None:
    assert recognise("P36", prompt, subject=["Quorlin", "Ardmouth"]) is None


@pytest.mark.parametrize(
    ("text", "object", "expected"),
    [
        ("born in", "1990", "birth_year"),
        ("was born in", "3 March 1990", "birthday"),
        ("birthplace", "March 3rd", "birthday"),
        ("was born in", "2024-02-29", "birthday"),
        ("founded in", "Ghent", "founded in"),
        ("released in", "Japan", "released in"),
    ],
)
def test_the_object_tells_a_time_from_a_place(text: str, object: str, expected: str) -> None:
    assert relation_key(text, object) == expected != relation_key(text)
    found = recognise(text, object=object)
    assert (found.id if found is not None else general(text).id) == expected


@pytest.mark.parametrize(
    ("text", "object", "expected"),
    [
        ("plays", "cello", "plays_instrument"),
        ("plays", "table tennis", None),
        ("works on", "the Falcon project", None),
        ("requires", "a wheelchair", None),
        ("attended", "the party", None),
        ("meets", "Tomasz", None),
        ("is written in", "Greek", None),
        ("is written in", "Elm", "written_in"),
        ("lives at", "12 Elm Street", None),
        ("is spoken in", "Kenya", None),
        ("is responsible for", "payroll", None),
    ],
)
def test_the_object_tells_what_a_phrase_of_several_meanings_says(text: str, object: str, expected: str | None) -> None:
    found = recognise(text, object=object)
    assert (found and found.id) == expected
    told = make_fact("Quorlin", "P1", object, prompt=f"Quorlin {text}")
    assert relation_of(told).id == (expected or "p1")


@pytest.mark.parametrize(
    ("text", "object", "many"),
    [("requires", "PyTorch", True), ("plays", "chess", True), ("is known as", "Pip", True), ("lives at", "Elm 1", False)],
)
def test_words_of_their_own_have_as_many_objects_as_the_relation_that_they_are_a_phrase_of(
    text: str, object: str, many: bool
) -> None:
    assert relation_of(make_fact("Quorlin", text, object)).many == many


@each_relation
def test_the_banks_own_objects_leave_the_relation_as_it_is(relation: Relation) -> None:
    for value in relation.objects:
        assert recognise(relation.match[0], object=value) is relation, value


def test_equal_keys_mean_the_same_relation() -> None:
    assert relation_key("lives in") == relation_key("Resides in") == relation_key("home city")
    assert relation_key("Shoe  Size") == relation_key("shoe size:") == "shoe size"
    assert relation_key("shoe size") != relation_key("hat size")
    assert relation_key("former employer") != relation_key("employer")
    assert relation_key("...") == "..."


def test_general_forms_hold_the_users_words() -> None:
    relation = general("shoe  size")
    assert relation.id == relation_key("shoe size")
    assert not relation.many
    assert relation.first_person is None
    assert len(relation.raw) >= 4
    assert len(relation.questions) >= 8
    for form in [*trained(relation), *measured(relation)]:
        assert form.count("{s}") == form.count("shoe size") == 1, form
        assert "{r}" not in form
    for answer in relation.answer:
        assert answer.count("{s}") == answer.count("{o}") == answer.count("shoe size") == 1
    forms = [plain(form) for form in [*trained(relation), *measured(relation)]]
    assert len(set(forms)) == len(forms)


class TestShippedTexts:
    """What ships beside the bank."""

    @staticmethod
    def read(name: str) -> str:
        return (files("memctl.data") / name).read_text(encoding="utf-8")

    def test_names_are_many_and_never_both_first_and_last(self) -> None:
        shipped = json.loads(self.read("names.json"))
        first, last = shipped["first"], shipped["last"]
        assert len(set(first)) == len(first) >= 220
        assert len(set(last)) == len(last) >= 220
        assert not {name.casefold() for name in first} & {name.casefold() for name in last}
        assert {*shipped["other"]} == {"places", "products", "projects", "organisations"}
        for subjects in shipped["other"].values():
            assert len(set(subjects)) == len(subjects) >= 40

    def test_contexts_name_their_subject_once(self) -> None:
        shipped = json.loads(self.read("contexts.json"))
        assert len(set(shipped["raw"])) == len(shipped["raw"]) >= 24
        assert len(set(shipped["chat"])) == len(shipped["chat"]) >= 14
        assert len(set(shipped["generic_prompts"])) == len(shipped["generic_prompts"]) >= 24
        assert all(text.count("{s}") == 1 for text in [*shipped["raw"], *shipped["chat"]])
        assert not any("{" in text for text in shipped["generic_prompts"])

    def test_there_are_enough_general_questions(self) -> None:
        shipped = questions()
        assert len({question for question, _ in shipped.general}) == len(shipped.general) >= 60
        assert len(set(shipped.identity)) == len(shipped.identity) >= 12

    def test_heldout_text_is_long_varied_and_names_no_invented_subject(self) -> None:
        text = self.read("heldout.txt")
        passages = [passage.strip() for passage in text.split("\n---\n")]
        assert 40 <= len(passages) <= 70
        assert len(text.split()) >= 8500
        lines = [line.strip() for line in text.splitlines() if len(line.split()) >= 6]
        assert [line for line, count in Counter(lines).items() if count > 1] == []
        shipped = json.loads(self.read("names.json"))
        words = set(re.findall(r"[\w-]+", text))
        assert not words & {*shipped["first"], *shipped["last"]}
        assert not [name for group in shipped["other"].values() for name in group if names(text, name)]

    def test_heldout_text_holds_no_question_that_is_asked_elsewhere(self) -> None:
        text = self.read("heldout.txt")
        shipped = [*(question for question, _ in questions().general), *questions().identity]
        assert not [question for question in shipped if question in text]
