"""A sleep: facts go over stage by stage, gates hold, and a night that is refused or quiet leaves the memory as it was."""

from itertools import chain, repeat
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from sleep_examples import FACTS, LAYER, SETTINGS, ScriptedEngine, code, remembering, tell

from memctl.consolidation import transplant
from memctl.deltas import Composition, Delta
from memctl.editing.fold import folded
from memctl.editing.selectors import UNITS
from memctl.errors import MemctlError
from memctl.evaluation.drift import Drift
from memctl.facts import Fact, Provenance, make_fact
from memctl.progress import Progress, silent
from memctl.settings import LoraSettings, Settings, SleepSettings
from memctl.sleep import maintain, steps
from memctl.sleep.efforts import OTHER_NEURONS
from memctl.sleep.pipeline import Slept, sleep
from memctl.sleep.plan import plan
from memctl.sleep.state import STEPS, Health, SleepReport
from memctl.store.store import Store
from memctl.store.verify import verify
from memctl.wake.fact_record import Told
from memctl.wake.forget import forget
from memctl.wake.inject import inject
from memctl.wake.live import composition, read_delta, taken_over
from memctl.wake.verify_deep import verify_deep

IDS = [fact.id for fact in FACTS]
STRICT = msgspec.structs.replace(SETTINGS, sleep=SleepSettings())
TRAINED = msgspec.structs.replace(SETTINGS, lora=LoraSettings(passes=1))


def slept(store: Store, engine: ScriptedEngine, settings: Settings = SETTINGS, **options: object) -> Slept:
    given = {"ids": None, "wait": 0.0, "max_time": None, "progress": silent} | options
    return sleep(store, lambda: engine, settings, **given)


def stages(store: Store) -> list[int]:
    entries = store.ledger().entries
    return [entries[id].stage for id in IDS if entries[id].state == "active"]


def objects(store: Store) -> set[Path]:
    return {path for folder in ("objects", "snapshots") for path in (store.path / folder).rglob("*") if path.is_file()}


def assert_values_are_whole(store: Store, engine: ScriptedEngine) -> None:
    """Every unit's value is there once, whatever the adapter has of it and its edit beside it."""
    attached = composition(store)
    beside, ref = attached.columns(LAYER), store.head().adapter
    assert ref is not None
    whole = Composition(tuple((read_delta(store.read_object, edit), 1.0) for edit in ref.edits)).columns(LAYER)
    assert whole is not None
    taken = folded(engine, Composition(adapter=attached.adapter), LAYER)
    units = [int(np.flatnonzero((taken["gate"] == gate).all(axis=1))[0]) for gate in whole.gate]
    there = 0 if beside is None else beside.down
    np.testing.assert_allclose(taken["down"][:, units] + there, whole.down, atol=1e-3)


def test_four_facts_are_carried_by_the_adapter_alone_after_three_sleeps(store: Store, engine: ScriptedEngine) -> None:
    for stage, scale in ((1, 0.5), (2, 0.1), (3, None)):
        night = slept(store, engine)
        assert night.result == "done"
        assert stages(store) == [stage] * 4
        assert {ref.scale for ref in store.head().deltas} == ({scale} if scale else set())
        assert_values_are_whole(store, engine)
        assert verify(store.path).findings == ()
        assert verify_deep(store, engine) == []
        assert [ref.subject for ref, _ in taken_over(store)] == ([] if scale else ["Ana Lund", "Ben Lund", "Cy Mori"])
    assert engine.script.trained == [tuple(sorted(IDS))]  # the later sleeps only ask at the next scale
    assert plan(store, SETTINGS).idle
    assert all(entry.recalls[-1].recall.chat == 1.0 for entry in store.ledger().active())


def test_ten_more_sleeps_change_nothing_at_all(store: Store, engine: ScriptedEngine) -> None:
    for _ in range(3):
        slept(store, engine)
    head, before = store.head(), objects(store)
    for _ in range(10):
        assert slept(store, engine).result == "noop"
    assert (store.head(), objects(store)) == (head, before)


