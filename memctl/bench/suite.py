"""What a suite is to the rest of the program, and the run that one measures its cells in."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from memctl.backends.protocol import Backend
from memctl.bench.plots import Panel
from memctl.bench.report import Key
from memctl.progress import Progress
from memctl.settings import Settings


@dataclass(frozen=True)
class Planned:
    """A cell to be measured, and how many steps that takes, for the time that is left."""

    cell: Key
    steps: int


class Suite(Protocol):
    """One suite with its config, made before a model is loaded, so that what is wrong is said at once."""

    title: str

    @property
    def about(self) -> str:
        """What it does, for people."""

    def setup(self) -> dict[str, Any]:
        """Its config, and what has to be said of its data."""

    def plan(self) -> list[Planned]:
        """All cells, in the order in which `run` measures them."""

    def run(self, bench: "Bench") -> None:
        """Measures the cells that are missing; records each as soon as it is measured."""

    def panels(self) -> list[Panel]:
        """The plots."""


@dataclass
class Bench:
    """A run of a suite.

    Attributes:
        missing: The cells that are still to be measured, in order.
        work: Folder for stores that live as long as the run.
        keep: Takes a measured cell.
    """

    backend: Backend
    settings: Settings
    work: Path
    name: str
    missing: Sequence[Planned]
    keep: Callable[[Key, dict[str, float]], None]
    progress: Progress
    _done: int = 0
    _measured: int = field(default=0)

    def lacks(self, cell: Key) -> bool:
        """Whether a cell is still to be measured."""
        return any(planned.cell == cell for planned in self.missing)

    def step(self) -> None:
        """One step of the cell that is being measured."""
        self._done = min(self._done + 1, self._end() - 1)
        self._say()

    def record(self, cell: Key, values: dict[str, float]) -> None:
        """A cell is measured."""
        self.keep(cell, values)
        self._done = self._end()
        self._measured += 1
        self._say()

    def _end(self) -> int:
        """Steps when the cell that is being measured is done."""
        return sum(planned.steps for planned in self.missing[: self._measured + 1])

    def _say(self) -> None:
        self.progress(f"bench {self.name}", self._done, sum(planned.steps for planned in self.missing))
