"""A fact from a sentence, by rule: what it cannot read with certainty it refuses, with an example.

The forms, in the order in which they are tried; R is a relation of the bank, except in the last two:

    X's R is O.   The R of X is O.   X PHRASE O.   O is the R of X.   O is X's R.
    X's … is O.   The … of X is O.
"""

import re

from memctl.editing.relations import bank, recognise
from memctl.errors import UsageError
from memctl.facts import Fact, canonical, make_fact

EXAMPLE = 'such as "Priya Okonkwo lives in Jakarta.", or give --subject, --relation and --object'

_IS = r"(?:is called|is named|is|are|was|were)"
_POSSESSIVE = re.compile(rf"(?P<subject>.+)['’]s (?P<relation>.+?) {_IS} (?P<object>.+)")
_OF = re.compile(rf"[Tt]he (?P<relation>.+?) of (?P<subject>.+?) {_IS} (?P<object>.+)")
_INVERSE_OF = re.compile(r"(?P<object>.+?) (?:is|was) the (?P<relation>.+?) of (?P<subject>.+)")
_INVERSE_POSSESSIVE = re.compile(r"(?P<object>.+?) (?:is|was) (?P<subject>.+)['’]s (?P<relation>.+)")

_BEFORE_NOUNS = {"the", "a", "an", "his", "her", "their", "its"}
_AUXILIARY = {"is", "are", "was", "were", "has", "have", "had", "been"}
_AUXILIARY |= {"now", "currently", "still", "also", "really", "always", "usually", "just"}
_PAST = {"cannot", "got", "grew", "spent", "went"}
_NO_OBJECT = {"in", "at", "as", "for", "to", "of", "on", "by", "with", "from", "a", "an", "the"}
_DENIED = {"not", "never", "no", "probably", "possibly", "perhaps", "maybe"}
"""In lower case, before an object or around a subject, these deny the fact or make it a guess."""

_NOT_SO = _DENIED | {"longer", "hardly", "used", "to", "once", "formerly", "previously", "do", "does", "did"}
_NOT_SO |= {"might", "may", "must", "could", "would", "should", "will"}
"""Around a subject these do so too, or say it of another time; "Ana May" has a surname, and an object may be "to sail"."""

_NO_STATEMENT = {"if", "when", "unless", "whether", "perhaps", "maybe", "do", "does", "did", "is", "are", "was", "were"}
_NO_STATEMENT |= {"has", "have", "could", "would", "should", "where", "what", "who", "which", "how", "why"}
"""A sentence that begins so asks, or states under a condition."""

_ABBREVIATION = re.compile(r"(?:[^\W\d_]{1,2}\.){2,}")
_NEXT_CLAUSE = re.compile(r"(?:[,;]| and| but) (?P<clause>.+)")
_NOBODY = {
    "i",
    "my",
    "we",
    "our",
    "he",
    "she",
    "it",
    "they",
    "his",
    "her",
    "their",
    "its",
    "you",
    "your",
    "this",
}


def parse_sentence(text: str) -> Fact:
    """The fact that a sentence states.

    Where the sentence's own words before the object are not `"{subject} {relation}"`, they become its prompt.

    Raises:
        UsageError: The sentence has another form, names no subject, or asks.
    """
    sentence = _without_end(canonical(text))
    if sentence.endswith("?"):
        raise UsageError(f"{text!r} is a question", f'memctl ask "{canonical(text)}"')
    fact = _known(sentence) or _phrase(sentence) or _known_inverse(sentence) or _unknown(sentence)
    named = sentence if fact is None else fact.subject
    if named.split()[:1] and named.split()[0].casefold() in _NOBODY:
        hint = f'name the subject, or what of yours it is ("My dog is called Biscuit."), {EXAMPLE}'
        raise UsageError(f"{text!r} does not say by name who is meant", hint)
    if fact is None:
        raise UsageError(f"no fact was recognised in {text!r}", f"state one plainly, {EXAMPLE}")
    if _is_doubtful(sentence, fact):
        hint = f"state plainly what is so, {EXAMPLE}; memctl forget takes back what no longer is"
        raise UsageError(f"{text!r} denies or doubts something, or says it of another time", hint)
    if _holds_a_clause(fact.object):
        raise UsageError(f"{text!r} seems to state several facts", f"state each in a sentence of its own, {EXAMPLE}")
    return fact


def _is_doubtful(sentence: str, fact: Fact) -> bool:
    subject, object = fact.subject.split(), fact.object.split()
    if sentence.split()[0].casefold() in _NO_STATEMENT or subject[-1].endswith(("n't", "n’t")):
        return True
    return object[0] in _DENIED or not _NOT_SO.isdisjoint((subject[0], subject[-1]))


def _holds_a_clause(object: str) -> bool:
    """Whether an object goes on after a comma or an "and" with a fact of its own."""
    further = _NEXT_CLAUSE.search(object)
    return further is not None and _phrase(further["clause"]) is not None


def _without_end(sentence: str) -> str:
    """The sentence without its last full stop, which an abbreviation ("9 a.m.") keeps."""
    last = sentence.rpartition(" ")[2]
    return sentence if _ABBREVIATION.fullmatch(last) else sentence.rstrip(".! ")


def _known(sentence: str) -> Fact | None:
    for form in (_POSSESSIVE, _OF):
        match = form.fullmatch(sentence)
        if match and recognise(match["relation"]):
            return _straight(match)
    return None


def _unknown(sentence: str) -> Fact | None:
    match = _POSSESSIVE.fullmatch(sentence) or _OF.fullmatch(sentence)
    return _straight(match) if match else None


def _straight(match: re.Match[str]) -> Fact:
    """The object comes last, so that what precedes it is a prompt."""
    prompt = match.string[: match.start("object")]
    return make_fact(match["subject"], match["relation"], match["object"], prompt=prompt)


def _known_inverse(sentence: str) -> Fact | None:
    for form in (_INVERSE_OF, _INVERSE_POSSESSIVE):
        match = form.fullmatch(sentence)
        if match and recognise(match["relation"]):
            subject, relation = match["subject"], match["relation"]
            return make_fact(subject, relation, match["object"], prompt=f"The {relation} of {subject} is")
    return None


def _phrase(sentence: str) -> Fact | None:
    """Subject, a phrase of the bank in lower case, object: the first phrase decides, at its longest."""
    words = sentence.split(" ")
    phrases = {phrase for relation in bank().values() for phrase in relation.match}
    mine = words[0] in ("My", "my")
    for start in range(1 + mine, len(words) - 1):
        owned = mine or any(word.endswith(("'s", "’s")) for word in words[:start])
        if owned and not _is_verb(words[start]):  # "Ana's favorite hobby" is what is told of, and no subject
            continue
        for end in range(len(words) - 1, start, -1):
            if " ".join(words[start:end]).replace("’", "'") in phrases and _is_verbal(words[start - 1]):
                while start > 1 and words[start - 1] in _AUXILIARY:
                    start -= 1
                if words[end].casefold() in _NO_OBJECT and end == len(words) - 1:
                    return None
                return make_fact(" ".join(words[:start]), " ".join(words[start:end]), " ".join(words[end:]))
    return None


def _is_verb(word: str) -> bool:
    """Whether a phrase can begin with it as a verb: "My sister lives" is about a sister, "My favorite color" about the user."""
    return word in _AUXILIARY or word in _PAST or word.endswith(("s", "ed"))


def _is_verbal(word_before: str) -> bool:
    """Whether a phrase after this word can be the sentence's verb; after an article it is a noun."""
    return word_before.casefold() not in _BEFORE_NOUNS and not word_before.endswith(("'s", "’s"))
