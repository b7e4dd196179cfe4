"""Rebuilds what follows from the rest. Needs the store's lock.

First the ways into the history, without which nobody knows what is reachable: HEAD from ledger.json, tags from the lines
that still name a snapshot, `shallow` from the snapshots that are there, the journal's position from the chain in its lines.
Then what a check finds to be repairable.
"""

from collections.abc import Mapping

from memctl.errors import DamagedStore
from memctl.store import atomic, collect
from memctl.store.check import Check
from memctl.store.encoding import sha256
from memctl.store.journal import Journal
from memctl.store.layout import Layout, resealed, sealed_pairs
from memctl.store.records import Snapshot


def rebuild(layout: Layout) -> tuple[str, ...]:
    """Rebuilds what can be rebuilt and removes temporaries; returns the relative paths of what it changed."""
    intact = _intact(layout)
    repaired = [
        *_mend_head(layout, intact),
        *_mend_tags(layout, intact),
        *_mend_shallow(layout, intact),
        *_mend_position(layout),
        *_mend_found(layout, Check(layout)),
    ]
    left = collect.temporaries(layout)
    atomic.remove(left)
    with Journal(layout).locked():
        left += Journal(layout).temporaries()
        atomic.remove(left)
    return (*repaired, *map(layout.name, left))


def _intact(layout: Layout) -> dict[str, Snapshot]:
    """All snapshots whose manifests can be read, by id."""
    found = {}
    for path in layout.snapshots.glob("*.json"):
        try:
            found[path.stem] = layout.read_snapshot(path.stem)
        except DamagedStore:
            continue
    return found


def _mend_head(layout: Layout, intact: Mapping[str, Snapshot]) -> list[str]:
    """HEAD, where it holds no id: the newest snapshot with the ledger of ledger.json, which follows HEAD; else the newest."""
    try:
        layout.read_head()
        return []
    except DamagedStore:
        if not intact:
            return []
    try:
        ledger = sha256(layout.read(layout.ledger))
    except DamagedStore:
        ledger = ""
    head = max(intact.values(), key=lambda snapshot: (snapshot.ledger == ledger, snapshot.time))
    atomic.replace(layout.head, f"{head.id}\n".encode())
    return [layout.name(layout.head)]


def _mend_tags(layout: Layout, intact: Mapping[str, Snapshot]) -> list[str]:
    try:
        layout.read_tags()
        return []
    except DamagedStore:
        text = layout.tags.read_bytes().decode(errors="replace") if layout.tags.is_file() else ""
    pairs = [line.split(" ") for line in text.split("\n")]
    tags = {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and pair[1] in intact}
    atomic.replace(layout.tags, sealed_pairs(tags))
    return [layout.name(layout.tags)]


def _mend_shallow(layout: Layout, intact: Mapping[str, Snapshot]) -> list[str]:
    """`shallow`, where it or a snapshot of the history cannot be read: the way goes on at the next older one that can."""
    try:
        cuts, whole = layout.read_shallow(), True
    except DamagedStore:
        cuts, whole = {}, False
    try:
        ways = [layout.read_head(), *layout.read_tags().values()]
    except DamagedStore:
        return []
    mended, seen = dict(cuts), set[str]()
    while ways:
        id = ways.pop()
        if id in seen or id not in intact:
            continue
        seen.add(id)
        older = mended.get(id, intact[id].parent)
        if older and older not in intact:
            before = [snapshot for snapshot in intact.values() if snapshot.time < intact[id].time]
            older = mended[id] = max(before, key=lambda snapshot: snapshot.time).id if before else ""
        ways.append(older)
    if whole and mended == cuts:
        return []
    atomic.replace(layout.shallow, sealed_pairs(mended))
    return [layout.name(layout.shallow)]


def _mend_position(layout: Layout) -> list[str]:
    journal = Journal(layout)
    with journal.locked():
        try:
            journal.read_position()
        except DamagedStore:
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
