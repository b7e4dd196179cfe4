"""Writing: objects, then the snapshot, then HEAD, then ledger.json.

An error before HEAD has moved means that nothing has changed; one after it says that the commit stands.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

from memctl.errors import DamagedStore, MemctlError, UsageError
from memctl.store import atomic, collect, revisions
from memctl.store.encoding import encode, sha256
from memctl.store.layout import Layout, sealed, sealed_pairs
from memctl.store.lock import hold, now
from memctl.store.records import (
    AdapterRef,
    BaseRef,
    DeltaRef,
    Ledger,
    Snapshot,
    canonical_order,
    contradictions,
    make_snapshot,
)
from memctl.toml_files import with_value

_SUFFIX = re.compile(r"\.[a-z0-9]+")


@contextmanager
def writer(layout: Layout, base: BaseRef, wait: float, command: str) -> Iterator["Writer"]:
    """Holds the store's lock for the block; see `Store.writer`."""
    with hold(layout.lock, wait, command):
        yield Writer(layout, base, command)


def publish(layout: Layout, data: bytes, suffix: str) -> str:
    """Stores an object, unless it is there intact; returns its SHA-256."""
    sha = sha256(data)
    path = layout.object(sha, suffix)
    atomic.make_directory(path.parent)
    with atomic.naming("read", path):
        intact = path.exists() and path.read_bytes() == data
    if intact:
        atomic.settle(path)
    else:
        atomic.replace(path, data, atomic.READ_ONLY)
    return sha


