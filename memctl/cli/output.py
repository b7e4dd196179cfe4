"""The one output sink: results on stdout for people, as NDJSON, or as bare ids; everything else on stderr.

rich is imported only where a terminal will show what it does.
"""

import json
import os
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TextIO

from memctl.cli.meter import Meter
from memctl.errors import MemctlError, NonFinite, OutputLost

Mode = Literal["human", "json", "quiet"]
Record = Mapping[str, Any]

SCHEMA = 1
"""Version of the JSON records. Fields may be added to them, never changed."""


class Output:
    """Where a command's results go.

    Args:
        mode: `json` writes records, the last of which is the summary; `quiet` writes ids.
        verbose: Say on stderr what is being done, without a terminal too.
    """

    def __init__(self, mode: Mode = "human", *, verbose: bool = False) -> None:
        self.mode = mode
        self._verbose = verbose
        self._hushed = False
        self._meter = Meter(shown=mode != "quiet", verbose=verbose)

    def hush(self) -> None:
        """Tells people nothing but errors, unless they sit at a terminal or asked for more: cron mails what it reads."""
        self._hushed = not (self._verbose or _is_terminal(sys.stdout))

    def progress(self, what: str, done: int, total: int) -> None:
        """How far a long job is; a `Progress`."""
        if not self._hushed or _is_terminal(sys.stderr):
            self._meter.update(what, done, total)

    def record(self, type: str, record: Record, text: str, style: str = "") -> None:
        """One result: the record as JSON, its id, or the text in a style of rich."""
        if self.mode == "json":
            self._json(type, record)
        elif self.mode == "quiet":
            self._write(sys.stdout, f"{record['id']}\n" if "id" in record else "")
        else:
            self.text(text, style)

    def bare(self, text: str) -> None:
        """A line on stdout as it is, for results of quiet mode that have no id."""
        self._write(sys.stdout, f"{text}\n")

    def table(self, type: str, columns: Sequence[str], rows: Iterable[tuple[Record, Sequence[str]]]) -> None:
        """Many results of one kind: records, ids, or a table of their texts."""
        if self.mode == "human":
            self._columns(columns, [cells for _, cells in rows])
        else:
            for record, _ in rows:
                self.record(type, record, "")

    def text(self, text: str, style: str = "") -> None:
        """A text for people only, such as a heading; no result of its own."""
        if self.mode == "human" and not self._hushed:
            self._meter.hide()
            _show(sys.stdout, text, style)

    def summary(self, record: Record, text: str = "", style: str = "") -> None:
        """The last record; people get the text."""
        if self.mode == "json":
            self._json("summary", record)
        elif self.mode == "human" and text:
            self.text(text, style)

    def note(self, text: str) -> None:
        """Something worth knowing that is no result, on stderr."""
        if self.mode != "quiet":
            self._meter.hide()
            _show(sys.stderr, text, "dim")

    def error(self, error: MemctlError, **fields: Any) -> None:
        """What went wrong, on stderr; with JSON also as a record."""
        self._meter.hide()
        where = "".join(f"{name} {value}: " for name, value in fields.items())
        _show(sys.stderr, f"error: {where}{error.message}", "bold red")
        if error.hint:
            _show(sys.stderr, f"hint: {error.hint}", "yellow")
        if self.mode == "json" and not isinstance(error, OutputLost):
            self._json("error", {**fields, "message": error.message, "hint": error.hint, "error": _name(error)})

    def failure(self, error: MemctlError) -> int:
        """An error that ends the command; returns its exit code."""
        self.error(error)
        if not isinstance(error, OutputLost):
            self.summary({"result": "failed", "error": _name(error), "exit_code": error.exit_code})
        return error.exit_code

    def close(self) -> None:
        """Takes the progress bar off the screen."""
        self._meter.hide()

    def _json(self, type: str, record: Record) -> None:
        head = {"schema": SCHEMA, "type": type}
        try:
            # first in the line, and not to be replaced by a field that a user's record brought along
            line = json.dumps({**head, **record, **head}, ensure_ascii=False, allow_nan=False)
        except ValueError as error:
            raise NonFinite(f"a result is not a finite number: {record}", "memctl verify") from error
        self._write(sys.stdout, f"{line}\n")

    def _columns(self, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        self._meter.hide()
        if rows and _is_terminal(sys.stdout):
            from rich.table import Table
            from rich.text import Text

            table = Table(*columns, box=None, pad_edge=False, header_style="bold")
            for row in rows:
                table.add_row(*(Text(printable(cell), overflow="fold") for cell in row))
            _console(sys.stdout).print(table)
        elif rows:
            shown = [columns, *rows]
            widths = [max(len(row[place]) for row in shown) for place in range(len(columns))]
            for row in shown:
                line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
                self._write(sys.stdout, f"{line.rstrip()}\n")

    def _write(self, stream: TextIO, text: str) -> None:
        self._meter.hide()
        _put(stream, text)


def printable(text: str) -> str:
    """The text without what could steer a terminal: control characters other than line feed and tab."""
    return "".join("�" if unicodedata.category(c) == "Cc" and c not in "\n\t" else c for c in text)


def _show(stream: TextIO, text: str, style: str) -> None:
    if _is_terminal(stream):
        from rich.text import Text

        _console(stream).print(Text(printable(text), style=style), soft_wrap=True)
    else:
        _put(stream, f"{text}\n")


def _put(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        if stream is not sys.stderr:  # of which nobody could be told
            hint = "what the command changed stands: `memctl log`"
            raise OutputLost(f"the output cannot be written: {error.strerror}", hint) from error


def _is_terminal(stream: TextIO) -> bool:
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def _console(stream: TextIO) -> Any:
    from rich.console import Console

    return Console(file=stream, highlight=False)


def _name(error: MemctlError) -> str:
    return type(error).__name__
