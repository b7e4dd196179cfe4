"""`memctl bench`: measured suites with reports and plots."""

import difflib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from memctl.bench import SUITES
from memctl.cli.app import Run, Stopped
from memctl.errors import BackendMissing, UsageError

if TYPE_CHECKING:
    from memctl.bench.report import Cell, ReportFolder

HOME = Path("memctl-bench")


def bench(
    run: Run,
    suite: Annotated[str, Argument(metavar="SUITE", help=f"One of {', '.join(SUITES)}.")],
    config: Annotated[Path | None, Option(metavar="FILE", help="TOML in place of the shipped config.")] = None,
    seeds: Annotated[str | None, Option(metavar="N,N,…", help="These seeds, at every size.")] = None,
    sizes: Annotated[str | None, Option(metavar="N,N,…", help="These numbers of facts.")] = None,
    methods: Annotated[
        str | None, Option(metavar="NAME,…", help="memctl, joint-memit, memit, alphaedit, reference, in-prompt, retrieval.")
    ] = None,
    data: Annotated[Path | None, Option(metavar="FILE", help="Published records, for counterfact and zsre.")] = None,
    out: Annotated[Path | None, Option(metavar="DIR", help="Where the report goes.", show_default=False)] = None,
    resume: Annotated[bool, Option("--resume", help="Go on with the report in --out, or with the last one.")] = False,
) -> int:
    """Measures recall, locality, drift and speed, beside other ways to give a model facts."""
    if suite not in SUITES:
        near = difflib.get_close_matches(suite, SUITES, n=1)
        raise UsageError(f"there is no suite {suite!r}", f"did you mean {near[0]}?" if near else f"one of {', '.join(SUITES)}")
    given = {
        "seeds": _numbers(seeds, "--seeds"),
        "sizes": _numbers(sizes, "--sizes"),
        "methods": None if methods is None else [name.strip() for name in methods.split(",")],
    }
    from memctl.bench.report import ReportFolder
    from memctl.bench.run import run as measure
    from memctl.bench.suites import make

    made = make(suite, config, data, given)  # what is wrong is said before a model is loaded
    folder = ReportFolder((out or _folder(suite, resume)).absolute())
    from memctl.backends.factory import open_backend

    backend = open_backend(run.effective.settings, None, run.out.progress)
    command = _command(suite, {"config": config, "seeds": seeds, "sizes": sizes, "methods": methods, "data": data})

    def told(cell: "Cell") -> None:
        parts = [f"{name} {value}" for name, value in cell.cell.items()]
        run.out.record("result", {"suite": suite, **cell.cell, **cell.values}, f"{', '.join(parts)}: {_said(cell)}")

    try:
        finished = measure(
            made,
            suite,
            backend,
            run.effective.settings,
            folder,
            command=command,
            resume=resume,
            progress=run.out.progress,
            measured=told,
        )
    except (KeyboardInterrupt, Stopped):
        run.out.note(f"what was measured is in {folder.path}; --resume --out {folder.path} goes on")
        raise
    report = {"report": str(folder.json), "markdown": str(folder.markdown), "plot": str(folder.plot)}
    if finished.missing:
        run.out.note(f"the report is in {folder.path}, without plots")
        return _without_plot(run, finished.missing, folder)
    run.out.summary(
        {"result": "done", "suite": suite, "cells": len(finished.report.cells), **report},
        f"{len(finished.report.cells)} cells; {folder.markdown}",
        "green",
    )
    return 0


def _without_plot(run: Run, error: BackendMissing, folder: "ReportFolder") -> int:
    run.out.error(error)
    record = {"result": "failed", "error": type(error).__name__, "exit_code": error.exit_code}
    run.out.summary(record | {"report": str(folder.json), "markdown": str(folder.markdown), "plot": None})
    return error.exit_code


def _numbers(text: str | None, option: str) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is no list of whole numbers", f"{option} 1,10,36") from error


def _folder(suite: str, resume: bool) -> Path:
    """A new folder, named by suite and time; to resume, the last one of the suite."""
    if not resume:
        return HOME / f"{suite}-{datetime.now():%Y%m%d-%H%M%S}"
    found = sorted(path.parent for path in HOME.glob(f"{suite}-*/report.json"))
    if not found:
        raise UsageError(f"there is no report of {suite} in {HOME} to go on with", "--out DIR names one")
    return found[-1]


def _command(suite: str, given: dict[str, str | Path | None]) -> str:
    """The command as a report gives it: files by their names, since a path says whose machine it is."""
    options = [
        f"--{name} {value.name if isinstance(value, Path) else value}" for name, value in given.items() if value is not None
    ]
    return " ".join(["memctl bench", suite, *options])


def _said(cell: "Cell") -> str:
    from memctl.bench.measures import MEASURES

    shown = [f"{MEASURES[name].label} {MEASURES[name].text(value)}" for name, value in cell.values.items()]
    return "  ".join(text for text in shown if not text.startswith("unedited"))
