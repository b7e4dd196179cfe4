"""One writer at a time: a kernel lock that dies with its process, and a note beside it of who holds it."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from memctl.errors import MemctlError, StoreLocked
from memctl.store import atomic
from memctl.store.encoding import encode


class Holder(msgspec.Struct, frozen=True):
    """Who holds a lock: process id, host name, command line, and when it took the lock (ISO 8601, UTC)."""

    pid: int
    host: str
    command: str
    started: str


def now() -> str:
    """The time: ISO 8601, UTC, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def hold(path: Path, wait: float = 0.0, command: str = "") -> Iterator[None]:
    """Holds the lock at `path` for the block, after waiting for it up to `wait` seconds.

    Raises:
        StoreLocked: Another process has it still; the message names the process, host, command and start.
        StoreNotWritable: The lock file cannot be opened.
    """
    from filelock import FileLock, Timeout  # 40 ms that readers need not spend

    lock = FileLock(path, fallback_to_soft=False)
    with atomic.naming("lock", path):
        try:
            lock.acquire(timeout=max(wait, 0.0))
        except Timeout:
            raise _refusal(path, wait) from None
    note = _note(path)
    try:
        # The note informs and nothing depends on it: a full disk must not keep `gc` from making room.
        with suppress(MemctlError):
            atomic.replace(note, encode(Holder(os.getpid(), socket.gethostname(), command or "memctl", now())))
        yield
    finally:
        with suppress(MemctlError):
            atomic.remove([note])
        lock.release()


def holder(path: Path) -> Holder | None:
    """Who holds the lock at `path`, as far as the note beside it can be believed."""
    try:
        found = msgspec.json.decode(_note(path).read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None
    return None if found.host == socket.gethostname() and not _alive(found.pid) else found


def _note(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _refusal(path: Path, wait: float) -> StoreLocked:
    found = holder(path)
    who = "another process"
    if found:
        who = f"process {found.pid} on {found.host} ({found.command}), since {found.started}"
    waited = f" after {wait:g} s" if wait > 0 else ""
    return StoreLocked(f"{path.parent} is locked by {who}{waited}", "try again later, or wait with `--lock-wait SECONDS`")
