"""Stages move by gates alone: one on, one back, and an edit follows the least advanced of its facts."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from memctl.consolidation.stages import LAST, at_scale, by_subject, edit_scale, gated, next_scale, stage_of, without_lost
from memctl.facts import LedgerEntry, make_fact
from memctl.settings import SleepSettings
from memctl.store.records import AdapterRef, Ledger

SCHEDULE = SleepSettings().schedule
ADAPTER = "a" * 64


def entry(relation: str = "lives in", stage: int = 0, subject: str = "Ana Lund") -> LedgerEntry:
    fact = make_fact(subject, relation, "Oslo")
    return LedgerEntry(fact.id, fact, stage=stage, scale=SCHEDULE[stage])


def test_a_fact_that_passes_every_gate_is_without_its_edit_after_three() -> None:
    one, scales = entry(), []
    while edit_scale([one]):
        scales.append(next_scale([one], SCHEDULE))
        [one] = gated([one], {one.id}, SCHEDULE, ADAPTER)
    assert scales == [0.5, 0.1, 0.0]
    assert (one.stage, one.scale) == (LAST, 0.0)


@pytest.mark.parametrize(("stage", "after"), [(0, 0), (1, 0), (2, 1), (3, 2)])
def test_a_failure_takes_a_fact_one_stage_back_and_never_below_zero(stage: int, after: int) -> None:
    [one] = gated([entry(stage=stage)], set(), SCHEDULE, ADAPTER)
    assert (one.stage, one.scale, one.waits) == (after, SCHEDULE[after], ADAPTER)
    [one] = gated([one], {one.id}, SCHEDULE, "b" * 64)
    assert one.waits == ""


def test_an_edit_stays_as_strong_as_its_least_advanced_fact_needs() -> None:
    old, new = entry(stage=2), entry("speaks")
    assert edit_scale([old, new]) == 1.0
    assert next_scale([old, new], SCHEDULE) == 0.5
    old, new = gated([old, new], {old.id, new.id}, SCHEDULE, ADAPTER)
    assert (old.stage, new.stage, edit_scale([old, new])) == (2, 1, 0.5)
    old, new = gated([old, new], {old.id}, SCHEDULE, ADAPTER)
    assert (old.stage, new.stage, edit_scale([old, new])) == (2, 0, 1.0)


@given(st.lists(st.integers(0, LAST), min_size=1, max_size=4), st.data())
def test_no_edit_is_weaker_than_a_scale_that_all_its_facts_have_passed(stages: list[int], data: st.DataObject) -> None:
    entries = [entry(f"likes {k}", stage) for k, stage in enumerate(stages)]
    tested = next_scale(entries, SCHEDULE)
    passed = {one.id for one in entries if data.draw(st.booleans())}
    after = gated(entries, passed, SCHEDULE, ADAPTER)
    if len(passed) < len(entries):
        assert edit_scale(after) > tested or edit_scale(entries) == tested == 0.0
    assert edit_scale(after) >= tested
    assert all(abs(stage_of(one.scale, SCHEDULE) - one.stage) == 0 for one in after)


def test_a_scale_between_two_stages_belongs_to_the_one_above() -> None:
    assert [stage_of(scale, SCHEDULE) for scale in (1.0, 0.7, 0.5, 0.3, 0.1, 0.01, 0.0)] == [0, 0, 1, 1, 2, 2, 3]
    assert next_scale([at_scale(entry(), 0.3, SCHEDULE)], SCHEDULE) == 0.1


def test_an_adapter_goes_whole_when_a_fact_of_it_goes() -> None:
    kept, gone, other = entry(stage=3), entry("speaks", stage=2), entry(subject="Ben Lund")
    ledger = Ledger({one.id: one for one in (kept, gone, other)})
    adapter = AdapterRef(tuple(sorted((kept.id, gone.id))), "0" * 64, "s")
    assert without_lost(ledger, adapter) == (ledger, adapter)
    for state in ("forgotten", "superseded"):
        entries = {**ledger.entries, gone.id: msgspec.structs.replace(gone, state=state)}
        after, left = without_lost(Ledger(entries), adapter)
        assert left is None
        assert {one.id: one.stage for one in after.active()} == {kept.id: 0, other.id: 0}
        assert [edit_scale(own) for own in by_subject(after).values()] == [1.0, 1.0]
