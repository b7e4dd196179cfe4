"""`memctl bench`: measured suites with reports and plots."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from memctl.bench import COMPREHENSIVE, SUITES
from memctl.cli.app import Run, Stopped
from memctl.cli.measuring import Measuring
from memctl.errors import UsageError

NAMES = (*SUITES, COMPREHENSIVE)
HOME = Path("memctl-bench")
"""Where reports go that nobody gave a folder for."""


def bench(
    run: Run,
    suite: Annotated[str, Argument(metavar="SUITE", help=f"One of {', '.join(NAMES)}.")],
    config: Annotated[Path | None, Option(metavar="FILE", help="TOML in place of the shipped config.")] = None,
    seeds: Annotated[str | None, Option(metavar="N,N,…", help="These seeds, at every size.")] = None,
    sizes: Annotated[str | None, Option(metavar="N,N,…", help="These numbers of facts.")] = None,
    methods: Annotated[
        str | None, Option(metavar="NAME,…", help="memctl, joint-memit, memit, alphaedit, reference, in-prompt, retrieval.")
    ] = None,
    data: Annotated[Path | None, Option(metavar="FILE", help="Published records, for counterfact and zsre.")] = None,
    out: Annotated[Path | None, Option(metavar="DIR", help="Where the report goes.", show_default=False)] = None,
    resume: Annotated[
        bool, Option("--resume", help="Go on with the report in --out, or with the last; more seeds and methods may be given.")
    ] = False,
) -> int:
    """Measures recall, locality, drift and speed, beside other ways to give a model facts.

    comprehensive runs all suites that invent their facts.
    """
    _require_known(suite)
    given = {
        "seeds": _numbers(seeds, "--seeds"),
        "sizes": _numbers(sizes, "--sizes"),
        "methods": None if methods is None else [name.strip() for name in methods.split(",")],
    }
    options = {"config": config, "seeds": seeds, "sizes": sizes, "methods": methods, "data": data}
    path = (out or _folder(suite, resume)).absolute()
    from memctl.bench.comprehensive import ready
    from memctl.bench.report import ReportFolder
    from memctl.bench.suites import make

    # what is wrong is said before a model is loaded
    if suite == COMPREHENSIVE:
        _require_shipped_configs({"--config": config, "--methods": methods, "--data": data})
        suites = ready(given)
        with _resumable(run, path):
            result = Measuring(run, options, resume).all(suites, path)
    else:
        made = make(suite, config, data, given)
        with _resumable(run, path):
            result = Measuring(run, options, resume).one(suite, made, ReportFolder(path))
        if result.error:
            run.out.error(result.error)
    run.out.summary(result.record, result.text, "green")
    return result.error.exit_code if result.error else 0


def _require_known(suite: str) -> None:
    if suite not in NAMES:
        near = difflib.get_close_matches(suite, NAMES, n=1)
        raise UsageError(f"there is no suite {suite!r}", f"did you mean {near[0]}?" if near else f"one of {', '.join(NAMES)}")


def _require_shipped_configs(options: dict[str, object]) -> None:
    """All suites at once have their own configs and methods, and invent their facts."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(f"{COMPREHENSIVE} takes no {name}: each suite has its shipped config", "--seeds, --sizes")


@contextmanager
def _resumable(run: Run, path: Path) -> Iterator[None]:
    """Says how to go on with what was measured when something ended the command."""
    try:
        yield
    except (KeyboardInterrupt, Stopped):
        if path.exists():
            run.out.note(f"what was measured is in {path}; --resume --out {path} goes on")
        raise


def _numbers(text: str | None, option: str) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is no list of whole numbers", f"{option} 1,10,36") from error


def _folder(suite: str, resume: bool) -> Path:
    """A new folder, named by suite and time; to resume, the last one of the suite that holds a report."""
    if not resume:
        return HOME / f"{suite}-{datetime.now():%Y%m%d-%H%M%S}"
    report = "*/report.json" if suite == COMPREHENSIVE else "report.json"
    found = sorted(path for path in HOME.glob(f"{suite}-*") if any(path.glob(report)))
    if not found:
        raise UsageError(f"there is no report of {suite} in {HOME} to go on with", "--out DIR names one")
    return found[-1]
