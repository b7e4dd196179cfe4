"""Sleeps that are stopped: readers see the memory from before, and the next sleep goes on or starts over."""

import os
import random
import signal
import time
from pathlib import Path

import msgspec
import pytest
from sleep_examples import SETTINGS, ScriptedEngine, remembering, tell
from test_sleep import GOOD, IDS, STRICT, objects, slept, stages

from memctl.cli.app import Stopped
from memctl.errors import MemctlError
from memctl.facts import make_fact
from memctl.sleep import night, pipeline, steps
from memctl.sleep.night import MENDED, STATE, Night
from memctl.sleep.pipeline import Slept
from memctl.sleep.state import STEPS, Health, State, StepName
from memctl.sleep.steps import Done, Step
from memctl.store.store import Store
from memctl.store.verify import verify
from memctl.store.workroom import Workroom

WORKING = STEPS[:-1]


class Power(BaseException):
    """The power fails: nothing catches this, and nothing is tidied up."""


def cut(monkeypatch: pytest.MonkeyPatch, name: StepName, error: BaseException, *, after: bool) -> None:
    """Ends the process, as it were, right before or right after the work of a step."""
    work = pipeline.WORK[name]

    def stopping(night: Night, state: State) -> Done:
        if not after:
            raise error
        work(night, state)
        raise error

    monkeypatch.setitem(pipeline.WORK, name, stopping)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("name", WORKING)
def test_stopped_in_any_step_the_memory_is_as_it_was_and_the_next_sleep_goes_on(
    store: Store, engine: ScriptedEngine, name: StepName, after: bool
) -> None:
    head, before = store.head(), objects(store)
    with pytest.MonkeyPatch.context() as patch:
        cut(patch, name, Stopped(143), after=after)
        with pytest.raises(Stopped):
            slept(store, engine)
    last = store.workroom.last_sleep()
    assert last is not None
    assert (last.exit_code, last.result) == (143, "interrupted")
    assert (store.head(), objects(store)) == (head, before)
    assert verify(store.path).findings == ()

    done: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        for step, work in pipeline.WORK.items():
            patch.setitem(pipeline.WORK, step, _noting(done, step, work))
        assert slept(store, engine).result == "done"
    assert done == list(WORKING[WORKING.index(name) :])
    assert stages(store) == [1, 1, 1, 1]
    assert [path.name for path in (store.path / "sleep").iterdir()] == ["last"]


def _noting(done: list[str], name: StepName, work: Step) -> Step:
    def noting(night: Night, state: State) -> Done:
        done.append(name)
        return work(night, state)

    return noting


def test_what_was_stopped_and_what_was_not_come_to_the_same(store: Store, engine: ScriptedEngine) -> None:
    whole = remembering(store.path.parent / "whole", engine)
    slept(whole, engine)
    for name in WORKING:
        with pytest.MonkeyPatch.context() as patch:
            cut(patch, name, Power(), after=False)
            with pytest.raises(Power):
                slept(store, engine)
    slept(store, engine)
    assert store.head().composition == whole.head().composition
    assert engine.script.trained == [tuple(sorted(IDS))] * 2  # once for each store


def test_work_of_another_beginning_is_not_used(store: Store, engine: ScriptedEngine) -> None:
    def stopped(**options: object) -> None:
        with pytest.MonkeyPatch.context() as patch:
            cut(patch, "validate", Power(), after=False)
            with pytest.raises(Power):
                slept(store, engine, **options)

    stopped()
    stopped(ids=[IDS[3]])
    stopped(settings=msgspec.structs.replace(SETTINGS, sleep=msgspec.structs.replace(SETTINGS.sleep, threshold=0.5)))
    new = make_fact("Dee Falk", "lives in", "Lima")
    engine.facts[new.id] = new
    tell(store, engine, [new])
    slept(store, engine)
    assert len(engine.script.trained) == 3 + 1
    assert store.ledger().entries[new.id].stage == 1


