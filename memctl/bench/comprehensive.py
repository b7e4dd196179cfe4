"""`comprehensive`: all suites that invent their facts, each with its shipped config and a report of its own in one folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from memctl.bench.report import ReportFolder, replace, tables
from memctl.bench.suite import Suite
from memctl.bench.suites import INVENTED, make
from memctl.errors import BackendMissing, MemctlError, UsageError

TITLE = "Comprehensive: every suite that invents its facts"


class Asked(msgspec.Struct, frozen=True):
    """`report.json` of the whole folder: what all suites were asked for, as the command line had it.

    A run that goes on asks suites that have no report yet for the same.
    """

    suite: Literal["comprehensive"]
    seeds: str | None = None
    sizes: str | None = None


def asked_before(path: Path) -> Asked | None:
    """What the folder was begun with; None where it is to be begun.

    Raises:
        UsageError: It is somebody's, or another suite's.
    """
    folder = ReportFolder(path)
    folder.require_ours()
    try:
        return msgspec.json.decode(folder.json.read_bytes(), type=Asked)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise UsageError(f"{folder.json} is no report of all suites: {error}", "choose another --out") from error


def keep(path: Path, seeds: str | None, sizes: str | None) -> None:
    """Notes in the folder what it is begun with."""
    asked = Asked("comprehensive", seeds, sizes)
    path.mkdir(parents=True, exist_ok=True)
    replace(ReportFolder(path).json, msgspec.json.format(msgspec.json.encode(asked)) + b"\n")


def ready(given: Mapping[str, Any], path: Path, *, resume: bool) -> dict[str, Suite | BackendMissing]:
    """The suites, ready to be run; in place of one that lacks an extra, the error that says so.

    Args:
        given: Fields of every suite's config from the command line.

    Raises:
        UsageError: A field is wrong for one of them, or one has a report that is not to be gone on with.
    """
    found: dict[str, Suite | BackendMissing] = {}
    for name in INVENTED:
        report = ReportFolder(path / name).begun(resume=resume)
        try:
            found[name] = make(name, None, None, given, report)
        except BackendMissing as error:
            found[name] = error
    return found


def write_overview(path: Path, command: str, failed: Mapping[str, MemctlError]) -> Path:
    """Puts `report.md` into the folder, over the reports that lie there by now.

    Args:
        failed: What a suite was ended by.

    Returns:
        The file.
    """
    path.mkdir(parents=True, exist_ok=True)
    parts = [f"# {TITLE}", f"`{command}`"]
    for name in INVENTED:
        parts += _section(name, ReportFolder(path / name), failed.get(name))
    markdown = path / "report.md"
    replace(markdown, ("\n\n".join(parts) + "\n").encode())
    return markdown


def _section(name: str, folder: ReportFolder, failed: MemctlError | None) -> list[str]:
    """A suite's title, how far it is, and its tables."""
    report = folder.read()
    title = INVENTED[name].title
    parts = [f"## {title}" if report is None else f"## [{title}]({name}/{folder.markdown.name})"]
    if failed is not None:
        parts.append(f"**Failed: {failed.message}**")
    elif report is None:
        parts.append("Not measured yet.")
    elif not report.complete:
        parts.append("**Not complete: the run was interrupted; `--resume` goes on.**")
    return parts if report is None else [*parts, *tables(report.rows)]
