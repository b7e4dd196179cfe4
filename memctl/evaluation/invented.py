"""Invented facts, on invented people and on what is the user's, for measurements: the base model cannot know them."""

from collections.abc import Sequence

from memctl.editing.relations import bank
from memctl.editing.subjects import names, seeded
from memctl.errors import UsageError
from memctl.facts import Fact, make_fact
from memctl.first_person import canonical_subject, said_by_user, thing_of

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

DRAWS = 100
"""A stranger is drawn so often at most, on average: most draws of a name that is hardly left are of people drawn before."""


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


def facts_on_each(count: int, seed: int, each: int, *, sharing: int = 7) -> tuple[Fact, ...]:
    """`count` facts, `each` on an invented person, who follow each other; the first n of many are the n of few.

    Raises:
        UsageError: There are not so many relations that people have, or not so many names.
    """
    relations = [relation for relation in bank().values() if "person" in relation.about]
    if not 1 <= each <= len(relations):
        raise UsageError(f"{each} facts on each person cannot be invented", f"people have {len(relations)} relations")
    random = seeded("facts on each", seed, each)
    found = []
    for name in people(-(-count // each), seed, sharing=sharing):
        for relation in (relations[k] for k in random.permutation(len(relations))[:each]):
            prompt = said_by_user(name, relation.raw[0])
            found.append(make_fact(name, relation.match[0], str(random.choice(relation.objects)), prompt=prompt))
    return tuple(found[:count])


def strangers(count: int, seed: int, stored: Sequence[str]) -> tuple[str, ...]:
    """Unseen people: a third share a stored surname, a third a stored first name, the others nothing.

    Raises:
        UsageError: There are not so many names.
    """
    random = seeded("strangers", seed)
    pool = names()
    found: dict[str, None] = {}
    for _ in range(DRAWS * count):
        if len(found) == count:
            break
        own = str(random.choice(stored)).split()
        first, last = str(random.choice(pool.first)), str(random.choice(pool.last))
        kind = len(found) % 3
        name = (f"{first} {own[-1]}", f"{own[0]} {last}", f"{first} {last}")[kind]
        if name not in stored:
            found[name] = None
    if len(found) < count:
        hint = f"a third share a stored surname, and there are {len(pool.first)} first names; a third the other way round"
        raise UsageError(f"{count} strangers beside {len(stored)} people cannot be invented", hint)
    return tuple(found)


OWNED = (
    ("dog", "name"),
    ("sister", "works_as"),
    ("car", "color"),
    ("brother", "lives_in"),
    ("boss", "favorite_drink"),
    ("mother", "plays_instrument"),
    ("cat", "name"),
    ("grandfather", "born_in"),
    ("company", "headquartered_in"),
    ("daughter", "studied_subject"),
    ("neighbour", "drives"),
    ("boat", "costs"),
    ("uncle", "speaks"),
    ("project", "deadline"),
    ("wife", "favorite_book"),
    ("bicycle", "made_of"),
    ("aunt", "hobby"),
    ("cousin", "allergic_to"),
    ("bank", "opens_at"),
    ("team", "meets_on"),
)
"""What is the user's, and a relation that it can have."""


def facts_of_user(count: int, seed: int) -> tuple[Fact, ...]:
    """Facts about what is the user's, told in their words; the first n of many are the n of few.

    Raises:
        UsageError: There are not so many.
    """
    if not 1 <= count <= len(OWNED):
        raise UsageError(f"{count} things of the user's cannot be invented", f"there are {len(OWNED)}")
    random = seeded("things of the user's", seed)
    found = []
    for thing, key in (OWNED[k] for k in random.permutation(len(OWNED))[:count]):
        relation, subject = bank()[key], canonical_subject(f"my {thing}")
        prompt = said_by_user(subject, relation.raw[0])  # the bank has the verb's form
        found.append(make_fact(subject, relation.match[0], str(random.choice(relation.objects)), prompt=prompt))
    return tuple(found)


def things_of_others(facts: Sequence[Fact], seed: int, count: int) -> tuple[tuple[Fact, str], ...]:
    """What to ask about instead of the user's: "Ms Kapoor's dog"; with each its fact."""
    random = seeded("things of others", seed)
    found = []
    for k in range(count):
        fact, last = facts[k % len(facts)], str(random.choice(names().last))
        found.append((fact, f"Ms {last}'s {thing_of(fact.subject)}"))
    return tuple(found)
