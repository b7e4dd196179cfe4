"""Writers queue, readers never wait, nothing is lost."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from store_examples import build, tell_one, told

from memctl.errors import StoreLocked
from memctl.store.store import Store
from memctl.store.verify import verify

PROCESSES = 8
COMMITS = 6
FORK = multiprocessing.get_context("fork")


def _tell_many(path: Path, first: int) -> None:
    for number in range(first, first + COMMITS):
        store = Store.open(path)
        tell_one(store, number, wait=60)
        store.journal.append({"number": number})


def test_no_commit_of_eight_processes_is_lost(tmp_path: Path) -> None:
    store = build(tmp_path / "store", 0)
    workers = [FORK.Process(target=_tell_many, args=(store.path, 100 * n)) for n in range(PROCESSES)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    numbers = {100 * n + i for n in range(PROCESSES) for i in range(COMMITS)}
    assert told(store) == {f"Person {number}" for number in numbers}
    assert {record["number"] for record in store.journal.read()} == numbers
    assert len(list(store.log())) == PROCESSES * COMMITS + 1
    report = verify(store.path)
    assert (report.findings, report.notes) == ((), ())


@pytest.mark.parametrize("attempts", [0, 5])
def test_readers_survive_commits_and_gc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts: int) -> None:
    monkeypatch.setattr("memctl.store.verify.ATTEMPTS", attempts)  # how often before it needs the lock
    store = build(tmp_path / "store", 3)
    done = threading.Event()
    reads = 0

    def write() -> None:
        for number in range(10, 600):
            tell_one(store, number, wait=10)
            with store.writer(wait=10) as writer:
                writer.gc(keep_last=1)
            if number >= 60 and reads > 3:  # however threads are scheduled, reads and writes do meet
                break
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        while not done.is_set():
            seen = told(store)
            assert {"Person 0", "Person 1", "Person 2"} <= seen
            assert store.head().command == "inject"
            times = [snapshot.time for snapshot in store.log()]
            assert times == sorted(times, reverse=True)
            assert verify(store.path).findings == ()
            reads += 1
    finally:
        writer.join()
    assert reads > 3


def test_refusal_names_the_holder(tmp_path: Path) -> None:
    store = build(tmp_path / "store", 1)
    with store.writer(command="sleep --max-time 1h"):
        with pytest.raises(StoreLocked) as caught, Store.open(store.path).writer():
            pass
        assert caught.value.exit_code == 11
        for part in (str(os.getpid()), "sleep --max-time 1h", time.strftime("%Y-", time.gmtime())):
            assert part in caught.value.message
        assert "--lock-wait" in caught.value.hint
        assert told(store) == {"Person 0"}
        store.journal.append({"turn": "said while another process sleeps"})


def test_a_writer_waits_as_long_as_it_is_told(tmp_path: Path) -> None:
    store = build(tmp_path / "store", 0)
    entered = threading.Event()

    def hold() -> None:
        with store.writer():
            entered.set()
            time.sleep(0.3)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait()
    with pytest.raises(StoreLocked, match=r"after 0.05 s"), store.writer(wait=0.05):
        pass
    with store.writer(wait=10):
        pass
    holder.join()


def _hold_forever(path: Path) -> None:
    with Store.open(path).writer(command="hang"):
        (path.parent / "ready").touch()
        time.sleep(60)


def test_a_killed_holder_blocks_nobody(tmp_path: Path) -> None:
    store = build(tmp_path / "store", 0)
    holder = FORK.Process(target=_hold_forever, args=(store.path,))
    holder.start()
    while not (tmp_path / "ready").exists():
        time.sleep(0.01)
    assert holder.pid
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    tell_one(store, 1)
    assert verify(store.path).findings == ()
