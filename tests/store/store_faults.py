"""Makes the n-th write operation of a block fail, or kills the process at it.

The store writes through the functions of `os` that `memctl.store.atomic` calls; a stand-in for its `os` counts
them. A killed write is cut in half first, as the kernel may do.
"""

import os
from collections.abc import Callable
from typing import Any

import pytest

from memctl.errors import MemctlError
from memctl.store import atomic

WRITES = ("open", "write", "fsync", "replace", "unlink", "mkdir", "fchmod", "chmod", "ftruncate", "lseek")
KILLED = 77


class CountingOs:
    """`os`, but before every write operation `fault` gets its number (from 1), name and arguments."""

    def __init__(self, fault: Callable[[int, str, tuple[Any, ...]], None]) -> None:
        self.count = 0
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        original = getattr(os, name)
        if name not in WRITES:
            return original

        def counted(*arguments: Any, **options: Any) -> Any:
            self.count += 1
            self._fault(self.count, name, arguments)
            return original(*arguments, **options)

        return counted


def count_writes(monkeypatch: pytest.MonkeyPatch, command: Callable[[], object]) -> int:
    """How many write operations a command makes."""
    counting = CountingOs(lambda *_: None)
    with monkeypatch.context() as patch:
        patch.setattr(atomic, "os", counting)
        command()
    return counting.count


def run_failing(
    monkeypatch: pytest.MonkeyPatch, command: Callable[[], object], at: int, code: int, *, forever: bool = False
) -> MemctlError | None:
    """Runs a command whose write operation `at` (and all later ones, if `forever`) raises `OSError(code)`.

    Returns the error that the command ended in, if any; any but memctl's own is a failed test.
    """

    def fault(number: int, name: str, _: tuple[Any, ...]) -> None:
        if number == at or (forever and number > at):
            raise OSError(code, os.strerror(code), name)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "os", CountingOs(fault))
        try:
            command()
        except MemctlError as error:
            return error
    return None


def run_killed(command: Callable[[], object], at: int) -> bool:
    """Runs a command in a fork that dies at write operation `at`; returns whether it came that far."""
    child = os.fork()
    if child == 0:
        status = 1
        try:

            def fault(number: int, name: str, arguments: tuple[Any, ...]) -> None:
                if number == at:
                    if name == "write":
                        os.write(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
                    os._exit(KILLED)

            atomic.os = CountingOs(fault)  # type: ignore[assignment]
            command()
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, KILLED)
    return code == KILLED
