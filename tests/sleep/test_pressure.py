"""Pressure comes from the store alone: what is loaded, degraded, waiting and drifting."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from sleep_examples import FACTS, SETTINGS, ScriptedEngine

from memctl.consolidation.stages import with_entries
from memctl.facts import LedgerEntry, Provenance, with_recall
from memctl.progress import silent
from memctl.settings import SleepSettings
from memctl.sleep.nap import nap
from memctl.sleep.pressure import Pressure, pressure
from memctl.store.store import Store

NOW = datetime(2026, 1, 8, tzinfo=UTC)
SLEEPY = SleepSettings(capacity=6, drift_budget=1e9)


def felt(store: Store, slept: str = "", days: float = 0.0, **settings: float) -> Pressure:
    told = Provenance("test", time=(NOW - timedelta(days=days)).isoformat())
    ledger = store.ledger()
    ledger = with_entries(ledger, (msgspec.structs.replace(entry, provenance=told) for entry in ledger.active()))
    return pressure(store.head(), ledger, slept, msgspec.structs.replace(SLEEPY, **settings), NOW)


def parts(found: Pressure) -> dict[str, float]:
    return {part.name: round(part.value, 3) for part in found.parts}


def test_edits_against_the_capacity(store: Store) -> None:
    assert parts(felt(store))["load"] == 0.5
    assert (felt(store).advice, felt(store, capacity=3).advice) == ("nap", "sleep")


def test_waiting_facts_call_for_a_sleep_once_the_interval_is_over(store: Store) -> None:
    calm = {"capacity": 1000}
    assert felt(store, days=1, **calm).advice == ""
    assert felt(store, days=7, **calm).advice == "sleep"
    yesterday = (NOW - timedelta(days=1)).isoformat()
    assert felt(store, slept=yesterday, days=7, **calm).advice == ""
    assert parts(felt(store, slept=yesterday, days=7))["time"] == pytest.approx(1 / 7, abs=1e-3)


def test_what_a_nap_finds_degraded_weighs(store: Store, engine: ScriptedEngine) -> None:
    assert parts(felt(store))["degraded"] == 0.0
    engine.script.needs = {FACTS[2].id: 2.0}  # no edit is that strong
    before = store.head()
    report = nap(store, engine, SETTINGS, wait=0, dry_run=True, progress=silent)
    assert store.head() == before
    report = nap(store, engine, SETTINGS, wait=0, dry_run=False, progress=silent)
    assert {entry.id: recall.raw + recall.chat for entry, recall in report.facts} == {
        fact.id: 0.0 if fact == FACTS[2] else 2.0 for fact in FACTS
    }
    assert parts(felt(store))["degraded"] == 0.25
    after = store.head()
    assert (after.composition, after.weights, after.metrics) == (before.composition, before.weights, before.metrics)


def test_a_nap_asks_for_the_newest_only(store: Store, engine: ScriptedEngine) -> None:
    settings = msgspec.structs.replace(SETTINGS, sleep=SleepSettings(nap=1))
    with store.writer() as writer:
        head, ledger = store.head(), store.ledger()
        late = msgspec.structs.replace(ledger.entries[FACTS[2].id], provenance=Provenance(time="2026-02-01T00:00:00Z"))
        kept = {"deltas": head.deltas, "weights": {}, "metrics": {}, "message": "late"}
        writer.commit(ledger=with_entries(ledger, [late]), **kept)
    report = nap(store, engine, settings, wait=0, dry_run=False, progress=silent)
    assert [entry.id for entry, _ in report.facts] == [FACTS[2].id]


def test_an_empty_memory_has_no_pressure(store: Store) -> None:
    entries = {id: msgspec.structs.replace(entry, state="forgotten") for id, entry in store.ledger().entries.items()}
    with store.writer() as writer:
        writer.commit(ledger=type(store.ledger())(entries), deltas=(), weights={}, metrics={}, message="nothing")
    assert felt(store, days=30).value == 0.0


def test_only_the_newest_measurements_are_kept() -> None:
    entry = LedgerEntry(FACTS[0].id, FACTS[0])
    for k in range(50):
        entry = with_recall(entry, f"t{k}", 1.0, 1.0)
    assert [record.time for record in entry.recalls][::19] == ["t30", "t49"]
