"""Invented people with invented facts, for measurements: the base model cannot know them."""

from collections.abc import Sequence

from memctl.editing.relations import bank
from memctl.editing.subjects import names, seeded
from memctl.errors import UsageError
from memctl.facts import Fact, make_fact

SIX = ("lives_in", "works_as", "favorite_color", "plays_instrument", "pet_kind", "speaks")
"""Six relations that any person can have."""

PROMPTS = {
    "lives_in": "{s} lives in",
    "works_as": "{s} works as a",
    "favorite_color": "{s}'s favorite color is",
    "plays_instrument": "{s} plays the",
    "pet_kind": "{s} has a pet",
    "speaks": "{s} speaks",
}
"""What a user would begin to type; for other relations the first phrase of the bank."""


def people(count: int, seed: int, *, sharing: int = 7) -> tuple[str, ...]:
    """Distinct invented people; each surname has `sharing` of them, who follow each other.

    The first n of many are the n of few, so that a part of them is as full of look-alikes as the whole.

    Raises:
        UsageError: There are not so many names.
    """
    pool = names()
    if not 1 <= sharing <= len(pool.first) or count > sharing * len(pool.last):
        raise UsageError(
            f"{count} people with {sharing} of each surname cannot be invented",
            f"there are {len(pool.last)} surnames and {len(pool.first)} first names",
        )
    found = []
    for k, last in enumerate(seeded("surnames", seed).permutation(pool.last)[: -(-count // sharing)]):
        first = seeded("first names", seed, k).permutation(pool.first)[:sharing]
        found += [f"{name} {last}" for name in first]
    return tuple(found[:count])


def invented_facts(count: int, seed: int, *, relations: Sequence[str] = SIX, sharing: int = 7) -> tuple[Fact, ...]:
    """One fact on each of `count` invented people, over the relations in turn; the first n of many are the n of few."""
    random = seeded("facts", seed)
    found = []
    for k, name in enumerate(people(count, seed, sharing=sharing)):
        relation = bank()[relations[k % len(relations)]]
        prompt = PROMPTS.get(relation.id, f"{{s}} {relation.match[0]}").replace("{s}", name)
        found.append(make_fact(name, relation.match[0], str(random.choice(relation.objects)), prompt=prompt))
    return tuple(found)


def strangers(count: int, seed: int, stored: Sequence[str]) -> tuple[str, ...]:
    """Unseen people: a third share a stored surname, a third a stored first name, the others nothing."""
    random = seeded("strangers", seed)
    pool = names()
    found: dict[str, None] = {}
    while len(found) < count:
        own = str(random.choice(stored)).split()
        first, last = str(random.choice(pool.first)), str(random.choice(pool.last))
        kind = len(found) % 3
        name = (f"{first} {own[-1]}", f"{own[0]} {last}", f"{first} {last}")[kind]
        if name not in stored:
            found[name] = None
    return tuple(found)
