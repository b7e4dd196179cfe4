"""What a sentence would state, if it stated one fact plainly: see `sentence`.

The forms, in the order in which they are tried; R is a relation of the bank, except in the last two:

    X's R is O.   The R of X is O.   X PHRASE O.   O is the R of X.   O is X's R.
    X's … is O.   The … of X is O.
"""

import re
from functools import cache
from itertools import pairwise

from memctl.editing.relations import bank, recognise
from memctl.facts import Fact, make_fact
from memctl.first_person import canonical_subject, said_by_user


def any_of(*lines: str) -> frozenset[str]:
    """The words of lines."""
    return frozenset(" ".join(lines).split())


_OWNS = r"(?:['’]s|(?<=s)['’])"
_STILL = r"(?: (?:now|currently|still|really|actually))?"
_IS = rf"(?P<verb>(?:is|are|was|were){_STILL}(?: (?:called|named))?)"
_POSSESSIVE = re.compile(rf"(?P<subject>.+){_OWNS} (?P<relation>.+?) {_IS} (?P<object>.+)")
_OF = re.compile(rf"[Tt]he (?P<relation>.+?) of (?P<subject>.+?) {_IS} (?P<object>.+)")
_LONG_OF = re.compile(rf"[Tt]he (?P<relation>.+) of (?P<subject>.+?) {_IS} (?P<object>.+)")
"""The same for "date of birth"."""

_INVERSE = (
    re.compile(rf"(?P<object>.+?) (?:is|was){_STILL} the (?P<relation>.+) of (?P<subject>.+)"),
    re.compile(rf"(?P<object>.+?) (?:is|was){_STILL} the (?P<relation>.+?) of (?P<subject>.+)"),
    re.compile(rf"(?P<object>.+?) (?:is|was){_STILL} (?P<subject>.+){_OWNS} (?P<relation>.+)"),
)
_KINDS = any_of("university college school city town village state island kingdom republic province")
"""The city of Oslo is Oslo, and no city that Oslo has."""

AUXILIARY = any_of("is are was were has have had been now currently still also really always usually just")
_PAST = any_of("attended came founded got graduated grew learned majored married moved settled spent studied went")
_VERBS = AUXILIARY | _PAST | any_of("can can't cannot doesn't must")
PLURAL_VERBS = any_of("come cost fear live play study work")
PLURALS = any_of(
    "allergies boss dependencies founders friends headquarters hobbies inhabitants interests kids languages maintainers",
    "residents siblings sports years children people men women",
)
"""Nouns that look like verbs, or like no plural."""

_PARTICIPLES = any_of(
    "afraid allergic born built citizen collector due famous fluent kept known led living made originally property",
    "studying working written",
)
"""These, and words in "ed": a verb stands before them, or is left out ("Ana Lund born in Oslo")."""

PREPOSITIONS = any_of("in at as on by with from for about near without under over around behind beside between into")
_NO_OBJECT = any_of("in at as for to of on by with from a an the")
TIMED = any_of("color deadline meets_on opens_at released_in")
TASTES = any_of("afraid_of dislikes hobby known_for likes")
"""The objects of these may be "on Monday", and "to sail in May"."""

DOUBTS = any_of(
    "if unless until till because although though whereas whenever when while since not never says said according",
    "probably possibly perhaps maybe apparently allegedly supposedly yesterday tomorrow ago anymore",
)
"""Within an object or a name, in lower case; at the beginning of an object "when it rains" may be one."""
CLAUSE = DOUBTS | any_of(
    "that who whom whose which what where how why say think thinks thought believe believes claims told tells heard hears",
    "knows wants hopes wishes doubts suspects insists wonders assumes makes lets is are was were be been being has have had",
    "but so my mine your our his her their",
)
_BEFORE_NOUNS = any_of("the a an his her their its")
PARTICLES = any_of(
    "of the and a an de da del della der den di du la le van von zu bin ibn al el y e und for in on at to by with from or",
    "into as upon do dos das des les et og och am auf ob ter ten te",
)


def reading(sentence: str) -> Fact | None:
    return _known(sentence) or _phrase(sentence) or _known_inverse(sentence) or _unknown(sentence)


def _known(sentence: str) -> Fact | None:
    for form in (_POSSESSIVE, _LONG_OF, _OF):
        match = form.fullmatch(sentence)
        if match and recognise(match["relation"]) and _is_whole(match) and _is_owned_plainly(match):
            return _straight(match)
    return None


def _unknown(sentence: str) -> Fact | None:
    match = _POSSESSIVE.fullmatch(sentence) or _OF.fullmatch(sentence)
    if match is None or not _is_whole(match) or not _is_noun(match["relation"]) or not _is_owned_plainly(match):
        return None
    if match.re is _OF and re.match(r"(?!the |my |a ).* of ", match["subject"], re.I):
        return None  # "the head of state of Norway"
    return _straight(match)


