"""The bank of relations: what people state about people, places, organisations and things, in many wordings.

The bank is data (`memctl/data/relations.json`). A user's words name one of its relations only if nothing of
content is left over: "currently lives in" is `lives_in`, but "former employer", "mother's birthday" and "is the
owner of" are relations of their own. Were they not, a new fact would supersede one that is still true.
"""

import re
from collections.abc import Collection
from functools import cache
from importlib.resources import files

import msgspec

from memctl.facts import Mode, canonical

_ARTICLES_AND_COPULAS = {"a", "an", "the", "is", "are", "am", "be", "has", "have", "do", "does"}
_OWNERS = {"my", "your", "his", "her", "its", "our", "their", "own"}
_STILL_TRUE = {"now", "currently", "current", "actually", "still", "really", "always", "usually", "professionally"}
_WITHOUT_CONTENT = _ARTICLES_AND_COPULAS | _OWNERS | _STILL_TRUE
"""Words that may stand around a phrase without making it another relation; "also" does: it adds an object."""

_MONTHS = "january february march april may june july august september october november december"
_MONTH = "|".join(f"{month}|{month[:3]}" for month in _MONTHS.split())
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = re.compile(rf"(?:(?:the )?{_DAY}(?: of)? )?(?:{_MONTH})(?: {_DAY})?(?:,? \d{{4}})?|\d+([-./])\d+\1\d+", re.I)
_YEAR = re.compile(r"\d{4}")

_AROUND_WORDS = '.,:;!?"“”()[]…'


class Wordings(msgspec.Struct, frozen=True):
    """Raw forms end right before the object; questions are turns of a chat. `{s}` stands for the subject."""

    raw: tuple[str, ...]
    questions: tuple[str, ...]


class FirstPerson(msgspec.Struct, frozen=True):
    """The subject is the user: `I` and `my` when asked, `you` and `your` in the answer, which holds `{o}`."""

    raw: tuple[str, ...]
    questions: tuple[str, ...]
    answer: tuple[str, ...]
    held_out: Wordings


class Relation(msgspec.Struct, frozen=True):
    """One relation and the ways to ask for it.

    Attributes:
        about: Kinds of subject (`person`, `place`, `organisation`, `product`, `project`, `thing`); empty: any.
        match: Lower-case phrases by which a user's relation or prompt is recognised, longest first.
        many: Whether a subject has several objects at once: a second one does not supersede the first.
        answer: Full sentences with `{s}` and `{o}`.
        objects: Plausible objects, for tests and benches.
        held_out: Wordings that training never uses.
        first_person: None where the subject is never the user.
        year, date: Ids of the relations that the same words name where the object is one; empty: this one.
        time: Whether objects are times: said of anything else ("founded in Ghent") the words are a relation of their own.
        but: Of phrases that say several things, the words of which an object has one where the phrase does not name this
            relation ("plays" with tennis); with no words, it never does. A fact's words are a relation of their own there.
    """

    id: str
    about: tuple[str, ...]
    match: tuple[str, ...]
    many: bool
    raw: tuple[str, ...]
    questions: tuple[str, ...]
    answer: tuple[str, ...]
    objects: tuple[str, ...]
    held_out: Wordings
    first_person: FirstPerson | None = None
    year: str = ""
    date: str = ""
    time: bool = False
    but: dict[str, tuple[str, ...]] = {}  # msgspec copies an empty default for each instance


class _General(msgspec.Struct, frozen=True):
    raw: tuple[str, ...]
    questions: tuple[str, ...]
    answer: tuple[str, ...]
    held_out: Wordings


class _Bank(msgspec.Struct, frozen=True):
    relations: tuple[Relation, ...]
    general: _General


@cache
def _shipped() -> _Bank:
    return msgspec.json.decode((files("memctl.data") / "relations.json").read_bytes(), type=_Bank)


@cache
def bank() -> dict[str, Relation]:
    """All relations by id, in the order of the file."""
    return {relation.id: relation for relation in _shipped().relations}


def in_turn(wordings: Relation | Wordings, k: int) -> tuple[tuple[Mode, str], tuple[Mode, str]]:
    """The k-th raw form and the k-th question; behind the last one comes the first again."""
    raw, questions = wordings.raw, wordings.questions
    return ("raw", raw[k % len(raw)]), ("chat", questions[k % len(questions)])