class Writer:
    """The one process that may change a store now; made by `Store.writer`."""

    def __init__(self, layout: Layout, base: BaseRef, command: str) -> None:
        self._layout = layout
        self._base = base
        self._command = command
        self._put: set[str] = set()
        self._head_id = layout.read_head()
        self._head = self._readable_head()
        if self._head is not None:
            with suppress(MemctlError):  # a copy for people: it can wait, and `gc` must start on a full disk
                self._refresh_ledger(self._head)

    def put(self, data: bytes, suffix: str) -> str:
        """Stores an object and returns its SHA-256; storing it again changes nothing.

        Args:
            data: The bytes.
            suffix: Ending of the file's name, such as `.safetensors`.
        """
        if not _SUFFIX.fullmatch(suffix):
            raise MemctlError(f"{suffix!r} cannot be an object's suffix")
        sha = publish(self._layout, data, suffix)
        self._put.add(sha)
        return sha

    def commit(
        self,
        *,
        ledger: Ledger,
        deltas: Iterable[DeltaRef],
        adapter: AdapterRef | None = None,
        weights: dict[str, str],
        metrics: dict[str, float],
        message: str,
        report: str = "",
        journal: int | None = None,
    ) -> Snapshot:
        """Makes this state the current one, whole or not at all; returns its snapshot.

        Returns HEAD unchanged where it has the same ledger, deltas, adapter and place in the journal.

        Args:
            report: SHA-256 of the object that tells how it came about.
            journal: Records of the journal that are worked in; None for as many as before.

        Raises:
            MemctlError: Ledger and composition contradict each other, or an object of theirs is not in the store.
            NonFinite: A number is NaN or infinite.
            DiskFull, StoreNotWritable: Nothing was changed, unless the message says that the commit stands.
        """
        head = self._require_head()
        ordered = canonical_order(deltas)
        if found := contradictions(ledger, ordered, adapter):
            raise MemctlError(f"this commit contradicts itself: {'; '.join(found[:3])}", "nothing was changed")
        beside = ([adapter.object] if adapter else []) + ([report] if report else [])
        for object in (*(delta.object for delta in ordered), *beside):
            self._layout.find_object(object)
        data = encode(ledger)
        journal = head.journal if journal is None else journal
        if (head.ledger, head.deltas, head.adapter, head.journal) == (sha256(data), ordered, adapter, journal):
            return head
        sha = self.put(data, ".json")
        return self._advance(head, sha, ordered, adapter, weights, metrics, message, report, journal)

    def rollback(self, revision: str, message: str = "") -> Snapshot:
        """Makes a new snapshot with the ledger, composition, weights and metrics of an older one, and returns it.

        What was worked in from the journal since then waits again.

        Every object is hashed first. Where HEAD's own manifest is damaged, the new snapshot follows the older
        one, so that the history can be read again.

        Raises:
            UsageError: The revision names no snapshot.
            DamagedStore: That snapshot, or an object of it, is damaged.
        """
        target = revisions.resolve(self._layout, revision)
        self._layout.read_ledger(target.ledger)
        for sha in sorted(target.objects - {target.ledger}):
            self._layout.read_object(sha)
        head = self._head or target
        if self._head and same_state(head, target):
            return head
        return self._advance(
            head,
            target.ledger,
            target.deltas,
            target.adapter,
            target.weights,
            target.metrics,
            message or f"rollback to {target.id[:12]}",
            "",
            target.journal,
        )

    def tag(self, name: str, revision: str = "HEAD") -> Snapshot:
        """Gives a snapshot a name, in place of the one that had it; returns the snapshot.

        Raises:
            UsageError: The name could be taken for an id, HEAD or a time, or the revision names no snapshot.
        """
        revisions.check_tag(name)
        snapshot = revisions.resolve(self._layout, revision)
        atomic.replace(self._layout.tags, sealed_pairs({**self._layout.read_tags(), name: snapshot.id}))
        return snapshot

    def untag(self, name: str) -> None:
        """Removes a tag.

        Raises:
            UsageError: There is no such tag.
        """
        tags = self._layout.read_tags()
        if name not in tags:
            raise UsageError(f"there is no tag {name!r}", "`memctl tag` lists them")
        del tags[name]
        atomic.replace(self._layout.tags, sealed_pairs(tags))

    def configure(self, key: str, value: Any) -> None:
        """Puts a setting into `memctl.toml`; everything else in the file stays as it is.

        Raises:
            UsageError: The file is laid out in a way that cannot be changed in place.
            DamagedStore: Somebody edited the file, and `verify --repair` has not accepted that yet.
        """
        lines = self._layout.read_sealed(self._layout.config)
        changed = with_value("".join(f"{line}\n" for line in lines), f"settings.{key}", value)
        atomic.replace(self._layout.config, sealed(changed.removesuffix("\n").split("\n")))

    def gc(
        self,
        keep_last: int | None = None,
        keep_daily: int | None = None,
        keep_tag: bool = True,
    ) -> collect.GcReport:
        """Removes what nothing reaches; see `collect.collect`."""
        retention = collect.Retention(keep_last, keep_daily, keep_tag)
        return collect.collect(self._layout, retention, in_use=frozenset(self._put), dry_run=False)

    def _advance(
        self,
        parent: Snapshot,
        ledger: str,
        deltas: tuple[DeltaRef, ...],
        adapter: AdapterRef | None,
        weights: dict[str, str],
        metrics: dict[str, float],
        message: str,
        report: str,
        journal: int,
    ) -> Snapshot:
        snapshot = make_snapshot(
            parent=parent.id,
            time=_later(parent.time),
            command=self._command,
            message=message,
            base=self._base.fingerprint,
            ledger=ledger,
            deltas=deltas,
            adapter=adapter,
            weights=weights,
            metrics=metrics,
            report=report,
            journal=journal,
        )
        atomic.replace(self._layout.snapshot(snapshot.id), encode(snapshot), atomic.READ_ONLY)
        try:
            atomic.replace(self._layout.head, f"{snapshot.id}\n".encode())
            self._head_id, self._head = snapshot.id, snapshot
            self._refresh_ledger(snapshot)
        except MemctlError as error:
            raise self._after_head(error, snapshot) from error
        self._put -= snapshot.objects
        return snapshot

    def _after_head(self, error: MemctlError, snapshot: Snapshot) -> MemctlError:
        """The error, saying whether the commit stands all the same."""
        if self._layout.read_head() != snapshot.id:
            return error
        self._head_id, self._head = snapshot.id, snapshot
        stands = f"the change stands as snapshot {snapshot.id[:12]} all the same"
        return type(error)(f"{error.message}; {stands}", "the next command that writes completes it")

    def _readable_head(self) -> Snapshot | None:
        try:
            head = self._layout.read_snapshot(self._head_id)
        except DamagedStore:
            return None
        if head.base != self._base.fingerprint:
            raise DamagedStore(
                f"memctl.toml names the base {self._base.fingerprint[:12]}, the history is of {head.base[:12]}",
                "restore the fingerprint in memctl.toml",
            )
        return head

    def _require_head(self) -> Snapshot:
        return self._head or self._layout.read_snapshot(self._head_id)

    def _refresh_ledger(self, head: Snapshot) -> None:
        """Makes ledger.json equal to HEAD's ledger, which an interrupted commit may have left undone."""
        try:
            data = self._layout.read_object(head.ledger)
        except DamagedStore:
            return  # there is nothing to copy; `verify` names the object, `rollback` gets past it
        path = self._layout.ledger
        with atomic.naming("read", path):
            current = path.read_bytes() if path.exists() else b""
        if current != data:
            atomic.replace(path, data)


def same_state(one: Snapshot, other: Snapshot) -> bool:
    """Whether a rollback from one to the other has nothing to bring back."""
    return _state(one) == _state(other)


def _state(snapshot: Snapshot) -> tuple[object, ...]:
    return snapshot.ledger, snapshot.deltas, snapshot.adapter, snapshot.journal


def _later(time: str) -> str:
    """Now, but after `time` even where the clock was set back: a history is in order of time."""
    least = datetime.fromisoformat(time) + timedelta(milliseconds=1)
    return max(now(), least.isoformat(timespec="milliseconds").replace("+00:00", "Z"))
