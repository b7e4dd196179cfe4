"""Dissolving by hand: only what the adapter carries, and only where nobody's recall falls."""

import msgspec
import pytest
from sleep_examples import FACTS, SETTINGS, ScriptedEngine, code, remembering, tell

from memctl.deltas import Composition
from memctl.errors import UsageError
from memctl.evaluation.drift import Drift
from memctl.facts import Fact, make_fact
from memctl.progress import silent
from memctl.sleep.dissolve import DissolveReport, chosen, dissolve
from memctl.sleep.plan import plan
from memctl.store.records import AdapterRef
from memctl.store.store import Store
from memctl.store.verify import verify
from memctl.wake.draft import Basis, commit, draft_of
from memctl.wake.forget import forget
from memctl.wake.live import composed, live


def learn(store: Store, engine: ScriptedEngine, *facts: int) -> None:
    """Puts an adapter beside the edits that carries some of the facts."""
    told = [FACTS[k] for k in facts]
    ids = tuple(sorted(fact.id for fact in told))
    with store.writer(command="sleep") as writer:
        head = store.head()
        taken = [(ref, delta) for ref, delta in live(store) if set(ref.facts) <= set(ids)]
        adapter = engine.train(engine, told, composed(taken), 0, SETTINGS, silent)
        edits = tuple(msgspec.structs.replace(ref, scale=0.0) for ref, _ in taken)
        ref = AdapterRef(ids, writer.put(adapter.to_bytes(), ".safetensors"), "s", edits)
        draft = draft_of(Basis(head.deltas, ref, store.read_object), engine, SETTINGS.edit, store.ledger(), silent, {})
        commit(writer, engine, draft, Drift(0.0, 0.0, 0, 0, 0), "learned")


def down(store: Store, engine: ScriptedEngine, *facts: int, to: float = 0.0, **options: bool) -> DissolveReport:
    ids = {FACTS[k].id for k in facts}
    given = {"force": False, "dry_run": False} | options
    return dissolve(store, engine, SETTINGS, ids, to, wait=0, progress=silent, **given)


def scales(store: Store) -> dict[str, float]:
    return {ref.subject: ref.scale for ref in store.head().deltas}


def test_what_the_adapter_carries_loses_its_edit(store: Store, engine: ScriptedEngine) -> None:
    learn(store, engine, 0, 1, 2)
    report = down(store, engine, 0)
    assert [(one.entry.id, one.entry.stage, one.refused) for one in report.facts] == [
        (fact.id, 3, "") for fact in sorted(FACTS[:2], key=lambda fact: fact.id)
    ]  # the edit of Ana's two facts is one
    assert scales(store) == {"Ben Lund": 1.0, "Cy Mori": 1.0}
    assert verify(store.path).findings == ()


def test_what_nothing_else_carries_keeps_its_edit_even_by_force(store: Store, engine: ScriptedEngine) -> None:
    learn(store, engine, 0, 2)
    head = store.head()
    for force in (False, True):
        assert all(one.refused for one in down(store, engine, 0, 1, 3, force=force).facts)
    assert store.head() == head


def test_an_edit_stays_where_recall_would_fall_and_the_others_go(store: Store, engine: ScriptedEngine) -> None:
    learn(store, engine, 0, 1, 2, 3)
    engine.script.uncarried = {FACTS[2].id}
    report = down(store, engine, 2, 3)
    assert {one.entry.id: bool(one.refused) for one in report.facts} == {FACTS[2].id: True, FACTS[3].id: False}
    assert scales(store) == {"Ana Lund": 1.0, "Ben Lund": 1.0}
    assert down(store, engine, 2, force=True).snapshot is not None
    assert scales(store) == {"Ana Lund": 1.0}


def test_what_goes_is_asked_for_beside_what_stays(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(store, engine, 2, 3)
    known = engine._known

    def leaning(fact: Fact, chat: bool, attached: Composition) -> bool:
        """Cy needs his edit; Ben is known without his own only while Cy's is away too."""
        there = {round(float(delta.edits[0].change.gate[0, 0])) for delta, _ in attached.deltas}
        if fact == FACTS[3]:
            return code("Cy Mori") in there
        if fact == FACTS[2]:
            return code("Ben Lund") in there or code("Cy Mori") not in there
        return known(fact, chat, attached)

    monkeypatch.setattr(engine, "_known", leaning)
    head = store.head()
    report = down(store, engine, 2, 3)
    assert all(one.refused == "recall would fall" for one in report.facts)
    assert {one.entry.id: one.after.chat for one in report.facts if one.after} == {FACTS[2].id: 0.0, FACTS[3].id: 0.0}
    assert store.head() == head


def test_what_was_lost_by_force_is_degraded(store: Store, engine: ScriptedEngine) -> None:
    learn(store, engine, 0, 1, 2)
    engine.script.uncarried = {FACTS[2].id}
    (one,) = down(store, engine, 2, force=True).facts
    assert one.after is not None
    assert one.after.chat == 0.0
    assert store.ledger().entries[FACTS[2].id].recalls[-1].recall.chat == 0.0
    found = plan(store, SETTINGS)
    assert (found.degraded, found.idle) == (1, False)


def test_an_edit_goes_down_to_a_scale_that_still_holds(store: Store, engine: ScriptedEngine) -> None:
    assert down(store, engine, 3, to=0.1).facts[0].refused
    report = down(store, engine, 3, to=0.3)
    assert (report.facts[0].entry.stage, scales(store)["Cy Mori"]) == (1, 0.3)
    assert down(store, engine, 3, to=0.5).facts == ()  # it is below that already


def test_a_dry_run_changes_nothing(store: Store, engine: ScriptedEngine) -> None:
    learn(store, engine, 3)
    head = store.head()
    assert down(store, engine, 3, dry_run=True).facts[0].entry.stage == 3
    assert store.head() == head


def test_forgetting_a_fact_that_the_adapter_carries_is_exact(store: Store, engine: ScriptedEngine) -> None:
    without = remembering(store.path.parent / "without", engine, FACTS[1:])
    learn(store, engine, 0, 1, 2, 3)
    down(store, engine, 0, 1, 2, 3)
    assert store.head().deltas == ()
    engine.script.searched.clear()
    forget(store, engine, SETTINGS, [FACTS[0].id], wait=0, dry_run=False, progress=silent)
    assert store.head().composition == without.head().composition
    assert store.head().adapter is None
    assert {entry.stage for entry in store.ledger().active()} == {0}
    assert [name for name, _ in engine.script.searched] == ["Ana Lund"]  # the others' edits came back


def test_a_new_fact_brings_the_edit_of_its_subject_back(store: Store, engine: ScriptedEngine) -> None:
    learn(store, engine, 0, 1, 2, 3)
    down(store, engine, 0, 1, 2, 3)
    tell(store, engine, [make_fact("Cy Mori", "lives in", "Lima")])
    assert scales(store) == {"Cy Mori": 1.0}
    assert store.head().adapter is not None
    assert {entry.stage for entry in store.ledger().active() if entry.fact.subject == "Cy Mori"} == {0, 3}


def test_which_facts_are_meant(store: Store, engine: ScriptedEngine) -> None:
    learn(store, engine, 3)
    assert [entry.id for entry in chosen(store, [], consolidated=True, everything=False)] == [FACTS[3].id]
    assert len(chosen(store, [], consolidated=False, everything=True)) == 4
    for ids, options in (([], (False, False)), ([FACTS[0].id], (True, False)), ([], (True, True))):
        with pytest.raises(UsageError, match="which edits"):
            chosen(store, ids, consolidated=options[0], everything=options[1])
