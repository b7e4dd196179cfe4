"""Recall: does the model say the object when it is asked for the fact?

Greedy decoding, at most 16 tokens raw and 32 in chat, and more for a long object. The object's normalised form has to occur at
word boundaries, before any other object of the same relation; what is part of the subject's name is neither.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np

from memctl.backends.protocol import Backend
from memctl.editing.cues import measuring_cues, relation_of, together
from memctl.facts import ARTICLES, Cue, Fact, Mode, one_word
from memctl.first_person import mentions_of
from memctl.progress import Progress

MAX_TOKENS: dict[Mode, int] = {"raw": 16, "chat": 32}
AROUND: dict[Mode, int] = {"raw": 4, "chat": 16}
"""Tokens that an answer may have around its object: white space and quotes, or a sentence that repeats the question."""

PROMPTS_AT_ONCE = 64

_SYMBOLS = r"(?:[+#]|(?<=\w)[-−](?!\w))"
"""What tells C++ from C#, and the blood type O− from O+; a hyphen within a word does not."""

_MINUS = r"(?:(?<![\w)\]}%°.,-])-(?=[^\w\s]?\d))"
"""The sign of a number; between two numbers, as in 301-555 and (301)-555, it is a hyphen."""

_PUNCTUATION = re.compile(rf"(?!{_SYMBOLS}|{_MINUS})[^\w\s]")
_OPTIONAL = rf"(?: (?:{'|'.join(ARTICLES)}))*? "

_SPACELESS = ("CJK", "HIRAGANA", "IDEOGRAPHIC", "KATAKANA", "KHMER", "LAO", "MYANMAR", "THAI")
_PREFIXED = ("ARABIC", "HEBREW")
_SUFFIXED = ("HANGUL",)
"""Scripts that write "in" together with a name: before it, as Hebrew does, or behind it, as Korean does."""


class FactRecall(msgspec.Struct, frozen=True):
    """Share of cues answered with the object, 0 to 1: as a user would ask, and in wordings not trained on."""

    raw: float
    chat: float
    raw_new: float
    chat_new: float


def normalised(text: str) -> str:
    """Case, articles, punctuation and double spaces taken out; what tells names apart (C++, C#, O−, −5, Plan A) stays."""
    *words, last = _plain(text).split(" ")
    words = [word for word in words if word not in ARTICLES]
    return " ".join([*words, last] if words or last not in ARTICLES else [])


def _plain(text: str) -> str:
    """As `normalised`, with articles: of a text nobody knows whether "plan a" is a name."""
    text = unicodedata.normalize("NFKC", text).casefold().replace("−", "-")
    return " ".join(_PUNCTUATION.sub(_replaced, text).split())


def _replaced(punctuation: re.Match[str]) -> str:
    """Accents and vowel signs stay in their word, currencies beside their number; all else separates words."""
    sign, text, (start, end) = punctuation[0], punctuation.string, punctuation.span()
    before, after = text[max(start - 2, 0) : start], text[end : end + 2]
    if _is_mark(sign) and _is_word(before[-1:]):
        return sign
    priced = unicodedata.category(sign) == "Sc" and (before.rstrip()[-1:].isdigit() or after.lstrip()[:1].isdigit())
    return f" {sign} " if priced else " "


def position(text: str, phrase: str, subject: str = "") -> int:
    """Where a phrase begins in a text at word boundaries, both normalised; −1 if it does not.

    Within a longer mention of the subject it does not count: "Violet Okonkwo" names no color.
    """
    wanted, said = normalised(phrase), _plain(text)
    if not wanted:  # an article, or punctuation and emoji alone: as it is written
        return next((start for start, _ in _found(text, unicodedata.normalize("NFKC", phrase))), -1)
    mentions = [normalised(mention) for mention in mentions_of(subject)] if subject else []
    within = [span for mention in mentions if len(mention) > len(wanted) for span in _found(said, mention)]
    for start, end in _found(said, wanted):
        if not any(first <= start and end <= last for first, last in within):
            return start
    return -1


def _found(text: str, phrase: str) -> Iterator[tuple[int, int]]:
    """Characters `[start, end)` of each occurrence at word boundaries, articles within it or not."""
    words = _OPTIONAL.join(map(re.escape, phrase.split(" ")))
    for start, end in (match.span(1) for match in re.finditer(f"(?=({words}))", text)):
        begun = _goes_on(text[start], text[start - 1 : start], before=True)
        if not begun and not _goes_on(text[end - 1], text[end : end + 1], before=False):
            yield start, end


def _goes_on(inner: str, outer: str, *, before: bool) -> bool:
    """Whether the character before or behind a phrase makes another name of it, as that of a word, of C++ or of −5 does."""
    if before and outer == "-":
        return inner.isdigit()
    if outer == "_" or (not before and outer in ("+", "#")):
        outer = "x"
    if not _is_word(inner):
        return inner.isascii() and _is_word(outer)
    return _is_word(outer) and _continues(inner, outer, before=before)


def _continues(inner: str, outer: str, *, before: bool) -> bool:
    """Whether a letter, digit or mark continues the word of another; in scripts without spaces it does not."""
    own, other = _script(inner), _script(outer)
    if _is_mark(outer) and not before:
        return True
    if own in _SPACELESS:
        return inner.isdigit() and outer.isdigit()
    alike = own == other or "COMBINING" in (own, other)
    return one_word(inner, outer) or (alike and other not in (_PREFIXED if before else _SUFFIXED))


def _is_word(character: str) -> bool:
    return character.isalnum() or _is_mark(character)


