"""How far a long job is: a bar on a terminal; elsewhere a line every half minute, for a readable log."""

import sys
import time
from typing import Any

INTERVAL = 30.0
"""Seconds between two lines where there is no terminal."""


class Meter:
    """Shows on stderr what is being done, how far it is, and how long it will still take.

    Args:
        shown: False keeps it silent.
        verbose: Without a terminal, one line as soon as something else is being done.
    """

    def __init__(self, *, shown: bool, verbose: bool) -> None:
        self._shown = shown
        self._verbose = verbose
        self._bar: Any = None
        self._what = ""
        self._task: Any = None
        self._began = 0.0
        self._said = time.monotonic()

    def update(self, what: str, done: int, total: int) -> None:
        """Steps done of all; a total of 0 means that nobody knows how many there are."""
        if not self._shown:
            return
        changed = what != self._what
        if changed:
            self._what, self._began = what, time.monotonic()
        if sys.stderr.isatty():
            self._draw(what, done, total, changed)
        else:
            self._say(what, done, total, changed)

    def hide(self) -> None:
        """Takes the bar off the screen until the next update."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _draw(self, what: str, done: int, total: int, changed: bool) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=Console(file=sys.stderr), transient=True)
            self._bar.start()
            changed = True
        if changed:
            for task in self._bar.task_ids:
                self._bar.remove_task(task)
            self._task = self._bar.add_task(what, total=total or None)
        self._bar.update(self._task, completed=done, total=total or None)

    def _say(self, what: str, done: int, total: int, changed: bool) -> None:
        now = time.monotonic()
        if now - self._said < INTERVAL and not (self._verbose and changed):
            return
        self._said = now
        passed = now - self._began
        left = f", about {passed / done * (total - done):.0f} s left" if passed and 0 < done < total else ""
        sys.stderr.write(f"{what}: {done} of {total}{left}\n" if total else f"{what}\n")
        sys.stderr.flush()
