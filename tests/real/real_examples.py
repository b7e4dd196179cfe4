"""Twelve invented facts, and how the tests write them."""

from memctl.backends.protocol import Backend
from memctl.evaluation.recall import FactRecall
from memctl.facts import Fact, Provenance, make_fact
from memctl.progress import silent
from memctl.settings import Settings
from memctl.store.store import Store
from memctl.wake.fact_record import Told
from memctl.wake.inject import inject

TWELVE = (
    make_fact("Ottoline Varga", "lives in", "Montevideo"),
    make_fact("Bram Adeyemi", "lives in", "Reykjavik"),
    make_fact("Solveig Marchetti", "works as a", "locksmith"),
    make_fact("Desmond Varga", "works as a", "wedding photographer"),
    make_fact("Yusra Lindqvist", "favorite color is", "purple"),
    make_fact("Caspian Holloway", "favorite color is", "silver"),
    make_fact("Mireille Tanaka", "plays the", "harp"),
    make_fact("Ruben Oyelaran", "plays the", "trumpet"),
    make_fact("Tamsin Petrov", "has a pet", "hedgehog"),
    make_fact("Leopold Achterberg", "has a pet", "goldfish"),
    make_fact("Nkechi Fairbairn", "speaks", "Portuguese"),
    make_fact("Anders Quispe", "speaks", "Brazilian Sign Language"),
)
"""Twelve facts about invented people: six relations, two with one surname, two objects of several tokens."""


def told(*facts: Fact) -> list[Told]:
    return [Told(fact, Provenance(source="test")) for fact in facts]


def write(store: Store, backend: Backend, settings: Settings, *facts: Fact) -> list[FactRecall]:
    report = inject(store, backend, settings, told(*facts), wait=0, force=False, dry_run=False, progress=silent)
    assert [outcome.status for outcome in report.outcomes] == ["written"] * len(facts), report.outcomes
    return [outcome.after for outcome in report.outcomes if outcome.after]
