"""Pruning gives up only what no effort mends, and only the excess: no round of it can call for the next."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from sleep_examples import FACTS, SETTINGS, ScriptedEngine
from test_sleep import IDS, slept

from memctl.evaluation.recall import FactRecall
from memctl.facts import LedgerEntry, make_fact
from memctl.settings import SleepSettings
from memctl.sleep.pruning import is_worn, pruned
from memctl.store.records import Ledger
from memctl.store.store import Store

LEVELS = st.sampled_from([0.0, 0.5, 1.0])


@given(st.lists(st.tuples(LEVELS, LEVELS, st.integers(0, 3), st.sampled_from([1.0, 0.5])), max_size=12), st.integers(1, 12))
def test_what_is_given_up(drawn: list[tuple[float, float, int, float]], capacity: int) -> None:
    settings = SleepSettings(capacity=capacity)
    entries, asked = {}, {}
    for k, (raw, chat, effort, scale) in enumerate(drawn):
        fact = make_fact(f"Person {k}", "lives in", "Oslo")
        stage = 0 if scale == 1.0 else 1
        entries[fact.id] = LedgerEntry(fact.id, fact, effort=effort, scale=scale, stage=stage)
        asked[fact.id] = FactRecall(raw, chat, raw, chat)
    gone = pruned(Ledger(entries), asked, settings)
    assert len(gone) <= max(0, len(entries) - capacity)
    for id in gone:
        assert is_worn(asked[id], settings.threshold)
        assert (entries[id].effort >= settings.efforts, entries[id].scale) == (True, 1.0)
    recalled = [asked[id].raw + asked[id].chat for id in gone]
    kept = [
        asked[id].raw + asked[id].chat
        for id, entry in entries.items()
        if id not in gone and entry.effort >= settings.efforts and entry.scale == 1.0
    ]
    assert not gone or not kept or max(recalled) <= min(kept)
    left = {id: entry for id, entry in entries.items() if id not in gone}
    if len(gone) == len(entries) - capacity:
        assert pruned(Ledger(left), asked, settings) == ()


def test_ten_more_sleeps_over_the_capacity_do_no_harm(store: Store, engine: ScriptedEngine) -> None:
    settings = msgspec.structs.replace(SETTINGS, sleep=msgspec.structs.replace(SETTINGS.sleep, capacity=1, efforts=1))
    engine.script.uncarried = set(IDS)
    engine.script.needs = dict.fromkeys(IDS, 0.6)
    engine.script.wanting = {"Ben Lund": 9}
    for _ in range(3):
        slept(store, engine, settings)
    entries = store.ledger().entries
    assert [entries[id].state for id in IDS] == ["active", "active", "forgotten", "active"]
    head = store.head()
    for _ in range(10):
        slept(store, engine, settings)
    assert store.head() == head
    assert all(entry.recalls[-1].recall.chat == 1.0 for entry in store.ledger().active())
    assert len(head.deltas) == 2 > settings.sleep.capacity
    assert FACTS[2].subject not in {ref.subject for ref in head.deltas}


def test_efforts_in_vain_count_as_efforts() -> None:
    settings = SleepSettings(capacity=1, efforts=2)
    facts = [make_fact(name, "lives in", "Oslo") for name in ("Ana Lund", "Ben Lund")]
    asked = {fact.id: FactRecall(0.0, 0.0, 0.0, 0.0) for fact in facts}
    for effort, tried, gone in ((2, 0, 1), (0, 2, 1), (1, 2, 1), (0, 1, 0)):
        ledger = Ledger({fact.id: LedgerEntry(fact.id, fact, effort=effort, tried=tried) for fact in facts})
        assert len(pruned(ledger, asked, settings)) == gone
