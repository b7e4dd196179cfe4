"""What `memctl bench` does once it knows what is asked for: suites run on one model, and told about as they go."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from memctl.bench import COMPREHENSIVE
from memctl.cli.app import Run
from memctl.errors import BackendMissing, MemctlError
from memctl.progress import plural

if TYPE_CHECKING:
    from memctl.bench.report import Cell, ReportFolder
    from memctl.bench.suite import Suite


@dataclass(frozen=True)
class Result:
    """How a suite ended.

    Attributes:
        record: For the summary.
        text: For people; empty where it failed.
        error: What it failed with.
    """

    record: dict[str, Any]
    text: str
    error: MemctlError | None = None


class Measuring:
    """One run of the command: the model, opened once, and the options that every report is to name.

    Args:
        options: Those of the command line; a path is a file.
        resume: Go on with the reports that are there.
    """

    def __init__(self, run: Run, options: Mapping[str, str | Path | None], resume: bool) -> None:
        from memctl.backends.factory import open_backend

        self.run, self.options, self.resume = run, options, resume
        self.settings = run.effective.settings
        self.backend = open_backend(self.settings, None, run.out.progress)

    def one(self, name: str, suite: "Suite", folder: "ReportFolder") -> Result:
        """Runs a suite. One whose plots cannot be drawn has failed, and its report is there all the same."""
        from memctl.bench.run import run as measure

        def told(cell: "Cell") -> None:
            parts = [f"{name} {value}" for name, value in cell.cell.items()]
            self.run.out.record("result", {"suite": name, **cell.cell, **cell.values}, f"{', '.join(parts)}: {_said(cell)}")

        finished = measure(
            suite,
            name,
            self.backend,
            self.settings,
            folder,
            command=self._command(name),
            resume=self.resume,
            progress=self.run.out.progress,
            measured=told,
        )
        cells = len(finished.report.cells)
        files = {"report": str(folder.json), "markdown": str(folder.markdown), "plot": str(folder.plot)}
        record = {"suite": name, "cells": cells, **files}
        if finished.missing:
            self.run.out.note(f"the report is in {folder.path}, without plots")
            return Result(_failure(finished.missing) | record | {"plot": None}, "", finished.missing)
        return Result({"result": "done", **record}, f"{plural(cells, 'cell')}; {folder.markdown}")

    def all(self, suites: "Mapping[str, Suite | BackendMissing]", path: Path) -> Result:
        """Runs suites one after the other, each in a folder of its own; one that fails does not keep the next from running.

        Raises:
            UsageError: A folder holds a report already, or, to be resumed, one with another setup.
        """
        from memctl.bench.comprehensive import write_overview
        from memctl.bench.report import ReportFolder
        from memctl.bench.run import found_report

        folders = {name: ReportFolder(path / name) for name in suites}
        for name, suite in suites.items():
            if not isinstance(suite, BackendMissing):
                found_report(suite, name, self.backend, self.settings, folders[name], resume=self.resume)
        results: dict[str, Result] = {}
        failed: dict[str, MemctlError] = {}
        for name, suite in suites.items():
            result = results[name] = self._tried(name, suite, folders[name])
            if result.error:
                failed[name] = result.error
                self.run.out.error(result.error, suite=name)
            else:
                self.run.out.text(f"{name}: {result.text}", "green")
            markdown = write_overview(path, self._command(COMPREHENSIVE), failed)
        record = {"suite": COMPREHENSIVE, "suites": [result.record for result in results.values()], "markdown": str(markdown)}
        if failed:
            error = next(iter(failed.values()))
            self.run.out.note(f"{len(failed)} of {plural(len(suites), 'suite')} failed; {markdown}")
            return Result(_failure(error) | record, "", error)
        return Result({"result": "done", **record}, f"{plural(len(suites), 'suite')}; {markdown}")

    def _tried(self, name: str, suite: "Suite | BackendMissing", folder: "ReportFolder") -> Result:
        try:
            if isinstance(suite, BackendMissing):
                raise suite
            return self.one(name, suite, folder)
        except MemctlError as error:
            return Result(_failure(error) | {"suite": name}, "", error)

    def _command(self, suite: str) -> str:
        """The command as a report gives it: by name only files elsewhere and models, since a path says whose machine it is."""
        from memctl.bench.run import model_name

        engine = self.run.options.settings()
        model = engine["model"] and model_name(engine["model"])
        given = {"model": model, "backend": engine["backend"], "device": engine["device"], **self.options}
        words = ["memctl", "bench", suite]
        for name, value in given.items():
            if value is not None:
                words += [f"--{name}", _without_place(value) if isinstance(value, Path) else value]
        return shlex.join(words)


def _without_place(file: Path) -> str:
    """The path of a file below the working directory, as it was given; of any other its name."""
    return file.name if file.is_absolute() or ".." in file.parts else file.as_posix()


def _failure(error: MemctlError) -> dict[str, Any]:
    return {"result": "failed", "error": type(error).__name__, "exit_code": error.exit_code}


def _said(cell: "Cell") -> str:
    from memctl.bench.measures import MEASURES

    shown = [f"{MEASURES[name].label} {MEASURES[name].text(value)}" for name, value in cell.values.items()]
    return "  ".join(text for text in shown if not text.startswith("unedited"))
