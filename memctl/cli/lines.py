"""Batch input: one record a line, each read by itself, so that a bad line has a number and harms no other."""

import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import BinaryIO, TypeVar

from memctl.errors import UsageError

MAX_LINE = 1 << 20
"""Longest line in bytes."""

BOM = b"\xef\xbb\xbf"

T = TypeVar("T")


@dataclass(frozen=True)
class BadLine:
    """A line that could not be read: its number, from 1, and why."""

    line: int
    error: UsageError


def read_lines(stream: BinaryIO, parse: Callable[[str, int], T], begun: Sequence[bytes] = ()) -> Iterator[T | BadLine]:
    """What `parse` makes of each line and its number. Passes over empty lines; CRLF and a BOM do no harm.

    Args:
        begun: The stream's first lines, where somebody has read them.
    """
    for number, line in enumerate(chain(begun, lines_of(stream)), start=1):
        try:
            if text := _text(line.removeprefix(BOM) if number == 1 else line, stream):
                yield parse(text, number)
        except UsageError as error:
            yield BadLine(number, error)


def lines_of(stream: BinaryIO) -> Iterator[bytes]:
    """Lines as they come, one that is too long cut off behind `MAX_LINE`."""
    return iter(lambda: stream.readline(MAX_LINE + 1), b"")


def _text(line: bytes, stream: BinaryIO) -> str:
    if len(line) > MAX_LINE and not line.endswith(b"\n"):
        while rest := stream.readline(MAX_LINE):
            if rest.endswith(b"\n"):
                break
        raise UsageError(f"the line is longer than {MAX_LINE:,} bytes", "one record is one short line")
    try:
        return line.decode().strip()
    except UnicodeDecodeError as error:
        raise UsageError(f"no UTF-8: byte {line[error.start]:#x} at {error.start}", "convert the input") from error


def nobody_pipes() -> bool:
    """Whether standard input can give no records: it is a terminal, or closed."""
    return sys.stdin is None or sys.stdin.isatty()


def _standard_input() -> BinaryIO:
    """Standard input under a descriptor of its own: a thread that waits for it must not hold what the interpreter closes at
    its end, for there Python would abort."""
    try:
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    except io.UnsupportedOperation:  # no file, but somebody's buffer
        return sys.stdin.buffer


@contextmanager
def opened(name: str, command: str) -> Iterator[BinaryIO]:
    """The file of that name, or standard input for `-`.

    Raises:
        UsageError: The file cannot be read, or standard input is a terminal.
    """
    if name == "-":
        if nobody_pipes():
            raise UsageError("nothing to read: standard input is a terminal or closed", f"memctl {command} --help")
        with _standard_input() as stream:
            yield stream
        return
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(Path(name).open("rb"))
        except OSError as error:
            raise UsageError(f"{name} cannot be read: {error.strerror}", "check its name and mode") from error
        yield stream
