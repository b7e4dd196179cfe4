"""A change is there entirely or not at all, whatever fails or kills it, and whenever."""

import errno
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from store_examples import BASE, build, tell_one, told
from store_faults import CountingOs, count_writes, run_failing, run_killed

from memctl.errors import DiskFull, MemctlError, StoreNotFound, StoreNotWritable
from memctl.store import atomic
from memctl.store.store import Store
from memctl.store.verify import verify

CODES = {errno.ENOSPC: DiskFull, errno.EIO: MemctlError, errno.EACCES: StoreNotWritable}
Command = Callable[[Path], object]


def _commit(path: Path) -> None:
    tell_one(Store.open(path), 9)


def _rollback(path: Path) -> None:
    with Store.open(path).writer(command="rollback") as writer:
        writer.rollback("HEAD~2")


def _tag(path: Path) -> None:
    with Store.open(path).writer(command="tag") as writer:
        writer.tag("v2", "HEAD~1")


def _gc(path: Path) -> None:
    with Store.open(path).writer(command="gc") as writer:
        writer.gc(keep_last=2, keep_tag=False)


def _journal(path: Path) -> None:
    Store.open(path).journal.append({"turn": "second"})


COMMANDS: dict[str, Command] = {
    "commit": _commit,
    "rollback": _rollback,
    "tag": _tag,
    "gc": _gc,
    "journal": _journal,
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = build(tmp_path_factory.mktemp("faults") / "store", 4)
    with store.writer() as writer:
        writer.tag("v1", "HEAD~3")
    store.journal.append({"turn": "first"})
    return store.path


@pytest.fixture
def fresh(original: Path, tmp_path: Path) -> Callable[[], Path]:
    """Gives a new copy of one store each time it is called."""

    def copy() -> Path:
        shutil.rmtree(tmp_path / "copy", ignore_errors=True)
        shutil.copytree(original, tmp_path / "copy")
        return tmp_path / "copy"

    return copy


def view(path: Path) -> dict[str, Any]:
    """What a user can see of a store; new snapshots by content, since their ids hold the time."""
    store = Store.open(path)
    return {
        "log": [(snapshot.message, snapshot.composition) for snapshot in store.log()],
        "ledger": store.ledger(),
        "tags": store.tags(),
        "journal": store.journal.read(),
    }


def assert_before_or_after(path: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Each part of the view is the old or the new one, and commands go on without repair."""
    report = verify(path)
    assert report.findings == ()
    assert report.last_good == Store.open(path).head().id
    seen = view(path)
    for part in seen:
        assert seen[part] in (before[part], after[part]), part
    tell_one(Store.open(path), 11)
    assert "Person 11" in told(Store.open(path))
    Store.open(path).journal.append({"turn": "next"})
    with Store.open(path).writer() as writer:
        writer.gc()
    report = verify(path)
    assert report.findings == ()
    assert report.notes == ()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("code", "forever"),
    [(errno.ENOSPC, False), (errno.EIO, False), (errno.EACCES, False), (errno.ENOSPC, True)],
    ids=["ENOSPC", "EIO", "EACCES", "ENOSPC from then on"],
)
def test_every_write_that_fails_is_a_typed_error_and_leaves_before_or_after(
    name: str, code: int, forever: bool, fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = COMMANDS[name]
    path = fresh()
    before = view(path)
    writes = count_writes(monkeypatch, lambda: command(path))
    after = view(path)
    assert after != before
    for at in range(1, writes + 1):
        path = fresh()
        head = Store.open(path).head().id
        error = run_failing(monkeypatch, partial(command, path), at, code, forever=forever)
        if error is None:  # only the note about the lock's holder may be lost without a word
            assert view(path) == after
        else:
            moved = Store.open(path).head().id
            assert type(error) is CODES[code]
            assert str(path) in error.message
            assert (moved != head) == (f"stands as snapshot {moved[:12]}" in error.message)
        assert_before_or_after(path, before, after)


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_every_write_leaves_before_or_after(name: str, fresh: Callable[[], Path]) -> None:
    command = COMMANDS[name]
    path = fresh()
    before = view(path)
    command(path)
    after = view(path)
    at, alive = 0, True
    while alive:
        at += 1
        path = fresh()
        alive = run_killed(partial(command, path), at)
        assert_before_or_after(path, before, after)
    assert at > 10


@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_init_that_fails_at_any_write_can_be_repeated(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writes = count_writes(monkeypatch, lambda: Store.create(tmp_path / "whole", BASE))
    for at in range(1, writes + 1):
        path = tmp_path / f"store{at}"
        error = run_failing(monkeypatch, partial(Store.create, path, BASE), at, code)
        assert error is None or type(error) is CODES[code]
        _assert_init_can_go_on(path)


def test_init_killed_at_any_write_can_be_repeated(tmp_path: Path) -> None:
    at, alive = 0, True
    while alive:
        at += 1
        path = tmp_path / f"store{at}"
        alive = run_killed(partial(Store.create, path, BASE), at)
        _assert_init_can_go_on(path)
    assert at > 40


def _assert_init_can_go_on(path: Path) -> None:
    """There is no store and `init` makes one, or there is a whole one."""
    try:
        store = Store.open(path)
    except StoreNotFound:
        with pytest.raises(StoreNotFound):
            verify(path)
        store = Store.create(path, BASE)
    assert verify(path).findings == ()
    assert [snapshot.command for snapshot in store.log()] == ["init"]
    tell_one(store, 1)
    assert verify(path).findings == ()


def test_interrupted_last_steps_in_a_row_need_no_repair(fresh: Callable[[], Path]) -> None:
    path = fresh()
    for number in (21, 22, 23):
        before = (path / "ledger.json").read_bytes()
        at = 0
        while f"Person {number}" not in told(Store.open(path)):  # the first kill at which HEAD has moved
            at += 1
            run_killed(lambda number=number: tell_one(Store.open(path), number), at)
        assert verify(path).findings == ()
        assert (path / "ledger.json").read_bytes() == before or number > 21
    tell_one(Store.open(path), 24)
    store = Store.open(path)
    assert told(store) >= {f"Person {number}" for number in (21, 22, 23, 24)}
    assert (path / "ledger.json").read_bytes() == store.read_object(store.head().ledger)


def test_gc_makes_room_on_a_full_disk(fresh: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = fresh()
    with Store.open(path).writer() as writer:
        sha = writer.put(b"of a sleep that was killed", ".safetensors")
    (path / "objects" / sha[:2] / f".{sha}.1-2.tmp").write_bytes(b"half")
    interrupted = Store.open(path)
    (path / "ledger.json").write_bytes(interrupted.read_object(interrupted.snapshot("HEAD~1").ledger))

    def command() -> None:
        with Store.open(path).writer() as writer:
            assert writer.gc().objects == (sha,)

    def fault(number: int, name: str, arguments: tuple[Any, ...]) -> None:
        if name == "write":
            raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "os", CountingOs(fault))
        command()
    report = verify(path)
    assert (report.findings, [note.path for note in report.notes]) == ((), ["ledger.json"])
    tell_one(Store.open(path), 9)
    assert verify(path).notes == ()
