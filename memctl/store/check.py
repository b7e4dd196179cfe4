"""One pass over a memory directory that looks at every byte, and names what is not as it was written."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from memctl.errors import DamagedStore, MemctlError, UnknownFormat
from memctl.store import collect
from memctl.store.encoding import sha256
from memctl.store.journal import Journal
from memctl.store.layout import Layout
from memctl.store.records import BaseRef, Snapshot, composition_hash, contradictions


class Finding(msgspec.Struct, frozen=True, order=True):
    """One thing that is wrong, or worth a note.

    Attributes:
        path: Relative to the store.
        kind: `config`, `head`, `snapshot`, `object`, `ledger`, `composition`, `mode`, `tag`, `shallow`,
            `journal`, `temporary` or `unreachable`.
        message: What is wrong with it.
        repairable: Whether `verify --repair` rebuilds it.
    """

    path: str
    kind: str
    message: str
    repairable: bool = False


class VerifyReport(msgspec.Struct, frozen=True):
    """The outcome of a check.

    Attributes:
        findings: Damage that is there now, sorted by path.
        notes: What is not as it was left, and does no harm.
        repaired: Relative paths of what was repaired.
        last_good: Id of the newest snapshot that is intact with all its objects; empty when there is none.
        objects: How many objects were hashed.
        snapshots: How many manifests were read.
    """

    findings: tuple[Finding, ...]
    notes: tuple[Finding, ...]
    repaired: tuple[str, ...]
    last_good: str
    objects: int
    snapshots: int


def manifests(layout: Layout) -> tuple[dict[str, Snapshot], dict[str, MemctlError]]:
    """The snapshots whose manifests can be read, and of the others that are there why not; both by id."""
    found: dict[str, Snapshot] = {}
    unreadable: dict[str, MemctlError] = {}
    for path in sorted(layout.snapshots.glob("[!.]*")):
        try:
            found[path.stem] = layout.read_snapshot(path.stem)
        except MemctlError as error:
            if path.exists():  # gc may have removed it since it was listed
                unreadable[path.stem] = error
    return found, unreadable


def probable_head(layout: Layout, found: Mapping[str, Snapshot], unreadable: Collection[str]) -> Snapshot | None:
    """The newest snapshot, which HEAD has named or was about to; None where one that cannot be read may be newer, as
    ledger.json tells, which follows HEAD."""
    newest = max(found.values(), key=lambda snapshot: snapshot.time, default=None)
    if newest is None or not unreadable:
        return newest
    try:
        return newest if sha256(layout.read(layout.ledger)) == newest.ledger else None
    except DamagedStore:
        return None


class Check:
    """One pass over a store."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.findings: set[Finding] = set()
        self.notes: set[Finding] = set()
        self.intact: dict[str, Path] = {}
        self.unreadable: dict[str, MemctlError] = {}
        self.head: Snapshot | None = None
        self.hashed = 0

    def report(self) -> VerifyReport:
        config = self._config()
        manifests = self._manifests()
        self._objects()
        reached = self._reached(manifests)
        good = [snapshot for snapshot in reached if self._snapshot(snapshot, config)]
        self._ledger_copy(reached)
        self._journal()
        self._leftovers(manifests, reached)
        return VerifyReport(
            findings=tuple(sorted(self.findings)),
            notes=tuple(sorted(self.notes)),
            repaired=(),
            last_good=max(good, key=lambda snapshot: snapshot.time).id if good else "",
            objects=self.hashed,
            snapshots=len(manifests),
        )

    def _find(self, path: Path, kind: str, message: str, *, repairable: bool = False) -> None:
        self.findings.add(Finding(self.layout.name(path), kind, message, repairable))

    def _note(self, path: Path, kind: str, message: str, *, repairable: bool = False) -> None:
        self.notes.add(Finding(self.layout.name(path), kind, message, repairable))

    @contextmanager
    def _finding(self, path: Path, kind: str, *, repairable: bool = False) -> Iterator[None]:
        """Turns an error inside the block into a finding."""
        try:
            yield
        except MemctlError as error:
            self._find(path, kind, error.message, repairable=repairable)

    def _config(self) -> BaseRef | None:
        path = self.layout.config
        try:
            base = self.layout.read_config()[0]
        except UnknownFormat:  # what cannot be read here need not be damaged: it ends the check
            raise
        except MemctlError as error:
            self._find(path, "config", error.message)
            return None
        try:
            self.layout.read_sealed(path)
        except MemctlError as error:
            edited = "edited by hand, or damaged: read it through, then `memctl verify --repair` accepts it"
            self._find(path, "config", f"{error.message}: {edited}", repairable=True)
        return base

    def _manifests(self) -> dict[str, Snapshot]:
        found, self.unreadable = manifests(self.layout)
        for id in found:
            self._mode(self.layout.snapshot(id))
        return found

    def _objects(self) -> None:
        for path in sorted(self.layout.objects.glob("*/[!.]*")):
            sha = path.name.partition(".")[0]
            try:
                right = sha256(path.read_bytes()) == sha and path.parent.name == sha[:2]
                self._mode(path)
            except FileNotFoundError:  # gc has removed it since it was listed
                continue
            except OSError as error:
                self._find(path, "object", f"cannot be read: {error.strerror}")
                continue
            self.hashed += 1
            if right:
                self.intact[sha] = path
            else:
                self._find(path, "object", "its bytes do not have the hash that it is named by")

    def _mode(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            if path.stat().st_mode & 0o222:
                self._note(path, "mode", "it can be written to; `memctl verify --repair` takes that away", repairable=True)

    def _reached(self, manifests: dict[str, Snapshot]) -> list[Snapshot]:
        """What HEAD and the tags lead to; everything there is, where the way is damaged."""
        ways: list[tuple[str, str]] = []
        shallow: dict[str, str] | None = None
        with self._finding(self.layout.tags, "tag", repairable=True):
            ways += [(id, f"the tag {name}") for name, id in self.layout.read_tags().items()]
        with self._finding(self.layout.shallow, "shallow", repairable=True):
            shallow = self.layout.read_shallow()
        with self._finding(self.layout.head, "head", repairable=self._has_head(manifests)):
            ways.append((self.layout.read_head(), "HEAD"))
            self.head = manifests.get(ways[-1][0])
        named = {id for id, _ in ways}
        reached: dict[str, Snapshot] = {}
        broken = shallow is None or self.head is None
        while ways:
            id, named_by = ways.pop()
            if id in reached:
                continue
            if id not in manifests:
                broken = True
                path = self.layout.snapshot(id)
                if not path.exists() and (shallow is not None or not named_by.startswith("snapshot")):
                    self._find(path, "snapshot", f"{named_by} names it, and it is missing")
                    if named_by == "HEAD":  # nobody can tell which of the two is wrong
                        self._find(self.layout.head, "head", "it names a snapshot that is missing")
                continue
            reached[id] = manifests[id]
            if older := (shallow or {}).get(id, manifests[id].parent):
                ways.append((older, f"snapshot {id[:12]}"))
        self._unreadable(named, needed=broken)
        return list(manifests.values() if broken else reached.values())

    def _unreadable(self, named: Collection[str], *, needed: bool) -> None:
        """Manifests that cannot be read: damage where the history needs them, which a repair leads past unless HEAD or a tag
        names them."""
        for id, error in self.unreadable.items():
            path = self.layout.snapshot(id)
            if needed:
                self._find(path, "snapshot", error.message, repairable=id not in named and isinstance(error, DamagedStore))
            else:
                self._note(path, "unreachable", f"{error.message}; nothing leads to it, and `memctl gc` removes it")

    def _snapshot(self, snapshot: Snapshot, config: BaseRef | None) -> bool:
        """Whether a snapshot agrees with itself and all its objects are intact."""
        path = self.layout.snapshot(snapshot.id)
        before = len(self.findings)
        if config is not None and snapshot.base != config.fingerprint:
            message = f"it is of base {snapshot.base[:12]}, memctl.toml of {config.fingerprint[:12]}"
            self._find(path, "config", message)
        with self._finding(path, "composition"):
            if snapshot.composition != composition_hash(snapshot.base, snapshot.deltas, snapshot.adapter):
                self._find(path, "composition", "its composition is not the hash of its parts")
        needed = snapshot.objects
        for sha in sorted(needed - self.intact.keys()):
            if not list(self.layout.objects.glob(f"{sha[:2]}/{sha}.*")):
                self._find(self.layout.objects / sha[:2] / sha, "object", "it is missing")
        if snapshot.ledger in self.intact:
            with self._finding(path, "ledger"):
                for message in contradictions(self.layout.read_ledger(snapshot.ledger), snapshot.deltas, snapshot.adapter):
                    self._find(path, "ledger", message)
        return len(self.findings) == before and needed <= self.intact.keys()

    def _ledger_copy(self, reached: list[Snapshot]) -> None:
        path = self.layout.ledger
        with self._finding(path, "ledger", repairable=True):
            sha = sha256(self.layout.read(path))
            if self.head and sha == self.head.ledger:
                return
            if sha in {snapshot.ledger for snapshot in reached}:
                self._note(path, "ledger", "it is an older snapshot's; the next command that writes renews it")
            else:
                self._find(path, "ledger", "it is not the ledger that HEAD names", repairable=True)

    def _journal(self) -> None:
        journal = Journal(self.layout)
        try:
            journal.read_position()
        except MemctlError as error:
            self._find(journal.position_path, "journal", error.message, repairable=self._proven(journal))
            return
        with self._finding(journal.path, "journal"):
            if torn := journal.scan().torn:
                self._note(journal.path, "journal", f"{torn} bytes of an append that was cut short")

    def _has_head(self, manifests: Mapping[str, Snapshot]) -> bool:
        return probable_head(self.layout, manifests, self.unreadable) is not None

    def _proven(self, journal: Journal) -> bool:
        """Whether the journal's lines say by themselves where it ends."""
        try:
            return journal.proven() is not None
        except MemctlError:
            return False

    def _leftovers(self, manifests: dict[str, Snapshot], reached: list[Snapshot]) -> None:
        for path in collect.temporaries(self.layout) + Journal(self.layout).temporaries():
            self._note(path, "temporary", "of a write that was cut short, or still runs")
        for id in manifests.keys() - {snapshot.id for snapshot in reached}:
            self._note(self.layout.snapshot(id), "unreachable", "nothing leads to it; `memctl gc` removes it")
        for sha in self.intact.keys() - set[str]().union(*(snapshot.objects for snapshot in reached)):
            self._note(self.intact[sha], "unreachable", "no snapshot names it; `memctl gc` removes it")
