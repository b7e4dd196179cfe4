"""Names for snapshots: HEAD, a tag, an id prefix, `@{2d}`, `@{2025-01-31T12:00}`, and `~N` after any."""

import re
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice

from memctl.errors import DamagedStore, UsageError
from memctl.store.layout import Layout
from memctl.store.records import Snapshot

SHORTEST_PREFIX = 4
"""Fewest digits of an id that are looked up."""

_REVISION = re.compile(r"(?P<start>@\{[^{}]*\}|[^~@{}]+)(?P<steps>(~\d*)*)")
_AGO = re.compile(r"(\d+)([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_HEXADECIMAL = re.compile(r"[0-9a-f]+")
_HINT = "`memctl log` lists the snapshots, `memctl tag` the tags"


def check_tag(name: str) -> None:
    """Raises `UsageError` where a tag's name could be taken for another kind of revision."""
    if not _TAG.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a tag", "up to 64 letters, digits, `.`, `_`, `-`, not beginning with a sign")
    if name.upper() == "HEAD" or _HEXADECIMAL.fullmatch(name):
        raise UsageError(f"{name!r} cannot be a tag: it looks like HEAD or an id", "add a letter after f, or a dash")


def history(layout: Layout, snapshot: Snapshot) -> Iterator[Snapshot]:
    """The snapshot and those before it, newest first, over the gaps that retention left.

    Raises:
        DamagedStore: A snapshot is missing that retention did not remove, or cannot be read.
    """
    before = layout.moving()
    from_head = layout.read_head() == snapshot.id
    cuts = layout.read_shallow()
    while True:
        yield snapshot
        older = cuts.get(snapshot.id, snapshot.parent)
        if not older:
            return
        try:
            snapshot = layout.read_snapshot(older)
        except DamagedStore:
            if from_head and layout.moving() == before:
                raise
            break
    # gc may have removed what was about to be read: go on in the history that is left
    yield from (left for left in history(layout, layout.read_current()) if left.time < snapshot.time)


def resolve(layout: Layout, revision: str) -> Snapshot:
    """The snapshot that a revision names.

    Raises:
        UsageError: It names none, or could name several.
    """
    match = _REVISION.fullmatch(revision.strip())
    if match is None:
        raise UsageError(f"{revision!r} is no revision", "an id, HEAD, HEAD~2, a tag, @{2d}, or @{2025-01-31T12:00}")
    snapshot = _start(layout, match["start"])
    steps = sum(int(step or 1) for step in match["steps"].split("~")[1:])
    if steps == 0:
        return snapshot
    older = next(islice(history(layout, snapshot), min(steps, sys.maxsize), None), None)
    if older is None:
        raise UsageError(f"{revision!r} goes further back than the history", _HINT)
    return older


def _start(layout: Layout, name: str) -> Snapshot:
    if name == "HEAD":
        return layout.read_current()
    if name.startswith("@{"):
        return _at(layout, name)
    if not _HEXADECIMAL.fullmatch(name) and (id := layout.read_tags().get(name)):
        return layout.read_snapshot(id)
    if len(name) < SHORTEST_PREFIX or not _HEXADECIMAL.fullmatch(name):
        raise UsageError(f"there is no tag {name!r}, and an id has at least {SHORTEST_PREFIX} digits", _HINT)
    found = sorted(path.stem for path in layout.snapshots.glob(f"{name}*.json"))
    if len(found) > 1:
        raise UsageError(f"{name!r} could be any of {', '.join(id[:12] for id in found)}", "give more digits")
    if not found:
        raise UsageError(f"no snapshot has an id that begins with {name!r}", _HINT)
    return layout.read_snapshot(found[0])


def _at(layout: Layout, name: str) -> Snapshot:
    moment = _moment(name[2:-1].strip())
    begins = ""
    for snapshot in history(layout, layout.read_current()):
        if datetime.fromisoformat(snapshot.time) <= moment:
            return snapshot
        begins = snapshot.time
    raise UsageError(f"{name} lies before the history, which begins at {begins}", _HINT)


def _moment(text: str) -> datetime:
    """A time span before now, or an ISO 8601 time; without a zone it is UTC, as `memctl log` prints it."""
    try:
        if ago := _AGO.fullmatch(text):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no time", "write @{30m}, @{3h}, @{2d}, @{2w}, or @{2025-01-31T12:00}") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