def test_work_of_another_release_is_not_used(store: Store, engine: ScriptedEngine) -> None:
    for release in ("0.1", "0.2", "0.2"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(night, "__version__", release)
            cut(patch, "validate", Power(), after=False)
            with pytest.raises(Power):
                slept(store, engine)
    assert len(engine.script.trained) == 2


def test_killed_right_behind_maintenance_another_adapter_can_still_be_tried(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([GOOD, Health(0.0, 0.0, 0.9, 1.0), GOOD])
    monkeypatch.setattr(steps, "measured", lambda *given: next(measured))
    maintain, put = pipeline.WORK["maintain"], Workroom.put

    def failing(room: Workroom, name: str, data: bytes) -> None:
        put(room, name, data)
        if name in (STATE, MENDED):
            raise Power

    def last_step(night: Night, state: State) -> Done:
        patch.setattr(Workroom, "put", failing)
        return maintain(night, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pipeline.WORK, "maintain", last_step)
        with pytest.raises(Power):
            slept(store, engine, STRICT)
    assert slept(store, engine, STRICT).result == "done"
    assert engine.script.efforts == [0, 1]


def test_damaged_work_is_as_good_as_none(store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut(patch, "scale", Power(), after=False)
        with pytest.raises(Power):
            slept(store, engine)
    work = [path for path in (store.path / "sleep").iterdir() if path.name not in ("last", "state", "mended")]
    assert len(work) == 2  # the adapter, whole and beside its edits
    for path in work:
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    assert verify(store.path).findings == ()
    assert slept(store, engine).result == "done"
    assert len(engine.script.trained) == 2


def test_out_of_time_the_work_is_kept(store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    head = store.head()
    clock = iter(range(10_000))
    monkeypatch.setattr(pipeline, "monotonic", lambda: float(next(clock)))
    nights: list[Slept] = []
    while not nights or nights[-1].result == "interrupted":
        assert store.head() == head
        nights.append(slept(store, engine, max_time=12.0))
        assert len(nights) < 40
    assert nights[-1].result == "done"
    assert len(nights) > 2
    assert stages(store) == [1, 1, 1, 1]


def test_gc_and_verify_pass_over_the_work_of_a_sleep(store: Store, engine: ScriptedEngine) -> None:
    with pytest.MonkeyPatch.context() as patch:
        cut(patch, "validate", Power(), after=False)
        with pytest.raises(Power):
            slept(store, engine)
    report = verify(store.path)
    assert (report.findings, report.notes) == ((), ())
    with store.writer(command="gc") as writer:
        assert writer.gc().objects == ()
    assert slept(store, engine).result == "done"
    assert len(engine.script.trained) == 1


def _sleep_and_die(store: Path, engine: ScriptedEngine, after: float) -> int:
    """Sleeps in another process and kills it after so many seconds; its exit code where it was done before."""
    child = os.fork()
    if not child:
        try:
            slept(Store.open(store), engine)
        finally:
            os._exit(0)
    begun = time.monotonic()
    while time.monotonic() - begun < after:
        if os.waitpid(child, os.WNOHANG)[0]:
            return 0
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL


@pytest.mark.parametrize("seed", range(5))
def test_killed_at_random_moments_the_memory_is_the_one_before_or_after(
    store: Store, engine: ScriptedEngine, seed: int
) -> None:
    rng = random.Random(seed)
    begun = time.monotonic()
    slept(store, engine)
    lasts = time.monotonic() - begun
    first = store.head()
    after: dict[str, str] = {}
    kills = 0
    while kills < 10:
        before = store.head()
        code = _sleep_and_die(store.path, engine, rng.uniform(0.0, 1.1) * lasts)
        kills += code != 0
        now = store.head()
        assert verify(store.path).findings == ()
        if now.id != before.id:
            assert after.setdefault(before.composition, now.composition) == now.composition
        if not now.deltas:  # all the way: begin again
            with store.writer(command="rollback") as writer:
                writer.rollback(first.id)
    while store.head().deltas:
        slept(store, engine)
    assert stages(store) == [3, 3, 3, 3]


def test_what_goes_wrong_after_the_commit_does_not_undo_it(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, clear = store.head(), Workroom.clear

    def full(room: Workroom) -> None:
        if store.head() != head:
            raise MemctlError("cannot remove sleep/state: input/output error")
        clear(room)

    monkeypatch.setattr(Workroom, "clear", full)
    assert slept(store, engine).result == "done"
    last = store.workroom.last_sleep()
    assert last is not None
    assert (last.result, last.exit_code, last.snapshot) == ("done", 0, store.head().id)
    monkeypatch.undo()


def test_stopped_after_the_commit_the_sleep_was_done(
    store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, clear = store.head(), Workroom.clear

    def stopping(room: Workroom) -> None:
        if store.head() != head:
            raise Stopped(143)
        clear(room)

    with monkeypatch.context() as patch:
        patch.setattr(Workroom, "clear", stopping)
        with pytest.raises(Stopped):
            slept(store, engine)
    last = store.workroom.last_sleep()
    assert last is not None
    assert (last.result, last.exit_code, last.slept) == ("done", 143, last.at)


def test_a_step_that_no_time_was_enough_for_is_named(store: Store, engine: ScriptedEngine) -> None:
    nights = [slept(store, engine, max_time=-1.0) for _ in range(2)]
    assert {night.reason for night in nights} == {
        "out of time in step 1 of 8, health, which takes longer than there was: give more --max-time"
    }
