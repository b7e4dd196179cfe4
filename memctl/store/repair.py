"""Rebuilds what follows from the rest. Needs the store's lock.

First the ways into the history, without which nobody knows what is reachable: HEAD from the newest snapshot, tags from
the lines that still name a snapshot, `shallow` from the snapshots that are there, the journal's position from the chain
in its lines. Then what a check finds to be repairable.
"""

import re
from collections.abc import Collection, Mapping
from contextlib import suppress

from memctl.errors import DamagedStore
from memctl.store import atomic, collect
from memctl.store.check import Check, manifests, probable_head
from memctl.store.journal import Journal
from memctl.store.layout import Layout, resealed, sealed_pairs
from memctl.store.records import SHA256_PATTERN, Snapshot

SHA = re.compile(SHA256_PATTERN)


def rebuild(layout: Layout) -> tuple[str, ...]:
    """Rebuilds what can be rebuilt and removes temporaries; returns the relative paths of what it changed.

    Raises:
        UnknownFormat: A newer memctl wrote the store. Nothing was changed.
    """
    with suppress(DamagedStore):
        layout.read_config()
    intact, unreadable = manifests(layout)
    damaged = {id for id, error in unreadable.items() if isinstance(error, DamagedStore)}
    repaired = [
        *_mend_head(layout, intact, unreadable),
        *_mend_tags(layout),
        *_mend_shallow(layout, intact, damaged),
        *_mend_position(layout),
        *_mend_found(layout, Check(layout)),
    ]
    left = collect.temporaries(layout)
    atomic.remove(left)
    with Journal(layout).locked():
        left += Journal(layout).temporaries()
        atomic.remove(left)
    return (*repaired, *map(layout.name, left))


def _mend_head(layout: Layout, intact: Mapping[str, Snapshot], unreadable: Collection[str]) -> list[str]:
    try:
        layout.read_head()
    except DamagedStore:
        if (head := probable_head(layout, intact, unreadable)) is not None:
            atomic.replace(layout.head, f"{head.id}\n".encode())
            return [layout.name(layout.head)]
    return []


def _mend_tags(layout: Layout) -> list[str]:
    """The lines that name a snapshot, readable or not."""
    try:
        layout.read_tags()
        return []
    except DamagedStore:
        text = layout.tags.read_bytes().decode(errors="replace") if layout.tags.is_file() else ""
    pairs = [line.split(" ") for line in text.split("\n")]
    named = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and SHA.fullmatch(pair[1])}
    atomic.replace(layout.tags, sealed_pairs({name: id for name, id in named.items() if layout.snapshot(id).exists()}))
    return [layout.name(layout.tags)]


def _mend_shallow(layout: Layout, intact: Mapping[str, Snapshot], damaged: Collection[str]) -> list[str]:
    """`shallow`, where it or a snapshot of the history cannot be read: the way goes on at the next older one that can.

    A cut past a snapshot that can be read again is taken back. A snapshot that is missing may come again, too, as with the
    rest of a copy: the way is led past it only where `shallow` is lost, and with it which ones retention has removed.
    """
    try:
        cuts, whole = layout.read_shallow(), True
    except DamagedStore:
        cuts, whole = {}, False
    try:
        ways = [layout.read_head(), *layout.read_tags().values()]
    except DamagedStore:
        return []
    mended = {id: older for id, older in cuts.items() if not (id in intact and _leads(intact, cuts, intact[id].parent, older))}
    seen = set[str]()
    while ways:
        id = ways.pop()
        if id in seen or id not in intact:
            continue
        seen.add(id)
        older = mended.get(id, intact[id].parent)
        if older and older not in intact and (older in damaged or not whole):
            before = [snapshot for snapshot in intact.values() if snapshot.time < intact[id].time]
            older = mended[id] = max(before, key=lambda snapshot: snapshot.time).id if before else ""
        ways.append(older)
    if whole and mended == cuts:
        return []
    atomic.replace(layout.shallow, sealed_pairs(mended))
    return [layout.name(layout.shallow)]


def _leads(intact: Mapping[str, Snapshot], cuts: Mapping[str, str], id: str, target: str) -> bool:
    """Whether one can go from a snapshot to an older one, over snapshots that can be read."""
    while id in intact and id != target:
        id = cuts.get(id, intact[id].parent)
    return id == target


def _mend_position(layout: Layout) -> list[str]:
    journal = Journal(layout)
    with journal.locked():
        try:
            journal.read_position()
        except DamagedStore:
            with suppress(DamagedStore):
                if journal.recount():
                    return [layout.name(journal.position_path)]
    return []


def _mend_found(layout: Layout, check: Check) -> list[str]:
    """What a check finds to be repairable."""
    repaired = []
    report = check.report()
    for finding in (*report.findings, *report.notes):
        path = layout.root / finding.path
        if not finding.repairable:
            continue
        if finding.kind == "mode":
            atomic.set_mode(path, atomic.READ_ONLY)
        elif finding.kind == "config":
            if check.head is None or layout.read_config()[0].fingerprint != check.head.base:
                continue
            atomic.replace(path, resealed(layout.text(path, layout.read(path))))
        elif finding.kind == "ledger" and check.head is not None and check.head.ledger in check.intact:
            atomic.replace(path, layout.read_object(check.head.ledger))
        else:
            continue
        repaired.append(finding.path)
    return repaired
