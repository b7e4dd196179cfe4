"""Every way to name a snapshot, and what is said where a name fits none or several."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from store_examples import BASE, tell_one

from memctl.errors import UsageError
from memctl.store.store import Store

NOON = datetime(2025, 6, 10, 12, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """Five snapshots, one a day at noon, the last on 2025-06-10."""

    def at(day: int) -> str:
        return (NOON - timedelta(days=4 - day)).isoformat(timespec="milliseconds").replace("+00:00", "Z")

    monkeypatch.setattr("memctl.store.store.now", lambda: at(0))
    store = Store.create(tmp_path / "store", BASE)
    for day in range(1, 5):
        monkeypatch.setattr("memctl.store.writer.now", lambda day=day: at(day))
        tell_one(store, day)
    with store.writer() as writer:
        writer.tag("v1", "HEAD~3")
    return store


@pytest.mark.parametrize(
    ("revision", "back"),
    [
        ("HEAD", 0),
        (" HEAD ", 0),
        ("HEAD~", 1),
        ("HEAD~0", 0),
        ("HEAD~2", 2),
        ("HEAD~1~2", 3),
        ("HEAD~~", 2),
        ("v1", 3),
        ("v1~1", 4),
        ("@{2025-06-10}", 1),
        ("@{2025-06-10T12:00}", 0),
        ("@{2025-06-08T13:00+00:00}", 2),
        ("@{2025-06-08T13:00+02:00}", 3),
        ("@{2025-06-08T12:00:00.000Z}~1", 3),
        ("@{1m}", 0),
    ],
)
def test_revisions(store: Store, revision: str, back: int) -> None:
    assert store.snapshot(revision) == list(store.log())[back]


@pytest.mark.parametrize(("ago", "back"), [("90m", 1), ("2h", 1), ("3d", 3), ("0w", 0)])
def test_spans_count_back_from_now(store: Store, monkeypatch: pytest.MonkeyPatch, ago: str, back: int) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return NOON + timedelta(minutes=30)

    monkeypatch.setattr("memctl.store.revisions.datetime", Clock)
    assert store.snapshot(f"@{{{ago}}}") == list(store.log())[back]


def test_ids_by_unique_prefix(store: Store) -> None:
    for snapshot in store.log():
        assert store.snapshot(snapshot.id) == snapshot
        assert store.snapshot(snapshot.id[:10]) == snapshot
        assert next(store.log(snapshot.id[:10])) == snapshot


def test_an_ambiguous_prefix_lists_the_candidates(store: Store) -> None:
    head = store.head().id
    twin = head[:20] + "0" * 44
    (store.path / "snapshots" / f"{twin}.json").touch()
    with pytest.raises(UsageError, match=head[:12]):
        store.snapshot(head[:10])
    assert store.snapshot(head).id == head


@pytest.mark.parametrize(
    "revision",
    [
        "",
        "HEAD~5",
        "HEAD~99999",
        "abc",
        "nosuchtag",
        "0000",
        "@{",
        "@{yesterday}",
        "@{9w9d}",
        "@{2001-01-01}",
        "HEAD^",
        "a b",
        "@{99999999999999d}",
        "~1",
        "HEAD~x",
        "@",
        "v1~9",
        "../HEAD",
        "*",
        "[0-9]*",
    ],
)
def test_what_names_nothing_is_a_usage_error_with_a_hint(store: Store, revision: str) -> None:
    with pytest.raises(UsageError) as caught:
        store.snapshot(revision)
    assert caught.value.hint
