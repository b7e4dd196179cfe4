"""gc removes what nothing reaches and what retention lets go, and a gap in the history is not a loss."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from store_examples import BASE, build, tell_one, told

from memctl.errors import DamagedStore, UsageError
from memctl.store.store import Store
from memctl.store.verify import verify


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = build(tmp_path / "store", 9)
    with store.writer() as writer:
        writer.tag("v1", "HEAD~6")
    return store


def messages(store: Store) -> list[str]:
    return [snapshot.message.split(" lives")[0] for snapshot in store.log()]


def assert_clean(store: Store) -> None:
    report = verify(store.path)
    assert (report.findings, report.notes) == ((), ())


def test_gc_without_retention_keeps_the_whole_history(store: Store) -> None:
    with store.writer() as writer:
        orphan = writer.put(b"nobody's", ".safetensors")
    with store.writer() as writer:
        pending = writer.put(b"of the commit to come", ".safetensors")
        report = writer.gc()
        assert store.read_object(pending)
    assert (report.objects, report.snapshots, report.bytes) == ((orphan,), (), len(b"nobody's"))
    assert len(messages(store)) == 10


def test_keep_last_leaves_a_history_without_a_hole_in_it(store: Store) -> None:
    everything = list(store.log())
    with store.writer() as writer:
        report = writer.gc(keep_last=3)
    assert messages(store) == ["Person 8", "Person 7", "Person 6", "Person 2"]
    assert set(report.snapshots) == {snapshot.id for snapshot in everything} - {s.id for s in store.log()}
    assert store.snapshot("HEAD~3") == store.snapshot("v1")
    assert told(store) == {f"Person {n}" for n in range(9)}
    assert_clean(store)
    with pytest.raises(UsageError):
        store.snapshot(report.snapshots[0])
    with pytest.raises(UsageError):
        store.snapshot("HEAD~4")


def test_gc_again_and_again_after_new_commits(store: Store) -> None:
    for number in range(20, 26):
        tell_one(store, number)
        with store.writer() as writer:
            writer.gc(keep_last=2)
        assert messages(store)[0] == f"Person {number}"
        assert messages(store)[-1] == "Person 2"
        assert len(messages(store)) == 3
        assert_clean(store)
    with store.writer() as writer:
        assert writer.gc(keep_last=2).snapshots == ()
        writer.rollback("HEAD~1")
    assert "Person 25" not in told(store)
    assert_clean(store)


def test_tags_go_with_their_snapshots_unless_kept(store: Store) -> None:
    with store.writer() as writer:
        report = writer.gc(keep_last=1, keep_tag=False)
    assert (report.tags, store.tags()) == (("v1",), {})
    assert messages(store) == ["Person 8"]
    assert_clean(store)


def test_objects_only_older_snapshots_had_are_removed(store: Store) -> None:
    with store.writer() as writer:
        writer.rollback("v1")
        gone = store.snapshot("HEAD~1").deltas[-1].object
        report = writer.gc(keep_last=1)
    assert gone in report.objects
    with pytest.raises(DamagedStore, match=gone):
        store.read_object(gone)
    assert_clean(store)


def test_dry_run_says_the_same_and_does_nothing(store: Store) -> None:
    before = {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()}
    plan = store.plan_gc(keep_last=2)
    assert {path: path.read_bytes() for path in store.path.rglob("*") if path.is_file()} == before
    with store.writer() as writer:
        done = writer.gc(keep_last=2)
    assert plan.dry_run
    assert (plan.snapshots, plan.objects, plan.bytes) == (done.snapshots, done.objects, done.bytes)
    assert done.bytes > 0


def test_keep_daily_keeps_the_newest_of_each_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = datetime(2025, 3, 1, tzinfo=UTC)

    def at(hours: int) -> str:
        return (start + timedelta(hours=hours)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    monkeypatch.setattr("memctl.store.store.now", lambda: at(0))
    store = Store.create(tmp_path / "store", BASE)
    for number, hours in enumerate((1, 30, 31, 50, 51, 52, 80)):
        monkeypatch.setattr("memctl.store.writer.now", lambda hours=hours: at(hours))
        tell_one(store, number)
    with store.writer() as writer:
        writer.gc(keep_daily=3)
    assert messages(store) == ["Person 6", "Person 5", "Person 2"]
    assert_clean(store)


@pytest.mark.parametrize("counts", [{"keep_last": 0}, {"keep_daily": -1}])
def test_a_retention_that_keeps_nothing_is_refused(store: Store, counts: dict[str, int]) -> None:
    with store.writer() as writer, pytest.raises(UsageError):
        writer.gc(**counts)
    assert len(messages(store)) == 10
