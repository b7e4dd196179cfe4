"""The folder `sleep/`: what a sleep that is not done yet has worked out, and how the last one ended.

It is no part of the memory: nothing in it is needed to answer, and a file of it that is damaged is as good as none. Every file
begins with the SHA-256 of the rest. Only who holds the store's lock writes here.
"""

import msgspec

from memctl.store import atomic
from memctl.store.encoding import sha256
from memctl.store.layout import Layout

DIGITS = 64
LAST = "last"
"""Name of what outlasts a sleep: how the last one ended."""


class LastSleep(msgspec.Struct, frozen=True):
    """How the last sleep ended.

    Attributes:
        at: ISO 8601, UTC.
        result: `done`, `noop`, `refused`, `interrupted` or `failed`.
        snapshot: Id of the snapshot that it left HEAD at.
        detail: What a gate or an error said.
        slept: When a sleep last went through all its steps and all facts; what came since did not.
    """

    at: str
    exit_code: int
    result: str
    snapshot: str = ""
    detail: str = ""
    slept: str = ""


class Workroom:
    """The working folder of one store's sleeps."""

    def __init__(self, layout: Layout) -> None:
        self._folder = layout.sleep

    def put(self, name: str, data: bytes) -> None:
        """Keeps data under a name, in place of what was there, durably and at once."""
        atomic.make_directory(self._folder)
        atomic.replace(self._folder / name, f"{sha256(data)}\n".encode() + data)

    def get(self, name: str) -> bytes | None:
        """What is kept under a name; None where there is nothing, or not what was put there."""
        try:
            whole = (self._folder / name).read_bytes()
        except OSError:
            return None
        data = whole[DIGITS + 1 :]
        return data if whole[: DIGITS + 1] == f"{sha256(data)}\n".encode() else None

    def clear(self) -> None:
        """Removes the work; how the last sleep ended stays."""
        if self._folder.is_dir():
            atomic.remove(path for path in sorted(self._folder.iterdir()) if path.name != LAST)

    def last_sleep(self) -> LastSleep | None:
        """How the last sleep ended; None where nobody knows."""
        data = self.get(LAST)
        try:
            return None if data is None else msgspec.json.decode(data, type=LastSleep)
        except msgspec.MsgspecError:
            return None

    def ended(self, last: LastSleep) -> None:
        """Notes how a sleep has ended; one that did not go through keeps the time of the last that did."""
        before = self.last_sleep()
        if not last.slept and before is not None:
            last = msgspec.structs.replace(last, slept=before.slept)
        self.put(LAST, msgspec.json.encode(last))
