"""A fact from a sentence, by rule: what it cannot read with certainty it refuses, with an example.

`sentence_forms` reads what has the form of a statement, and `sentence_doubts` says what speaks against it.
"""

import re

from memctl.errors import UsageError
from memctl.facts import MAX_OBJECT, MAX_RELATION, MAX_SUBJECT, Fact, canonical
from memctl.wake.sentence_doubts import ABBREVIATION, is_cut_off, is_doubtful, is_unclear, is_unnamed, states_several
from memctl.wake.sentence_forms import reading

LONGEST = MAX_SUBJECT + MAX_RELATION + MAX_OBJECT
"""Characters that a sentence has at most; the time that its forms take grows faster than it does."""

EXAMPLE = 'such as "Priya Okonkwo lives in Jakarta.", or give --subject, --relation and --object'

_LEAD = re.compile(r"(?:(?:please )?(?:remember|note)(?: that|:)|please (?:remember|note)|actually,?|by the way,) ", re.I)
"""It may stand before a statement, and adds nothing to it."""


def parse_sentence(text: str) -> Fact:
    """The fact that a sentence states.

    Where the sentence's own words before the object are not `"{subject} {relation}"`, they become its prompt.

    Raises:
        UsageError: The sentence is too long, has another form, names no subject, asks, or may say more or less than one fact.
    """
    if len(text) > LONGEST:
        raise UsageError(f"a text of {len(text):,} characters is no fact", f"a sentence has {LONGEST} at most, {EXAMPLE}")
    sentence = _without_lead(_without_end(canonical(text)))
    if sentence.endswith("?"):
        raise UsageError(f"{text!r} is a question", f'memctl ask "{canonical(text)}"')
    fact = reading(sentence)
    if is_unnamed(sentence, fact):
        hint = f'name the subject, or what of yours it is ("My dog is called Biscuit."), {EXAMPLE}'
        raise UsageError(f"{text!r} does not say by name who is meant", hint)
    if fact is None or is_cut_off(fact.object):
        raise UsageError(f"no fact was recognised in {text!r}", f"state one plainly, {EXAMPLE}")
    if is_doubtful(sentence, fact):
        hint = f"state plainly what is so, {EXAMPLE}; memctl forget takes back what no longer is"
        raise UsageError(f"{text!r} denies or doubts something, or says it of another time", hint)
    if states_several(sentence, fact):
        raise UsageError(f"{text!r} seems to state several facts", f"state each in a sentence of its own, {EXAMPLE}")
    if is_unclear(sentence, fact):
        raise UsageError(f"{text!r} does not begin plainly with what it is about", f"begin with its name, {EXAMPLE}")
    return fact


def _without_end(sentence: str) -> str:
    """The sentence without its last full stop, which an abbreviation ("9 a.m.") keeps."""
    last = sentence.rpartition(" ")[2]
    return sentence if ABBREVIATION.fullmatch(last) else sentence.rstrip(".! ")


def _without_lead(sentence: str) -> str:
    while lead := _LEAD.match(sentence):
        sentence = sentence[lead.end() :]
        if sentence.startswith(("my ", "the ")):
            sentence = sentence[0].upper() + sentence[1:]
    return sentence