def _is_mark(character: str) -> bool:
    """Whether it is part of the letter before it, as an accent or a vowel sign; what chooses between two looks is not."""
    return unicodedata.category(character or " ") in ("Mn", "Mc") and _script(character) != "VARIATION"


def _script(character: str) -> str:
    """The first word of its Unicode name: `LATIN`, `CJK`."""
    return unicodedata.name(character, "").replace("-", " ").partition(" ")[0]


def names(text: str, wanted: str, others: Iterable[str], subject: str = "") -> bool:
    """Whether a text names the wanted object, and none of the others before it; not as part of the subject's name."""
    at = position(text, wanted, subject)
    if at < 0:
        return False
    mine = normalised(wanted)
    rivals = (other for other in others if not _one_in_other(mine, normalised(other)))
    return all(not 0 <= position(text, rival, subject) < at for rival in rivals)


def _one_in_other(one: str, other: str) -> bool:
    """Whether one of two normalised names is part of the other, as a word; an article alone is told from no text."""
    return not one or not other or any(_found(one, other)) or any(_found(other, one))


def states(text: str, fact: Fact, beside: Sequence[Fact] = ()) -> bool:
    """Whether a text names the fact's object, and no other object of its relation before it.

    Args:
        beside: Facts of the same subject: what they say in the same relation may come before.
    """
    relation = relation_of(fact)
    true = {one.object for one in beside if relation.many and relation_of(one).id == relation.id}
    return names(text, fact.object, (other for other in relation.objects if other not in true), fact.subject)


def completions(
    backend: Backend, prompts: Sequence[tuple[Mode, str]], progress: Progress, what: str, objects: Sequence[str] = ()
) -> list[str]:
    """Greedy continuations of prompts, as text; with the `objects` that are asked for, each has room for its own."""
    texts = [""] * len(prompts)
    limits = [MAX_TOKENS[mode] for mode, _ in prompts]
    for k, object in enumerate(objects):
        mode = prompts[k][0]
        limits[k] = max(limits[k], len(backend.encode(f" {object}", "raw").tokens) + AROUND[mode])
    ordered = sorted(range(len(prompts)), key=lambda k: limits[k])
    for begin in range(0, len(ordered), PROMPTS_AT_ONCE):
        part = ordered[begin : begin + PROMPTS_AT_ONCE]
        tokens = [backend.encode(prompt, mode).tokens for mode, prompt in (prompts[k] for k in part)]
        replies = backend.generate(tokens, [limits[k] for k in part])
        for k, reply in zip(part, replies, strict=True):
            texts[k] = backend.decode(reply)
        progress(what, begin + len(part), len(prompts))
    return texts


def recall(
    backend: Backend, facts: Sequence[Fact], progress: Progress, what: str = "asking", beside: Sequence[Fact] = ()
) -> list[FactRecall]:
    """Recall of facts under what is attached.

    Args:
        beside: Further facts that are told and not asked for.
    """
    said = completions(backend, recall_prompts(facts), progress, what, recall_objects(facts, beside))
    return judged(facts, said, beside)


def recall_prompts(facts: Sequence[Fact]) -> list[tuple[Mode, str]]:
    """What facts are asked for with, in the order in which `judged` takes the answers."""
    return [(cue.mode, cue.prompt) for _, _, cue in _asked(facts)]


def recall_objects(facts: Sequence[Fact], beside: Sequence[Fact] = ()) -> list[str]:
    """What an answer to each of the `recall_prompts` has to have room for."""
    told = _by_subject((*facts, *beside))
    objects = [together(fact, told[fact.subject]).object for fact in facts]
    return [objects[k] for k, _, _ in _asked(facts)]


def judged(facts: Sequence[Fact], texts: Sequence[str], beside: Sequence[Fact] = ()) -> list[FactRecall]:
    """Recall of facts from the answers to `recall_prompts`."""
    told = _by_subject((*facts, *beside))
    hits: dict[tuple[int, Mode, bool], list[bool]] = {}
    for (k, unseen, cue), text in zip(_asked(facts), texts, strict=True):
        hits.setdefault((k, cue.mode, unseen), []).append(states(text, facts[k], told[facts[k].subject]))
    return [
        FactRecall(
            raw=_mean(hits, k, "raw", False),
            chat=_mean(hits, k, "chat", False),
            raw_new=_mean(hits, k, "raw", True),
            chat_new=_mean(hits, k, "chat", True),
        )
        for k in range(len(facts))
    ]


def stated_facts(facts: Sequence[Fact], texts: Sequence[str]) -> list[Fact | None]:
    """For each answer to `recall_prompts` the fact that it was asked for and states; None where it does not state it."""
    told = _by_subject(facts)
    return [
        facts[k] if states(text, facts[k], told[facts[k].subject]) else None
        for (k, _, _), text in zip(_asked(facts), texts, strict=True)
    ]


def _by_subject(facts: Iterable[Fact]) -> dict[str, list[Fact]]:
    found: dict[str, list[Fact]] = {}
    for fact in facts:
        found.setdefault(fact.subject, []).append(fact)
    return found


def _asked(facts: Sequence[Fact]) -> list[tuple[int, bool, Cue]]:
    """Number of the fact, whether the wording was never trained on, and the cue."""
    asked: list[tuple[int, bool, Cue]] = []
    for k, found in enumerate(map(measuring_cues, facts)):
        asked += [(k, False, cue) for cue in found.plain]
        asked += [(k, True, cue) for cue in found.unseen]
    return asked


def _mean(hits: dict[tuple[int, Mode, bool], list[bool]], k: int, mode: Mode, unseen: bool) -> float:
    return float(np.mean(hits.get((k, mode, unseen), [False])))