def general(relation_text: str) -> Relation:
    """The wordings for a relation that the bank does not know, with the user's words filled in.

    Its id is the relation's key. The same words said again about the same subject are taken for a correction, unless they say
    "also", or are a phrase of a relation with several objects that is something else here.
    """
    named = recognise(relation_text)
    forms = _shipped().general

    def filled(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(text.replace("{r}", canonical(relation_text)) for text in texts)

    return Relation(
        id=_own_key(relation_text),
        about=(),
        match=(),
        many="also" in _words(relation_text) or (named is not None and named.many),
        raw=filled(forms.raw),
        questions=filled(forms.questions),
        answer=filled(forms.answer),
        objects=(),
        held_out=Wordings(filled(forms.held_out.raw), filled(forms.held_out.questions)),
    )


def recognise(relation_text: str, prompt: str = "", object: str = "", subject: Collection[str] = ()) -> Relation | None:
    """The bank's relation that a user's words name: by the relation itself or, failing that, by the prompt.

    The longest phrase at word boundaries decides; of a prompt, the longest text around the subject. Where the same words are
    said of a place and of a time, as "born in", or of an instrument and a sport, the object tells which, if it is given.

    Args:
        subject: How the prompt may name it. With anything more between the ends of a bank's form, as in "NAME cannot live in",
            the prompt says something else.
    """
    named = _named(relation_text, prompt, subject)
    if named is None or not object:
        return named and named[0]
    found, phrase = named
    excepted = found.but.get(phrase)
    if excepted is not None and (not excepted or not {*_words(object)}.isdisjoint(excepted)):
        return None
    if found.time:
        timed = re.search(r"\d", object) or is_date(object) or {"year", "date"} & {*_words(relation_text)}
        return found if timed else None
    return bank()[(_YEAR.fullmatch(object) and found.year) or (is_date(object) and found.date) or found.id]


def is_date(text: str) -> bool:
    """Whether a text is a day or a month, with a year or without."""
    return _DATE.fullmatch(text) is not None


def _named(relation_text: str, prompt: str, subject: Collection[str]) -> tuple[Relation, str] | None:
    """A relation, and the phrase that names it; of another raw form the form itself."""
    words = _words(relation_text)
    spans = [(start, end) for end in range(len(words), 0, -1) for start in range(end)]
    for start, end in sorted(spans, key=lambda span: span[0] - span[1]):
        phrase = " ".join(words[start:end])
        found = _phrases().get(phrase)
        if found is not None and _WITHOUT_CONTENT.issuperset(words[:start] + words[end:]):
            return found, phrase
    text, names = _plain(prompt), {_plain(name) for name in subject}
    for before, after, relation, phrase in _frames():
        fits = text.startswith(before) and text.endswith(after)
        if fits and _is_named(text[len(before) : len(text) - len(after)].strip(), names):
            return relation, phrase
    return None


def _is_named(text: str, names: Collection[str]) -> bool:
    """Whether a text is a name, or one with "the" before it or "now" or the like behind it."""
    for said in (text, re.sub(r"^(?:the|an?) ", "", text)):
        if any(said.startswith(name) and _WITHOUT_CONTENT.issuperset(_words(said[len(name) :])) for name in names):
            return True
    return False


def relation_key(text: str, object: str = "") -> str:
    """Equal for two texts that mean the same relation: the bank's id, or else the text without case."""
    relation = recognise(text, object=object)
    return relation.id if relation is not None else _own_key(text)


def _own_key(text: str) -> str:
    return " ".join(_words(text)) or canonical(text).casefold()


@cache
def _phrases() -> dict[str, Relation]:
    return {phrase: relation for relation in bank().values() for phrase in relation.match}


@cache
def _frames() -> list[tuple[str, str, Relation, str]]:
    """What stands before and after the subject in raw prompts, longest first, and the phrase that a form is made of."""
    frames: list[tuple[str, str, Relation, str]] = []
    for relation in bank().values():
        forms: list[tuple[str, str]] = []
        for phrase in relation.match:
            forms += [(form, phrase) for form in (f"{{s}} {phrase}", f"{{s}}'s {phrase} is", f"The {phrase} of {{s}} is")]
        forms += [(form, form) for form in (*relation.raw, *relation.held_out.raw)]
        for form, phrase in forms:
            before, _, after = _plain(form).partition("{s}")
            frames.append((before, after, relation, phrase))
    return sorted(frames, key=lambda frame: -len(frame[0] + frame[1]))


def _words(text: str) -> list[str]:
    parts = _plain(text).replace("_", " ").split()
    return [word for word in (part.strip(_AROUND_WORDS) for part in parts) if word]


def _plain(text: str) -> str:
    return canonical(text).casefold().replace("’", "'").rstrip(" :")
