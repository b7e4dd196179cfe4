"""Retention and garbage collection.

Retention only decides which snapshots stay. Before one is removed, the tags that would dangle go, then
`shallow` learns about the gap; then snapshots are removed, then the objects that no snapshot names any more.
Stopped anywhere, the store holds at worst something that nothing reaches, which the next gc removes.
"""

from collections.abc import Collection, Mapping
from itertools import islice
from pathlib import Path

import msgspec

from memctl.errors import UsageError
from memctl.store import atomic, revisions
from memctl.store.layout import Layout, sealed_pairs
from memctl.store.records import Snapshot


class Retention(msgspec.Struct, frozen=True):
    """Which snapshots of the history stay; all of them unless `last` or `daily` is given. HEAD always does.

    Attributes:
        last: The newest so many.
        daily: The newest of each of the last so many days (UTC) that have any.
        tagged: Those with a tag. If false, the tags of removed snapshots go with them.
    """

    last: int | None = None
    daily: int | None = None
    tagged: bool = True


class GcReport(msgspec.Struct, frozen=True):
    """What gc removed, or would remove: ids, SHA-256s, tag names, relative paths, and how many bytes in all."""

    snapshots: tuple[str, ...]
    objects: tuple[str, ...]
    tags: tuple[str, ...]
    temporaries: tuple[str, ...]
    bytes: int
    dry_run: bool


def collect(layout: Layout, retention: Retention, *, in_use: frozenset[str], dry_run: bool) -> GcReport:
    """Removes snapshots beyond the retention, and what nothing reaches. Needs the store's lock, unless for a dry run.

    Args:
        layout: The store.
        retention: Which snapshots stay.
        in_use: Objects that stay although no snapshot names them yet.
        dry_run: Only say what would be removed.

    Raises:
        UsageError: A count is not positive.
        DamagedStore: The history cannot be read, so nobody knows what is reachable. Nothing was removed.
    """
    tags = layout.read_tags()
    history = list(revisions.history(layout, layout.read_current()))
    kept = _kept(history, retention, tags)
    known = {snapshot.id: snapshot for snapshot in history}
    known |= {id: layout.read_snapshot(id) for id in tags.values() if id not in known}
    kept_tags = {name: id for name, id in tags.items() if id in kept}
    used = in_use.union(*(known[id].objects for id in kept))

    snapshots = [path for path in sorted(layout.snapshots.glob("*.json")) if path.stem not in kept]
    objects = [path for path in sorted(layout.objects.glob("*/[!.]*")) if path.name.partition(".")[0] not in used]
    left = temporaries(layout)
    report = GcReport(
        snapshots=tuple(path.stem for path in snapshots),
        objects=tuple(path.name.partition(".")[0] for path in objects),
        tags=tuple(sorted(tags.keys() - kept_tags.keys())),
        temporaries=tuple(layout.name(path) for path in left),
        bytes=sum(map(_size, (*snapshots, *objects, *left))),
        dry_run=dry_run,
    )
    if dry_run:
        return report
    atomic.remove(left)
    if kept_tags != tags:
        atomic.replace(layout.tags, sealed_pairs(kept_tags))
    shallow = layout.read_shallow()
    if (cuts := _cuts(shallow, known, kept)) != shallow:
        atomic.replace(layout.shallow, sealed_pairs(cuts))
    atomic.remove(snapshots)
    atomic.remove(objects)
    return report


def temporaries(layout: Layout) -> list[Path]:
    """What cut-short writes have left, but for the journal, which has its own lock. Needs the store's lock."""
    folders = (layout.root, layout.snapshots, *sorted(layout.objects.glob("*")))
    return [path for folder in folders for path in sorted(folder.glob(f".*{atomic.TEMPORARY}"))]


def _size(path: Path) -> int:
    """Bytes of a file; 0 once it is gone, as a running write's temporary is at any moment."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _kept(history: list[Snapshot], retention: Retention, tags: dict[str, str]) -> set[str]:
    for name, count in (("last", retention.last), ("daily", retention.daily)):
        if count is not None and count < 1:
            raise UsageError(f"--keep-{name} {count} keeps nothing", "give a number from 1")
    if retention.last is None and retention.daily is None:
        return {snapshot.id for snapshot in history} | set(tags.values())
    newest_of_day: dict[str, str] = {}
    for snapshot in history:
        newest_of_day.setdefault(snapshot.time[:10], snapshot.id)
    last = {snapshot.id for snapshot in history[: retention.last or 0]}
    daily = set(islice(newest_of_day.values(), retention.daily or 0))
    return {history[0].id} | last | daily | (set(tags.values()) if retention.tagged else set())


def _cuts(shallow: Mapping[str, str], known: Mapping[str, Snapshot], kept: Collection[str]) -> dict[str, str]:
    """For every kept snapshot whose parent goes: the next older one that stays, or `""`."""

    def older(id: str) -> str:
        return shallow.get(id, known[id].parent) if id in known else ""

    cuts = {}
    for id in kept:
        if not known[id].parent or known[id].parent in kept:
            continue
        left = older(id)
        while left and left not in kept:
            left = older(left)
        cuts[id] = left
    return cuts