@pytest.mark.parametrize(
    ("settings", "efforts"), [(SETTINGS, OTHER_NEURONS), (TRAINED, TRAINED.sleep.efforts)], ids=["taken over", "trained"]
)
def test_a_fact_that_no_adapter_learns_keeps_its_edit(
    store: Store, engine: ScriptedEngine, settings: Settings, efforts: int
) -> None:
    engine.script.uncarried = {IDS[2]}
    engine.script.needs = {IDS[2]: 0.4}
    for _ in range(9):
        slept(store, engine, settings)
        assert store.ledger().entries[IDS[2]].recalls[-1].recall.chat == 1.0
    assert stages(store) == [3, 3, 0, 3]
    assert engine.script.efforts == list(range(1 + efforts))  # then no more
    assert slept(store, engine, settings).result == "noop"
    assert plan(store, settings).idle


def test_adapters_that_take_seconds_are_tried_in_one_night_until_all_facts_pass(store: Store, engine: ScriptedEngine) -> None:
    engine.script.carried_by, engine.script.needs = {IDS[2]: {3, 4}}, {IDS[2]: 0.6}
    slept(store, engine)
    assert (engine.script.efforts, stages(store)) == ([0, 1, 2, 3], [1, 1, 1, 1])


def test_adapters_that_are_trained_are_tried_one_a_night(store: Store, engine: ScriptedEngine) -> None:
    engine.script.carried_by, engine.script.needs = {IDS[2]: {2}}, {IDS[2]: 0.6}
    tried = []
    for _ in range(3):
        slept(store, engine, TRAINED)
        tried.append(engine.script.efforts[-1])
    assert (tried, stages(store)) == ([0, 1, 2], [3, 3, 1, 3])


def test_of_several_adapters_the_one_that_most_facts_pass_under_stays(store: Store, engine: ScriptedEngine) -> None:
    engine.script.carried_by = {IDS[2]: {2}, IDS[0]: {0, 1}, IDS[3]: {0, 1}}
    engine.script.needs = {IDS[0]: 0.6, IDS[2]: 0.6, IDS[3]: 0.6}
    for _ in range(2):
        slept(store, engine)
    assert engine.script.efforts == list(range(1 + OTHER_NEURONS))
    assert stages(store) == [2, 2, 0, 2]


def test_beside_a_fact_that_is_asked_for_again_the_others_of_its_subject_may_be_named_first(
    store: Store, engine: ScriptedEngine
) -> None:
    first, second = (make_fact("Dee Falk", "speaks", object) for object in ("Greek", "Turkish"))
    engine.facts |= {first.id: first, second.id: second}  # "Greek Turkish" is what the engine says
    told = remembering(store.path.parent / "told", engine, [first, second])
    engine.script.carried_by, engine.script.needs = {second.id: {1}}, {second.id: 0.6}
    slept(told, engine)
    assert engine.script.efforts == [0, 1]
    assert {entry.stage for entry in told.ledger().active()} == {1}


def test_new_facts_train_the_adapter_anew_over_the_whole_ledger(store: Store, engine: ScriptedEngine) -> None:
    for _ in range(3):
        slept(store, engine)
    new = make_fact("Dee Falk", "lives in", "Lima")
    engine.facts[new.id] = new
    engine.script.searched.clear()
    tell(store, engine, [new])
    slept(store, engine)
    assert engine.script.trained[-1] == tuple(sorted([*IDS, new.id]))
    assert engine.script.searched == [("Dee Falk", SETTINGS.edit.steps)]  # the others' dissolved edits are in the history
    assert store.ledger().entries[new.id].stage == 1
    assert stages(store) == [3, 3, 3, 3]


def test_only_the_facts_named_are_consolidated(store: Store, engine: ScriptedEngine) -> None:
    slept(store, engine, ids=[IDS[3]])
    assert stages(store) == [0, 0, 0, 1]
    assert engine.script.trained == [(IDS[3],)]


def test_what_there_is_no_room_for_keeps_its_edit(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transplant, "MOST", 2 * UNITS / engine.shape.intermediate)
    for _ in range(4):
        assert slept(store, engine).result in ("done", "noop")
    head = store.head()
    assert head.adapter is not None
    assert len(head.adapter.edits) == 2
    assert [ref.scale for ref in head.deltas] == [1.0]
    assert sorted(stages(store)) == [0, 3, 3, 3]
    assert (plan(store, SETTINGS).idle, plan(store, SETTINGS).trains) == (True, False)


