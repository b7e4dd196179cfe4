"""What speaks against a sentence that has the form of a fact: it doubts, says several things, names nobody: see `sentence`."""

import re
from collections.abc import Iterator
from itertools import pairwise

from memctl.editing.relations import is_date, recognise
from memctl.errors import UsageError
from memctl.facts import Fact
from memctl.first_person import is_owned
from memctl.wake.sentence_forms import (
    AUXILIARY,
    CLAUSE,
    DOUBTS,
    PARTICLES,
    PLURAL_VERBS,
    PLURALS,
    PREPOSITIONS,
    TASTES,
    TIMED,
    any_of,
    is_participle,
    is_verb,
    owns,
    phrases,
    reading,
)

_COPULAS = any_of("is are was were has had does did")

_MADE = any_of(
    "born built coded created educated established founded launched made manufactured named nicknamed produced published",
    "raised released started written",
)
_LASTING = any_of("author born_in birthday birth_year founded_by founded_in grew_up_in released_in")
_EARLIER = any_of("first former maiden original previous childhood old late")
"""What was made so is so; a first car and a former boss are of the past, and contradict no present one."""


_DENIED = any_of(
    "not never no probably possibly perhaps maybe likely hardly barely also only either neither that",
    "yesterday today tomorrow",
)
"""In lower case, before an object or around a subject, these deny the fact, make it a guess, or one of several."""

_NOT_SO = _DENIED | any_of(
    "longer used to once formerly previously do does did can shall seldom ever often might may must could would should will"
)
"""Around a subject these do so too, or say it of another time; "Ana May" has a surname, and an object may be "to sail"."""

_DOUBTED = re.compile(r".\bI [a-z]| (?:last|next) (?:week|month|year|spring|summer|autumn|fall|winter)\b")
"""As in "Oslo, I think" and "Paris last year"."""

_NO_STATEMENT = any_of(
    "if when unless whether perhaps maybe do does did is are was were has have could would should",
    "where what who which how why",
)
"""A sentence that begins so asks, or states under a condition."""


_NOBODY = any_of("i my we our he she it they his her their its you your this every each most")
_ANY = any_of(
    "nobody everybody everyone somebody someone anybody anyone none nothing everything something that these those there",
    "here people a an all some many few several any one two three four five no another",
)
"""Where no capital letter follows, this begins no name; "A Star Is Born" does."""

_PRONOUNS = any_of("he she it they we you which who")
_ENDS = (
    _NOT_SO
    | AUXILIARY
    | any_of(
        "of about on in at for from with by like than after before without and or all both even too already soon then twice",
        "again almost sometimes somehow rather quite indeed · - – — = →",
    )
)
_ADVERB = re.compile(r"(?!family|assembly|jelly|fly|butterfly|lily|supply|reply|ally|anomaly|belly|bully|rally)[a-z]+ly")
"""No name holds the former or ends in the latter two."""

_OPENERS = any_of(
    "in on at since after before during until from for last next today yesterday tomorrow now then once currently recently",
    "formerly previously apparently allegedly supposedly reportedly hopefully probably possibly originally usually sometimes",
    "often yes ok okay well hey hi hello so and but also because although though while as according please remember note",
    "forget suppose imagine assume pretend tell ask guess both",
)
"""Where several words begin so, the name may come behind the first."""

_ASKING = any_of("can will may must might shall let make")


ABBREVIATION = re.compile(r"(?:[^\W\d_]{1,2}\.){2,}")
_SHORT = re.compile(r"(?:[A-Z]|st|dr|mrs?|ms|prof|mt|ft|[js]r|inc|ltd|corp?|co|bros|no|vs|op|vol|ca|gen|lt|rev|rd|ave)\.", re.I)
_NEXT_CLAUSE = re.compile(r"(?:[.,;:!?]| and| but| while| so| then| [-–—]) ")
_APPOSED = re.compile(r"[,;:] (?!(?:[JS]r|Inc|Ltd|LLC|D\.C|Ph\.?D|M\.?D|I[IV]|III)\b)")
_OTHER_VERB = re.compile(r"(?:\b[A-Z\d]\S*|[ap]\.?m\.?),? (?:and|but) [a-z]+[^s\W]s (?!of )")
"""As in "Oslo and sings in a choir", "9 a.m. and closes at 5"."""


def is_cut_off(object: str) -> bool:
    return object in PREPOSITIONS or object.split()[-1] in ("of", "to", "the", "an")


def is_unnamed(sentence: str, fact: Fact | None) -> bool:
    """Whether a sentence is about nobody in particular; "my dog" is the user's, and particular enough."""
    if fact is None:
        return _is_nobody(sentence)
    mine = is_owned(fact.subject) and sentence.startswith(("My ", "my "))
    if fact.subject.casefold() in ("the user", "user") or fact.subject.split()[0].casefold() in _NOBODY:
        return True
    return not mine and _is_nobody(sentence)


def _is_nobody(text: str) -> bool:
    first, _, rest = text.partition(" ")
    word, short, _ = first.casefold().replace("’", "'").partition("'")
    if short and word in ("let", "that", "there", "here", "what", "who"):
        return True
    return word in _NOBODY or (word in _ANY and not rest[:1].isupper())


