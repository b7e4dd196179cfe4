"""A whole run of a suite: what is there already, what is missing, and the report, kept up to date with every cell."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock
import msgspec

from memctl.backends.protocol import Backend
from memctl.bench import report as reports
from memctl.bench.plots import draw
from memctl.bench.report import Cell, Key, Report, ReportFolder, Setup, finite, rows
from memctl.bench.suite import Bench, Suite
from memctl.errors import BackendMissing, UsageError
from memctl.models.cache import cache_dir
from memctl.models.source import find
from memctl.progress import Progress
from memctl.settings import NUMPY, Settings


@dataclass(frozen=True)
class Finished:
    """The report, and why there is no plot, if there is none."""

    report: Report
    plot: Path | None
    missing: BackendMissing | None


def run(
    suite: Suite,
    name: str,
    backend: Backend,
    settings: Settings,
    folder: ReportFolder,
    *,
    command: str,
    resume: bool,
    progress: Progress,
    measured: Callable[[Cell], None],
) -> Finished:
    """Measures what a report lacks, and completes it.

    Args:
        command: The command line; that of a report which goes on with the same config stays.
        resume: Go on with the report that is in the folder; further seeds and methods may be asked for.
        measured: Is told of every new cell.

    Raises:
        UsageError: The folder is somebody's, holds a report already, or, to be resumed, one with another setup. Or another run
            is at work there.
    """
    with _alone(folder):
        found = found_report(suite, name, backend, settings, folder, resume=resume)
        setup = _setup(suite, name, backend, settings)
        if found is not None:
            command = _commands(found, setup, command)
        cells = list(found.cells) if found else []
        plan = suite.plan()
        known = [cell.cell for cell in cells]

        def write() -> Report:
            complete = len(cells) == len(plan)
            report = Report(setup, command, complete, tuple(cells), rows(cells))
            folder.write(report, suite.title, suite.about)
            return report

        def keep(cell: Key, values: dict[str, float]) -> None:
            cells.append(Cell(cell, finite(values)))
            write()
            measured(cells[-1])

        made = not folder.path.exists()
        if found is None:
            shutil.rmtree(folder.work, ignore_errors=True)  # nobody knows what run a store in it is of
        folder.work.mkdir(parents=True, exist_ok=True)
        if found is None:
            write()  # says what was asked for, should the run end before its first cell
        missing = [planned for planned in plan if planned.cell not in known]
        try:
            if missing:
                suite.run(Bench(backend, settings, folder.work, name, missing, keep, progress))
        except BaseException:
            if found is None and not cells and not any(folder.work.iterdir()):
                folder.take_back(made=made)
            raise
        report = write()
        shutil.rmtree(folder.work, ignore_errors=True)
        try:
            draw(suite.panels(), report.rows, suite.title, folder.plot)
        except BackendMissing as error:
            return Finished(report, None, error)
        return Finished(report, folder.plot, None)


@contextmanager
def _alone(folder: ReportFolder) -> Iterator[None]:
    """Keeps other runs off a folder: each would write its own cells over the other's. The lock lies in the cache, so that the
    folder holds nothing but the report."""
    place = hashlib.sha256(str(folder.path.resolve()).encode()).hexdigest()[:24]
    path = cache_dir() / "benches" / f"{place}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path, timeout=0, fallback_to_soft=False):
            yield
    except filelock.Timeout as error:
        raise UsageError(f"another bench is at work in {folder.path}", "wait for it, or choose another --out") from error


def found_report(
    suite: Suite, name: str, backend: Backend, settings: Settings, folder: ReportFolder, *, resume: bool
) -> Report | None:
    """The report that a run goes on with; None where the folder holds none.

    Raises:
        UsageError: It is somebody's, holds one already, or, to be resumed, one with another setup.
    """
    found = folder.begun(resume=resume)
    if found is not None:
        _require_resumable(found, _setup(suite, name, backend, settings))
    return found


def _setup(suite: Suite, name: str, backend: Backend, settings: Settings) -> Setup:
    return Setup(
        suite=name,
        model={"name": model_name(settings.model), "fingerprint": backend.fingerprint},
        settings={
            "backend": settings.backend,
            **{name: msgspec.to_builtins(getattr(settings, name)) for name in ("edit", "lora", "sleep")},
        },
        config=msgspec.json.decode(msgspec.json.encode(suite.setup())),
        machine=reports.machine(backend.hardware),
        versions=reports.versions(),
    )


def model_name(model: str) -> str:
    """The name of a base model as a report gives it; of a folder or file, its last part alone."""
    if model == NUMPY:
        return NUMPY
    source = find(model)
    return source.name if source.kind in ("bundled", "hub") else Path(source.name).name


def _commands(found: Report, setup: Setup, command: str) -> str:
    """What a report that goes on was measured with: only what asks for more is a command of its own."""
    return found.command if found.setup.config == setup.config else f"{found.command}; {command} --resume"


def _require_resumable(found: Report, setup: Setup) -> None:
    old, new = msgspec.to_builtins(found.setup), msgspec.to_builtins(setup)
    new = msgspec.json.decode(msgspec.json.encode(new))  # as the other was read: no tuples
    old["config"] = _widened(old["config"], new["config"])
    for part in ("suite", "model", "settings", "config", "machine", "versions"):
        if old[part] != new[part]:
            raise UsageError(
                f"the report was begun with another {part}: {_difference(old[part], new[part])}",
                "give the same options, or choose another --out",
            )


def _widened(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """A config with the further seeds and methods of another: their cells depend on no other, nor any other on them.

    What a method is told stands in the config from when on it is asked for.
    """
    found = {**new, **old}
    seeds, methods = old.get("seeds", []), old.get("methods", [])
    if new.get("seeds", [])[: len(seeds)] == seeds:
        found["seeds"] = new["seeds"]
    if methods and set(methods) <= set(new.get("methods", [])):
        found["methods"] = new["methods"]
    return found


def _difference(old: object, new: object) -> str:
    if not isinstance(old, dict) or not isinstance(new, dict):
        return f"{old}, now {new}"
    name = next(name for name in [*old, *new] if old.get(name) != new.get(name))
    return f"{name} {old.get(name)}, now {new.get(name)}"