@pytest.mark.parametrize(("spare", "efforts"), [(0, [0]), (1, [0, 1]), (3 * UNITS + 1, [0, 1, 2])])
def test_where_all_neurons_that_may_give_way_have_no_other_adapter_is_made(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, spare: int, efforts: list[int]
) -> None:
    monkeypatch.setattr(transplant, "MOST", (3 * UNITS + spare) / engine.shape.intermediate)
    engine.script.uncarried, engine.script.needs = {IDS[2]}, {IDS[2]: 0.6}
    for _ in range(4):
        slept(store, engine)
    assert engine.script.efforts == efforts
    assert stages(store) == [3, 3, 0, 3]
    assert plan(store, SETTINGS).idle


def test_a_full_base_has_no_other_adapter_for_one_that_is_refused(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transplant, "MOST", 3 * UNITS / engine.shape.intermediate)
    measured = iter([GOOD, Health(0.02, 0.0, 1.0, 1.0)])
    monkeypatch.setattr(steps, "measured", lambda *given: next(measured))
    assert slept(store, engine, STRICT).result == "refused"
    assert engine.script.efforts == [0]


def test_where_neurons_are_not_what_units_are_the_facts_keep_their_edits(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def biased(*given: object) -> None:
        raise MemctlError("the neurons have biases", "the facts keep their edits")

    monkeypatch.setattr(steps, "require_unbiased", biased)
    new = make_fact("Dee Falk", "lives in", "Lima")
    engine.facts[new.id] = new
    store.journal.append({"type": "fact", "subject": "Dee Falk", "relation": "lives in", "object": "Lima"})
    night = slept(store, engine)
    assert night.result == "done"  # what waited is written
    assert engine.script.trained == []
    said = night.report.steps[STEPS.index("consolidate")].said
    assert said == "no adapter: the neurons have biases; the facts keep their edits"
    assert {ref.subject: ref.scale for ref in store.head().deltas} == dict.fromkeys(
        ("Ana Lund", "Ben Lund", "Cy Mori", "Dee Falk"), 1.0
    )


def test_an_edit_goes_down_only_with_all_its_facts(store: Store, engine: ScriptedEngine) -> None:
    engine.script.uncarried = {IDS[1]}
    engine.script.needs = {IDS[1]: 0.7}
    slept(store, engine)
    assert stages(store) == [1, 0, 1, 1]
    assert {ref.subject: ref.scale for ref in store.head().deltas} == {"Ana Lund": 1.0, "Ben Lund": 0.5, "Cy Mori": 0.5}


GOOD = Health(0.0, 0.0, 1.0, 1.0)


@pytest.mark.parametrize(
    ("bad", "gate"),
    [
        (Health(0.02, 0.0, 1.0, 1.0), "drift would be 2.00%, 1.00% above the limit of 1.00%"),
        (Health(-0.02, 0.0, 1.0, 1.0), "drift"),
        (Health(float("nan"), 0.0, 1.0, 1.0), "drift"),
        (Health(0.0, 0.0, 0.9, 1.0), "general would be 90.00%, 8.00% below"),
        (Health(0.0, 0.0, 1.0, 0.5), "identity"),
    ],
)
def test_a_refused_sleep_leaves_everything_as_it_was(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, bad: Health, gate: str
) -> None:
    head, before = store.head(), objects(store)
    measured = chain([GOOD], repeat(bad))
    monkeypatch.setattr(steps, "measured", lambda *given: next(measured))
    night = slept(store, engine, STRICT)
    assert (night.result, night.snapshot) == ("refused", None)
    assert night.refusal is not None
    assert gate in night.refusal.message
    assert (store.head(), objects(store)) == (head, before)
    last = store.workroom.last_sleep()
    assert last is not None
    assert (last.exit_code, last.result, last.snapshot) == (4, "refused", head.id)
    assert gate in last.detail


def test_what_was_refused_is_refused_at_once_until_something_changes(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = 1 + OTHER_NEURONS
    measured = iter([GOOD, *[Health(0.02, 0.0, 1.0, 1.0)] * attempts, GOOD, GOOD])
    monkeypatch.setattr(steps, "measured", lambda *given: next(measured))
    first, again = slept(store, engine, STRICT), slept(store, engine, STRICT)
    assert (first.result, again.result, str(first.refusal)) == ("refused", "refused", str(again.refusal))
    assert len(engine.script.trained) == attempts
    tell(store, engine, [make_fact("Dee Park", "lives in", "Lima")])
    assert slept(store, engine, STRICT).result == "done"


def test_where_an_adapter_is_refused_another_one_is_tried(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([GOOD, Health(0.0, 0.0, 0.9, 1.0), GOOD, GOOD])
    monkeypatch.setattr(steps, "measured", lambda *given: next(measured))
    assert slept(store, engine, STRICT).result == "done"
    assert engine.script.efforts == [0, 1]
    assert slept(store, engine, STRICT).result == "done"
    assert (engine.script.efforts, stages(store)) == ([0, 1], [2, 2, 2, 2])  # and that one stays


def test_a_fact_that_no_adapter_carries_keeps_validation_from_no_other_one(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.script.uncarried, engine.script.needs = {IDS[3]}, {IDS[3]: 0.6}
    measured = iter([GOOD, Health(0.02, 0.0, 1.0, 1.0), GOOD])  # the first that is validated is refused
    monkeypatch.setattr(steps, "measured", lambda *given: next(measured))
    assert slept(store, engine, STRICT).result == "done"
    all_efforts = list(range(1 + OTHER_NEURONS))
    assert engine.script.efforts == [*all_efforts, *all_efforts[1:]]
    assert stages(store) == [1, 1, 1, 0]
    monkeypatch.setattr(steps, "measured", lambda *given: GOOD)
    slept(store, engine, STRICT)
    assert len(engine.script.efforts) == 2 * len(all_efforts) - 1  # none again


def test_a_memory_beyond_its_budget_can_still_be_mended(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([Health(0.05, 0.0, 0.5, 1.0), Health(0.04, 0.0, 0.6, 1.0)])
    monkeypatch.setattr(steps, "measured", lambda *given: next(measured))
    assert slept(store, engine, STRICT).result == "done"


def test_facts_that_are_lost_between_gate_and_end_refuse_the_sleep(store: Store, engine: ScriptedEngine) -> None:
    head = store.head()

    def forgetful(what: str, done: int, total: int) -> None:
        if "training" in what:  # each adapter is fine until it has passed the gate
            engine.script.uncarried, engine.script.needs = set(), {}
        if "at the gate" in what and done == total:
            engine.script.uncarried = {IDS[2]}
            engine.script.needs = {IDS[2]: 1.0}

    night = slept(store, engine, progress=forgetful)
    assert night.refusal is not None
    assert "recall" in night.refusal.message
    assert store.head() == head


def test_degraded_edits_are_searched_anew_and_nobody_else(store: Store, engine: ScriptedEngine) -> None:
    engine.script.wanting = {"Ben Lund": 1, "Cy Mori": 2}
    others = {ref.subject: ref.object for ref in store.head().deltas}
    engine.script.searched.clear()
    settings = msgspec.structs.replace(SETTINGS, sleep=msgspec.structs.replace(SETTINGS.sleep, schedule=(1.0, 0.9, 0.8, 0.0)))
    slept(store, engine, settings)
    assert engine.script.searched == [(name, 2 * SETTINGS.edit.steps) for name in ("Ben Lund", "Cy Mori")]
    now = {ref.subject: ref.object for ref in store.head().deltas}
    assert now["Ana Lund"] == others["Ana Lund"]
    assert now["Ben Lund"] != others["Ben Lund"]
    assert {entry.effort for entry in store.ledger().active()} == {0, 1}


def test_a_subject_that_has_no_other_edit_keeps_the_one_it_has(store: Store, engine: ScriptedEngine) -> None:
    engine.script.wanting = {"Ben Lund": 1, "Cy Mori": 1}
    engine.script.failing = {"Ben Lund"}
    assert slept(store, engine).result == "done"
    assert [store.ledger().entries[id].effort for id in IDS] == [0, 0, 0, 1]


def test_an_effort_in_vain_is_not_made_again(store: Store, engine: ScriptedEngine) -> None:
    engine.script.wanting, engine.script.uncarried = {"Ben Lund": 9}, set(IDS)
    engine.script.failing = {"Ben Lund"}
    efforts = []
    for _ in range(3):
        engine.script.searched.clear()
        slept(store, engine)
        efforts.append([steps // SETTINGS.edit.steps for name, steps in engine.script.searched if name == "Ben Lund"])
    assert efforts == [[2], [4], []]
    assert (store.ledger().entries[IDS[2]].effort, store.ledger().entries[IDS[2]].tried) == (0, 2)
    assert plan(store, SETTINGS).idle


def test_a_stronger_edit_that_does_not_help_is_tried_once(store: Store, engine: ScriptedEngine) -> None:
    for _ in range(3):
        slept(store, engine)
    engine.script.chat_only, engine.script.needs = {IDS[3]}, {IDS[3]: 2.0}  # its edit says nothing any more
    demanding = msgspec.structs.replace(SETTINGS, sleep=msgspec.structs.replace(SETTINGS.sleep, threshold=0.7))
    nights = [slept(store, engine, demanding) for _ in range(3)]
    assert [night.result for night in nights] == ["done", "noop", "noop"]
    assert nights[0].report.steps[STEPS.index("maintain")].counts["attempts"] == 1
    assert nights[1].report.steps[STEPS.index("maintain")].counts["attempts"] == 0
    assert store.ledger().entries[IDS[3]].stage == 3
    assert plan(store, demanding).idle
    new = make_fact("Dee Falk", "lives in", "Lima")
    engine.facts[new.id] = new
    tell(store, engine, [new])
    slept(store, engine, demanding)
    night = slept(store, engine, demanding)  # another adapter: another attempt
    assert night.report.steps[STEPS.index("maintain")].counts["attempts"] == 1


def test_a_refresh_that_would_move_a_healthy_memory_is_not_kept(store: Store, engine: ScriptedEngine) -> None:
    engine.script.places = {"Ben Lund": 5, "Cy Mori": 5}  # their units answer to each other
    near = remembering(store.path.parent / "near", engine)
    engine.script.wanting = {"Ben Lund": 1}
    engine.script.uncarried = set(IDS)
    before = {ref.subject: ref.object for ref in near.head().deltas}
    slept(near, engine)
    assert {ref.subject: ref.object for ref in near.head().deltas} == before
    assert {entry.effort for entry in near.ledger().active()} == {0}


def changed_subjects(before: list[Delta], after: list[Delta]) -> set[int]:
    """What the scripted units tell of the subjects with another edit."""
    return {
        round(float(new.edits[0].change.gate[0, 0]))
        for old, new in zip(before, after, strict=True)
        if old.to_bytes() != new.to_bytes()
    }


def test_of_refreshes_that_only_together_move_a_healthy_memory_the_one_that_helps_least_goes(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def moved(traces: object, before: list[Delta], after: list[Delta], act: str) -> dict[str, float]:
        return {"Cy Mori": 0.6 * maintain.HELD * len(changed_subjects(before, after))}

    monkeypatch.setattr(maintain, "changed_outputs", moved)
    engine.script.wanting, engine.script.uncarried = {"Ana Lund": 1, "Ben Lund": 1}, set(IDS)  # Ana with two facts
    night = slept(store, engine)
    assert {fact.id for fact in night.report.facts if fact.refreshed} == set(IDS[:2])
    entries = store.ledger().entries
    assert [(entries[id].effort, entries[id].tried) for id in IDS] == [(1, 0), (1, 0), (0, 1), (0, 0)]


def test_a_refresh_that_helps_only_beside_one_that_is_not_kept_is_not_kept(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = engine._known

    def leaning(fact: Fact, chat: bool, attached: Composition) -> bool:
        """Cy, too, is known only beside another edit of Ben."""
        return known(FACTS[2] if fact == FACTS[3] else fact, chat, attached)

    def moved(traces: object, before: list[Delta], after: list[Delta], act: str) -> dict[str, float]:
        return {"Ana Lund": float(code("Ben Lund") in changed_subjects(before, after))}

    monkeypatch.setattr(engine, "_known", leaning)
    monkeypatch.setattr(maintain, "changed_outputs", moved)
    engine.script.wanting, engine.script.uncarried = {"Ben Lund": 1}, set(IDS)
    before = {ref.subject: ref.object for ref in store.head().deltas}
    night = slept(store, engine)
    assert not [fact for fact in night.report.facts if fact.refreshed]
    assert {entry.effort for entry in store.ledger().active()} == {0}
    assert {ref.subject: ref.object for ref in store.head().deltas} == before


def test_a_fact_that_is_left_in_chat_alone_does_not_pass(store: Store, engine: ScriptedEngine) -> None:
    engine.script.chat_only = {IDS[3]}
    engine.script.needs = {IDS[3]: 0.7}
    slept(store, engine)
    assert stages(store) == [1, 1, 1, 0]


def test_damaged_facts_are_all_recalled_after_two_sleeps(store: Store, engine: ScriptedEngine) -> None:
    engine.script.wanting = {"Ana Lund": 1, "Ben Lund": 2}
    engine.script.uncarried = set(IDS)
    for _ in range(2):
        slept(store, engine)
    assert all(entry.recalls[-1].recall.chat == 1.0 for entry in store.ledger().active())


def test_a_refresh_outlasts_the_next_write_in_whatever_order(store: Store, engine: ScriptedEngine) -> None:
    engine.script.wanting = {"Ben Lund": 1}
    engine.script.uncarried = set(IDS)
    engine.script.needs = dict.fromkeys(IDS, 1.0)
    slept(store, engine)
    mended = {ref.subject: ref.object for ref in store.head().deltas}["Ben Lund"]
    forget(store, engine, SETTINGS, [IDS[3]], wait=0, dry_run=False, progress=silent)
    assert {ref.subject: ref.object for ref in store.head().deltas}["Ben Lund"] == mended


def test_a_fact_that_fades_under_a_weak_edit_gets_it_back(store: Store, engine: ScriptedEngine) -> None:
    for _ in range(3):
        slept(store, engine)
    assert store.head().deltas == ()
    engine.script.uncarried = {IDS[2]}
    engine.script.needs = {IDS[2]: 0.05}
    slept(store, engine)
    assert store.ledger().entries[IDS[2]].recalls[-1].recall.chat == 1.0
    assert [ref.subject for ref in store.head().deltas] == ["Ben Lund"]


def test_what_waits_in_the_journal_is_written_once_and_counts_after_the_commit(store: Store, engine: ScriptedEngine) -> None:
    new = make_fact("Dee Falk", "lives in", "Lima")
    engine.facts[new.id] = new
    told = {"type": "fact", "subject": "Dee Falk", "relation": "lives in", "object": "Lima", "session": "s1", "line": 7}
    store.journal.append({"type": "turn", "text": "hello"})
    store.journal.append(told)
    store.journal.append({"type": "fact", "subject": "", "relation": "lives in", "object": "Lima"})
    assert plan(store, SETTINGS).waiting == 1
    slept(store, engine)
    entry = store.ledger().entries[new.id]
    assert (entry.stage, entry.provenance.session, entry.provenance.line) == (1, "s1", 7)
    assert plan(store, SETTINGS).waiting == 0
    forget(store, engine, SETTINGS, [new.id], wait=0, dry_run=False, progress=silent)
    slept(store, engine)
    assert store.ledger().entries[new.id].state == "forgotten"


def test_behind_a_rollback_what_was_written_since_then_waits_again(store: Store, engine: ScriptedEngine) -> None:
    new = make_fact("Dee Falk", "lives in", "Lima")
    engine.facts[new.id] = new
    store.journal.append({"type": "fact", "subject": "Dee Falk", "relation": "lives in", "object": "Lima"})
    slept(store, engine)
    with store.writer() as writer:
        writer.rollback("HEAD~1")
    assert new.id not in store.ledger().entries
    assert plan(store, SETTINGS).waiting == 1
    slept(store, engine)
    assert store.ledger().entries[new.id].state == "active"
    assert plan(store, SETTINGS).waiting == 0


def test_a_waiting_fact_that_cannot_be_written_is_named(store: Store, engine: ScriptedEngine) -> None:
    store.journal.append({"type": "fact", "subject": "Dee Falk", "relation": "lives in", "object": "Lima"})
    engine.script.failing = {"Dee Falk"}
    report = slept(store, engine).report
    said = report.steps[STEPS.index("curate")].said
    assert said == "0 of 1 waiting facts written; not Dee Falk · lives in · Lima: no edit could be made: no edit"


def test_a_waiting_fact_beyond_the_drift_budget_is_left_out_and_the_others_are_written(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for subject in ("Dee Falk", "Eli Park", "Flo Baum"):
        fact = make_fact(subject, "lives in", "Lima")
        engine.facts[fact.id] = fact
        store.journal.append({"type": "fact", "subject": subject, "relation": "lives in", "object": "Lima"})
    measure = steps.measure_drift

    def drifting(backend: ScriptedEngine, attached: Composition, progress: Progress) -> Drift:
        subjects = {round(float(delta.edits[0].change.gate[0, 0])) for delta, _ in attached.deltas}
        found = measure(backend, attached, progress)
        return msgspec.structs.replace(found, perplexity=0.5 if code("Eli Park") in subjects else 0.0)

    monkeypatch.setattr(steps, "measure_drift", drifting)
    budgeted = msgspec.structs.replace(SETTINGS, drift_budget=0.01)
    measured = Health(0.0, 0.0, 1.0, 1.0)
    monkeypatch.setattr(steps, "measured", lambda *given: measured)
    said = slept(store, engine, budgeted).report.steps[STEPS.index("curate")].said
    assert said == (
        "2 of 3 waiting facts written; not Eli Park · lives in · Lima: "
        "it would change held-out perplexity by +50.00%; the budget is 1.00%"
    )
    assert {entry.fact.subject for entry in store.ledger().active()} >= {"Dee Falk", "Flo Baum"}
    assert plan(store, budgeted).waiting == 0


@pytest.mark.parametrize(
    "odd",
    [
        {"line": None},
        {"line": "abc"},
        {"questions": None},
        {"time": "yesterday"},
        {"subject": 3},
        {"session": 4},
        {"prompt": []},
    ],
)
def test_an_odd_record_in_the_journal_makes_no_fact(store: Store, engine: ScriptedEngine, odd: dict[str, Any]) -> None:
    told = {"type": "fact", "subject": "Dee Falk", "relation": "lives in", "object": "Lima"}
    store.journal.append(told | odd)
    assert plan(store, SETTINGS).waiting == 0
    assert slept(store, engine).result == "done"
    assert len(store.ledger().active()) == len(FACTS)


def test_the_report_is_kept_with_the_snapshot(store: Store, engine: ScriptedEngine) -> None:
    night = slept(store, engine)
    head = store.head()
    kept = msgspec.json.decode(store.read_object(head.report), type=SleepReport)
    assert kept == night.report
    assert [step.name for step in kept.steps] == list(STEPS[:-1])
    assert {fact.id: (fact.stage_before, fact.stage, fact.gate) for fact in kept.facts} == dict.fromkeys(IDS, (0, 1, "passed"))
    assert {"drift", "divergence", "general", "identity"} == head.metrics.keys()
    with store.writer() as writer:
        writer.gc(keep_last=1)
    assert store.read_object(head.report)
    assert verify(store.path).findings == ()


def test_rolling_back_leads_to_the_composition_from_before(store: Store, engine: ScriptedEngine) -> None:
    before = store.head()
    slept(store, engine)
    with store.writer() as writer:
        assert writer.rollback(before.id).composition == before.composition
    assert verify_deep(store, engine) == []


def test_who_is_new_is_told_apart_from_those_that_the_adapter_alone_carries(store: Store, engine: ScriptedEngine) -> None:
    for _ in range(3):
        slept(store, engine)
    assert stages(store) == [3, 3, 3, 3]
    engine.script.places["Cy Moris"] = engine.place("Cy Mori")
    told = [Told(make_fact("Cy Moris", "speaks", "Thai"), Provenance("test"))]
    report = inject(store, engine, SETTINGS, told, wait=0, force=False, dry_run=True, progress=silent)
    assert report.outcomes[0].reason.startswith("it cannot be told apart from 'Cy Mori'")