def is_doubtful(sentence: str, fact: Fact) -> bool:
    subject, object = fact.subject.split(), fact.object.split()
    if sentence.split()[0].casefold() in _NO_STATEMENT or subject[-1].endswith(("n't", "n’t")):
        return True
    if not {"was", "were", "had"}.isdisjoint(sentence.removesuffix(fact.object).split()) and not _lasts(fact.relation):
        return True
    if object[0] in _DENIED or not _NOT_SO.isdisjoint((subject[0], subject[-1])):
        return True
    told = _unquoted(fact.object)
    return not DOUBTS.isdisjoint(_bare(told)[1:]) or _DOUBTED.search(told) is not None


def _lasts(relation: str) -> bool:
    """Whether what was so is so: Ana was born in Oslo, and her maiden name was Bell."""
    known = recognise(relation)
    return (known is not None and known.id in _LASTING) or not (_MADE | _EARLIER).isdisjoint(relation.split())


def states_several(sentence: str, fact: Fact) -> bool:
    subject, object = _unquoted(fact.subject), _unquoted(fact.object)
    if _has_two_sentences(_unquoted(sentence)) or _OTHER_VERB.search(object):
        return True
    if _is_by_phrase(sentence, fact) and (_is_dated(fact) or not _COPULAS.isdisjoint(_bare(object))):
        return True
    return any(_is_statement(clause) for part in (subject, object) for clause in _clauses(part))


def _is_by_phrase(sentence: str, fact: Fact) -> bool:
    return sentence.endswith(f" {fact.relation} {fact.object}")


def _has_two_sentences(sentence: str) -> bool:
    """Whether one ends before the last word."""
    for word, following in pairwise(sentence.split(" ")):
        stop = word.rstrip("\"'”’)")
        if stop.endswith(".") and not _SHORT.fullmatch(stop) and not ABBREVIATION.fullmatch(stop):
            return True
        if stop.endswith(("!", "?")) and following[:1].isupper():
            return True
    return False


def _is_dated(fact: Fact) -> bool:
    """Whether an object has a time behind it, or is one with something behind it: "Oslo in 1990", "1887 by Ana Lund"."""
    relation = recognise(fact.relation)
    parts = re.split(r" (?:in|on|by|at) ", _unquoted(fact.object))
    free = len(parts) == 1 or (relation is not None and relation.id in TIMED | TASTES)
    return not free and any(is_date(part) or re.fullmatch(r"\d{4}", part) for part in parts)


def _clauses(text: str) -> Iterator[str]:
    """The text itself, and what follows each comma and "and", as told of what came before."""
    yield text
    for further in _NEXT_CLAUSE.finditer(text):
        yield f"and {text[further.end() :]}"


def _is_statement(clause: str) -> bool:
    """Whether a clause states something, or goes on to do so: "and works as a baker"."""
    text = clause.removeprefix("and ")
    words = text.split()
    if text != clause and len(words) > 1 and _goes_on_to_state(words):
        return True
    try:
        return reading(text) is not None
    except UsageError:  # a fact, if one that cannot be
        return True


def _goes_on_to_state(words: list[str]) -> bool:
    first = words[0]
    if first in _PRONOUNS or first.endswith(("n't", "n’t")) or not _COPULAS.isdisjoint(words):
        return True
    begins = any(" ".join(words[:end]) in phrases() for end in range(1, len(words)))
    return begins and (is_verb(first) or first in PLURAL_VERBS)


def is_unclear(sentence: str, fact: Fact) -> bool:
    """Whether something else may have got into a name, or into the verb's place."""
    if sentence.endswith(fact.object):
        return _is_no_name(fact.subject) or (_is_by_phrase(sentence, fact) and _lacks_verb(fact))
    return _is_no_name(fact.object) or _is_no_name(fact.subject, within=True)


def _is_no_name(text: str, *, within: bool = False) -> bool:
    """Within a sentence a capital letter at the beginning says that the first word is a name."""
    text = _unquoted(text)
    words = _bare(text)
    first, last = words[0], words[-1]
    if re.search(r'["“”]', text) or _APPOSED.search(text) or not CLAUSE.isdisjoint(words):
        return True
    if last in _ENDS or _ADVERB.fullmatch(last) or (len(words) > 1 and first.casefold() in _OPENERS):
        return True
    if within and first in AUXILIARY:
        return True
    small = [k for k, word in enumerate(words) if word.islower() and word not in PARTICLES]
    large = [k for k, word in enumerate(words) if word[:1].isupper()]
    if within and "and" in words and small and large:
        return True  # "Zubrowka and a nice city"
    plain = first[:1].isupper() and first not in ("The", "A", "An", "My") and not any(map(owns, words))
    before = [k for k in small if 0 < k < max(large, default=0)]
    return bool(before) and (plain or "and" in words)  # "Ana left and Bo", "Ana said Bo"


def _lacks_verb(fact: Fact) -> bool:
    """Whether a phrase stands behind words whose verb it can hardly be: "stopped living in", "night work at"."""
    verb, subject = fact.relation.split()[0], fact.subject.split()
    named = not subject[-1].islower()
    if verb in PLURAL_VERBS:
        asked = len(subject) > 1 and subject[0].casefold() in _ASKING
        return asked or not (named or "and" in subject or subject[-1].endswith("s") or subject[-1] in PLURALS)
    return is_participle(verb) and not is_verb(verb) and not named and len(subject) > 1


def _unquoted(text: str) -> str:
    """The text with one name for each passage in quotes: what stands there is not said, but named."""
    return re.sub(r"\"[^\"]*\"|“[^”]*”", "Xx", text)


def _bare(text: str) -> list[str]:
    """The words without what stands around them."""
    return [word.strip('.,:;!?"“”()') or word for word in text.split()]