def _is_whole(match: re.Match[str]) -> bool:
    """No if the verb goes on: in "is located in Norway" the object is not "located in Norway"."""
    words = match.string[match.start("verb") :].split()
    told = len(match["verb"].split())
    return not any(" ".join(words[:end]) in phrases() for end in range(told + 1, len(words)))


def _is_owned_plainly(match: re.Match[str]) -> bool:
    """Whether "of" stands before the owner, as in no Color of Magic, and none is within: "the boss of Ana's sister"."""
    if match.re is _POSSESSIVE:
        within = re.match(r"[Tt]he ([a-z ]+) of ", match["subject"])
        return within is None or within[1] in _KINDS
    words = match["relation"].split()
    return not any(word.istitle() for word in words) and match["relation"] not in _KINDS


def _is_noun(relation: str) -> bool:
    """Whether an unknown relation can be what somebody has: no "sister Bo", no "from Oslo", no "dog saw a"."""
    words = relation.split()
    named = words[-1].istitle() and any(word.islower() for word in words)
    begins = words[0] in PARTICLES or any(one not in PARTICLES and word in ("a", "an", "the") for one, word in pairwise(words))
    return not named and not begins and (CLAUSE | {"and"}).isdisjoint(words)


def _straight(match: re.Match[str]) -> Fact:
    """The object comes last, so that what precedes it is a prompt."""
    prompt = match.string[: match.start("object")]
    return make_fact(match["subject"], match["relation"], match["object"], prompt=prompt)


def _known_inverse(sentence: str) -> Fact | None:
    for form in _INVERSE:
        match = form.fullmatch(sentence)
        if match and recognise(match["relation"]):
            subject, relation = match["subject"], match["relation"]
            return make_fact(subject, relation, match["object"], prompt=f"The {relation} of {subject} is")
    return None


def _phrase(sentence: str) -> Fact | None:
    """Subject, a phrase of the bank in lower case, object: the first phrase decides, at its longest."""
    words = sentence.split(" ")
    mine = words[0] in ("My", "my")
    for start in range(1 + mine, len(words) - 1):
        for end in range(min(len(words) - 1, start + _longest()), start, -1):
            phrase = " ".join(words[start:end]).replace("’", "'")
            if phrase not in phrases() or not _is_predicate(words[:start], phrase, words[end]):
                continue
            while start > 1 and words[start - 1] in AUXILIARY:
                start -= 1
            if _goes_on(phrase, words[end:]):
                return None
            return _told(" ".join(words[:start]), " ".join(words[start:end]), " ".join(words[end:]))
    return None


@cache
def phrases() -> frozenset[str]:
    """All but "lives", which goes with "alone" and "with Ana"."""
    return frozenset(phrase for relation in bank().values() for phrase in relation.match if phrase != "lives")


@cache
def _longest() -> int:
    return max(len(phrase.split()) for phrase in phrases())


def _told(subject: str, relation: str, object: str) -> Fact:
    """The place may be told too, and is asked for in the words "was born in": of a time the prompt is the bank's."""
    named, meant = recognise(relation), recognise(relation, object=object)
    if named is None or meant is None or meant.id not in (named.year, named.date):
        return make_fact(subject, relation, object)
    return make_fact(subject, relation, object, prompt=said_by_user(canonical_subject(subject), meant.raw[0]))


def _is_predicate(before: list[str], phrase: str, behind: str) -> bool:
    """Whether a phrase can be the sentence's verb: in "my new boss is called" that is "is called".

    A noun is one only behind a name, as in "Vexley Quill headquarters in": of one word nobody knows whether it is one.
    """
    first, last = phrase.split()[0], before[-1]
    if last.casefold() in _BEFORE_NOUNS or owns(last) or behind in ("is", "are", "was", "were"):
        return False
    if is_verb(first) or first in PLURAL_VERBS or is_participle(first):
        return True
    if last in ("is", "are"):
        return phrase == "best friends with"
    return len(before) > 1 and before[0] not in ("The", "A", "An", "My") and not any(word.islower() for word in before)


def is_verb(word: str) -> bool:
    return word in _VERBS or (word.endswith("s") and not word.endswith("'s") and word not in PLURALS)


def is_participle(word: str) -> bool:
    return word in _PARTICIPLES or (word.endswith("ed") and word != "preferred")


def owns(word: str) -> bool:
    return word.endswith(("'s", "’s", "s'", "s’"))


def _goes_on(phrase: str, object: list[str]) -> bool:
    """Whether what follows is no object: the verb goes on as in "plays in a band", or a preposition is left alone."""
    first = object[0].casefold()
    if (len(object) == 1 and first in _NO_OBJECT) or first in ("and", "but", "of", "who", "which"):
        return True
    relation = recognise(phrase)
    if relation is None or relation.id in TIMED or phrase.split()[-1] in PREPOSITIONS | {"to"}:
        return False
    return first in PREPOSITIONS or (first == "to" and relation.id not in TASTES)
