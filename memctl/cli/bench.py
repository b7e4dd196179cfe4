"""`memctl bench`: measured suites with reports and plots."""

import difflib
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated

from typer import Argument, Option

from memctl.bench import COMPREHENSIVE, SUITES
from memctl.cli.app import Run, Stopped
from memctl.cli.measuring import Measuring, Result
from memctl.errors import UsageError

NAMES = (*SUITES, COMPREHENSIVE)
HOME = Path("memctl-bench")
"""Where reports go that nobody gave a folder for."""


@dataclass(frozen=True)
class Options:
    """What a suite is told on the command line."""

    config: Path | None
    seeds: str | None
    sizes: str | None
    methods: str | None
    data: Path | None

    def fields(self) -> dict[str, list[int] | list[str] | None]:
        """Those that stand for fields of the config."""
        return {
            "seeds": _numbers(self.seeds, "--seeds"),
            "sizes": _numbers(self.sizes, "--sizes"),
            "methods": None if self.methods is None else [name.strip() for name in self.methods.split(",")],
        }


def bench(
    run: Run,
    suite: Annotated[str, Argument(metavar="SUITE", help=f"One of {', '.join(NAMES)}.")],
    config: Annotated[Path | None, Option(metavar="FILE", help="TOML in place of the shipped config.")] = None,
    seeds: Annotated[
        str | None,
        Option(metavar="N,N,…", help="These seeds, at every size. With --resume: the report's and more; its most_seeds stays."),
    ] = None,
    sizes: Annotated[str | None, Option(metavar="N,N,…", help="These numbers of facts.")] = None,
    methods: Annotated[
        str | None, Option(metavar="NAME,…", help="memctl, joint-memit, memit, alphaedit, reference, in-prompt, retrieval.")
    ] = None,
    data: Annotated[Path | None, Option(metavar="FILE", help="Published records, for counterfact and zsre.")] = None,
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Where the report goes: a new or empty folder.", show_default=False)
    ] = None,
    resume: Annotated[
        bool,
        Option(
            "--resume",
            help="Go on with the report in --out, or with the last, as it was begun: seeds, sizes, methods and config are its "
            "own. More seeds and methods may be given.",
        ),
    ] = False,
) -> int:
    """Measures recall, locality, drift and speed, beside other ways to give a model facts.

    comprehensive runs all suites that invent their facts.
    """
    _require_known(suite)
    options = Options(config, seeds, sizes, methods, data)
    path = (out or _folder(suite, resume)).absolute()
    with _resumable(run, suite, options, path):
        result = _all(run, options, path, resume) if suite == COMPREHENSIVE else _one(run, suite, options, path, resume)
    run.out.summary(result.record, result.text, "green")
    return result.error.exit_code if result.error else 0


def _one(run: Run, suite: str, options: Options, path: Path, resume: bool) -> Result:
    from memctl.bench.report import ReportFolder
    from memctl.bench.suites import make

    folder = ReportFolder(path)  # what is wrong with it is said before a model is loaded
    made = make(suite, options.config, options.data, options.fields(), folder.begun(resume=resume))
    result = Measuring(run, vars(options), resume).one(suite, made, folder)
    if result.error:
        run.out.error(result.error)
    return result


def _all(run: Run, options: Options, path: Path, resume: bool) -> Result:
    from memctl.bench.comprehensive import asked_before, keep, ready

    _require_shipped_configs({"--config": options.config, "--methods": options.methods, "--data": options.data})
    before = asked_before(path)
    if before and resume:
        options = replace(options, seeds=options.seeds or before.seeds, sizes=options.sizes or before.sizes)
    suites = ready(options.fields(), path, resume=resume)
    measuring = Measuring(run, vars(options), resume)
    if not (before and resume):
        keep(path, options.seeds, options.sizes)
    return measuring.all(suites, path)


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
def _resumable(run: Run, suite: str, options: Options, path: Path) -> Iterator[None]:
    """Says how to go on with what was measured when something ended the command."""
    try:
        yield
    except (KeyboardInterrupt, Stopped):
        if (path / "report.json").exists():
            run.out.note(f"what was measured is in {path}; {_going_on(run, suite, options, path)} goes on")
        raise


def _going_on(run: Run, suite: str, options: Options, path: Path) -> str:
    """The command once more: what a run that went on asked for in addition is in no report before its first cell."""
    engine = {name: value for name, value in run.options.settings().items() if name != "store"}
    given = [(f"--{name}", str(value)) for name, value in {**engine, **vars(options)}.items() if value is not None]
    return shlex.join(["memctl", "bench", suite, *(word for pair in given for word in pair), "--resume", "--out", str(path)])


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
    found = sorted(path.parent for path in HOME.glob(f"{suite}-*/report.json"))
    if not found:
        raise UsageError(f"there is no report of {suite} in {HOME} to go on with", "--out DIR names one")
    return found[-1]
