"""`comprehensive`: all suites that invent their facts, each with its shipped config and a report of its own in one folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from memctl.bench.report import ReportFolder, replace, tables
from memctl.bench.suite import Suite
from memctl.bench.suites import INVENTED, make
from memctl.errors import BackendMissing, MemctlError

TITLE = "Comprehensive: every suite that invents its facts"


def ready(given: Mapping[str, Any]) -> dict[str, Suite | BackendMissing]:
    """The suites, ready to be run; in place of one that lacks an extra, the error that says so.

    Args:
        given: Fields of every suite's config from the command line.

    Raises:
        UsageError: A field is wrong for one of them.
    """
    found: dict[str, Suite | BackendMissing] = {}
    for name in INVENTED:
        try:
            found[name] = make(name, None, None, given)
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
