"""Where a subject ends in a text, names that look like it, and the contexts that say nothing about it."""

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files

import msgspec
import numpy as np

from memctl.backends.protocol import Backend, Encoding, Tokens
from memctl.facts import Mode, spans
from memctl.first_person import canonical_subject, is_owned, mentions_of, said_by_model, said_by_user, thing_of

OWNERS = ("the", "her", "his", "a", "our", "their", "this", "my friend's", "my brother's", "my neighbour's", "another")
THINGS = "dog cat horse sister brother mother father wife husband boss neighbour friend uncle daughter son teacher "
THINGS += "house garden car bicycle boat laptop phone company project school team street office bag garage book"
"""Whose a thing can be that is not the user's, and what else of the user's there can be."""


PREFIXED = 10
"""A subject of one word is told from so many times fewer names that end in it than one of several words."""


class Names(msgspec.Struct, frozen=True):
    """Names to invent subjects from. Keys of `other`: places, products, projects, organisations."""

    first: tuple[str, ...]
    last: tuple[str, ...]
    other: dict[str, tuple[str, ...]]


class Contexts(msgspec.Struct, frozen=True):
    """Texts around a subject (`{s}`) that know no relation, and openings without any subject."""

    raw: tuple[str, ...]
    chat: tuple[str, ...]
    generic_prompts: tuple[str, ...]


@cache
def names() -> Names:
    """The names that ship with the package."""
    return msgspec.json.decode((files("memctl.data") / "names.json").read_bytes(), type=Names)


@cache
def contexts() -> Contexts:
    """The contexts that ship with the package."""
    return msgspec.json.decode((files("memctl.data") / "contexts.json").read_bytes(), type=Contexts)


def seeded(*parts: object) -> np.random.Generator:
    """Randomness that depends on what it is for, never on its place in a batch."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16])))


def mentions(encoding: Encoding, subject: str) -> tuple[range, ...]:
    """Positions of the tokens of each mention of the subject, in any of its forms, whole words only; none in what stands
    before the prompt."""
    said = sorted(span for form in mentions_of(subject) for span in spans(encoding.text, form))
    found = [(start, end) for start, end in said if start >= encoding.begins]
    return tuple(
        range(_token_at(encoding, start, last=False), _token_at(encoding, end - 1, last=True) + 1) for start, end in found
    )


def last_tokens(encoding: Encoding, subject: str) -> tuple[int, ...]:
    """Positions of the last token of each mention of the subject."""
    return tuple(mention[-1] for mention in mentions(encoding, subject))


def told_apart(places: Sequence[range]) -> tuple[range, ...]:
    """Mentions without one that ends at the first token of all: with nothing before it, a token looks like every other one
    there, and no unit can tell it. Where a text begins with a token of its own, as most models have it, that is none."""
    return tuple(mention for mention in places if mention[-1] > 0)


def sites(encoding: Encoding, subject: str) -> tuple[int, ...]:
    """Positions where a memory of the subject can act: the last tokens of those mentions that can be told apart."""
    return tuple(mention[-1] for mention in told_apart(mentions(encoding, subject)))


def _token_at(encoding: Encoding, character: int, *, last: bool) -> int:
    """The last or first of the tokens that cover a character: one letter can be split over several."""
    covering = [k for k, (start, end) in enumerate(encoding.offsets) if start <= character < end]
    return covering[-1 if last else 0]


def in_contexts(
    backend: Backend, subjects: Sequence[str], templates: Sequence[tuple[Mode, str]]
) -> Iterator[tuple[Tokens, tuple[range, ...]]]:
    """Each subject in each context: the sequence, and the tokens of its mentions.

    In chat there are two mentions: the question's, and one at the start of the answer, where a model is likely to repeat it.
    """
    for subject in subjects:
        for mode, template in templates:
            answer = said_by_model(subject, "{s} ").rstrip() if mode == "chat" else None
            encoding = backend.encode(said_by_user(subject, template), mode, answer)
            yield encoding.tokens, mentions(encoding, subject)


def look_alikes(subject: str, same_last: int, same_first: int) -> tuple[str, ...]:
    """Invented names that share the subject's last word, and its first.

    Which names are drawn depends on the subject alone. A subject of one word is told from words that begin or end like it, and
    from a few names that end in it: from many it could not be told without falling silent behind other words too. What is the
    user's is told from the same thing of others, and from other things of the user's.
    """
    random = seeded("look-alikes", subject)
    if is_owned(subject):
        thing, pool = thing_of(subject), names()
        owners = [*OWNERS, *(f"{name}'s" for name in random.permutation(pool.first))]
        things = [canonical_subject(f"my {other}") for other in random.permutation(THINGS.split()) if other != thing]
        return (*(f"{owner} {thing}" for owner in owners[:same_last]), *things[:same_first])
    words = subject.split()
    pool = names()
    first = [str(name) for name in random.permutation(pool.first)]
    last = [str(name) for name in random.permutation(pool.last)]
    if len(words) == 1:
        found = [f"{name} {subject}" for name in first[: -(-same_last // PREFIXED)]]
        found += [_blended(subject, name, k % 2 == 0) for k, name in enumerate(last[:same_first])]
        return tuple(name for name in dict.fromkeys(found) if name != subject)
    heads = [f"{name} {words[-1]}" for name in first if name != words[0]]
    tails = [f"{words[0]} {name}" for name in last if name != words[-1]]
    found = [*heads[:same_last], *tails[:same_first]]
    if len(words) > 2:
        # a longer name is told from those that differ in one word only
        middle = [" ".join([*words[:-1], name]) for name in last[same_first:]]
        found[: same_last // 2] = [" ".join([name, *words[1:]]) for name in first[: same_last // 2]]
        found[same_last : same_last + same_first // 2] = middle[: same_first // 2]
    return tuple(name for name in dict.fromkeys(found) if name != subject)


def _blended(word: str, other: str, ends: bool) -> str:
    """A word that begins, or ends, like the first of two, and otherwise like the second."""
    half, half_other = (len(word) + 1) // 2, (len(other) + 1) // 2
    return other[:half_other] + word[half:] if ends else word[:half] + other[half_other:]


def invented(count: int, *seed: object) -> tuple[str, ...]:
    """Distinct invented people."""
    random = seeded("invented", *seed)
    pool = names()
    found: dict[str, None] = {}
    while len(found) < count:
        found[f"{random.choice(pool.first)} {random.choice(pool.last)}"] = None
    return tuple(found)
