"""`Store`: one memory directory, opened for reading; writing goes through `Store.writer`.

Readers take no lock. What they read is immutable and named by its hash, so a commit beside them changes
nothing; where HEAD moves and gc sweeps between two reads, the read starts again at the new HEAD.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import orjson

from memctl.errors import UsageError
from memctl.store import atomic, collect, revisions
from memctl.store.diff import Diff, diff
from memctl.store.encoding import FORMAT, encode, sha256
from memctl.store.journal import Journal
from memctl.store.layout import Layout, sealed, sealed_pairs
from memctl.store.lock import hold, now
from memctl.store.records import BaseRef, Ledger, Snapshot, make_snapshot
from memctl.store.workroom import Workroom
from memctl.store.writer import Writer, publish, writer

__all__ = ["Diff", "Store", "Writer", "diff"]


class Store:
    """One memory directory.

    Attributes:
        path: The folder.
        base: The base model it belongs to.
        config: The parsed `memctl.toml`.
        journal: Records that wait to be worked on.
        workroom: What an unfinished sleep has done, and how the last one ended.
    """

    def __init__(self, layout: Layout) -> None:
        layout.require_store()
        layout.read_head()
        self.base, self.config = layout.read_config()
        self.path = layout.root
        self.layout = layout
        self.journal = Journal(layout)
        self.workroom = Workroom(layout)

    @classmethod
    def open(cls, path: Path | str) -> "Store":
        """The store at `path`.

        Raises:
            StoreNotFound: There is none.
            UnknownFormat: A newer memctl wrote it.
            DamagedStore: `memctl.toml` or HEAD cannot be read.
        """
        return cls(Layout(Path(path).absolute()))

    @classmethod
    def create(cls, path: Path | str, base: BaseRef, *, backend: str = "torch") -> "Store":
        """Makes an empty store with its first snapshot, in a folder that is new or empty.

        Raises:
            UsageError: There is a store already, or other files.
        """
        layout = Layout(Path(path).absolute())
        _require_room(layout)
        atomic.make_directory(layout.root, 0o700)  # what it holds is personal
        with hold(layout.lock, wait=10.0, command="init"):
            _require_room(layout)  # another `init` may have been faster
            _build(layout, base, backend)
        return cls(layout)

    def head(self) -> Snapshot:
        """The current snapshot."""
        return self.layout.read_current()

    def snapshot(self, revision: str) -> Snapshot:
        """The snapshot that an id prefix, HEAD, HEAD~2, a tag, @{2d} or @{ISO time} names.

        Raises:
            UsageError: It names none, or could name several.
        """
        return self.layout.undisturbed(lambda: revisions.resolve(self.layout, revision))

    def log(self, start: str = "HEAD") -> Iterator[Snapshot]:
        """The snapshot `start` and all before it, newest first."""
        return revisions.history(self.layout, self.snapshot(start))

    def ledger(self, snapshot: Snapshot | None = None) -> Ledger:
        """The facts as of `snapshot`, by default the current one."""
        return self.layout.undisturbed(lambda: self.layout.read_ledger((snapshot or self.head()).ledger))

    def read_object(self, sha: str) -> bytes:
        """The bytes of an object, after hashing them.

        Raises:
            DamagedStore: It is missing or not what its name says.
        """
        return self.layout.read_object(sha)

    def tags(self) -> dict[str, str]:
        """Tag names and the ids of their snapshots, sorted by name."""
        return self.layout.read_tags()

    def plan_gc(self, keep_last: int | None = None, keep_daily: int | None = None, keep_tag: bool = True) -> collect.GcReport:
        """What `Writer.gc` would remove; takes no lock, and so counts what a running write has not committed yet."""
        retention = collect.Retention(keep_last, keep_daily, keep_tag)
        return self.layout.undisturbed(lambda: collect.collect(self.layout, retention, in_use=frozenset(), dry_run=True))

    def writer(self, wait: float = 0.0, command: str = "") -> AbstractContextManager[Writer]:
        """Takes the lock for a block, waiting for it up to `wait` seconds; commits record the `command`.

        Raises:
            StoreLocked: Another process writes, still.
            DamagedStore: The store's base is not that of its history.
        """
        return writer(self.layout, self.base, wait, command)


def _require_room(layout: Layout) -> None:
    """Raises `UsageError` unless the folder is missing, empty, or left by an `init` that was cut short."""
    with atomic.naming("read", layout.root):
        if layout.incomplete.exists() or not layout.root.exists():
            return
        names = sorted(entry.name for entry in layout.root.iterdir())
    if layout.config.name in names or layout.head.name in names:
        raise UsageError(f"there is a memory at {layout.root} already", "`memctl status` shows it")
    ours = {layout.lock.name, f"{layout.lock.name}.json"}
    if strange := [name for name in names if name not in ours and not name.endswith(atomic.TEMPORARY)]:
        raise UsageError(f"{layout.root} is not empty: it holds {strange[0]}", "name a new or empty folder with --store")


def _build(layout: Layout, base: BaseRef, backend: str) -> None:
    atomic.replace(layout.incomplete, b"")
    for folder in (layout.snapshots, layout.objects):
        atomic.make_directory(folder)
    ledger = encode(Ledger())
    publish(layout, ledger, ".json")
    first = make_snapshot(
        parent="",
        time=now(),
        command="init",
        message="empty memory",
        base=base.fingerprint,
        ledger=sha256(ledger),
        deltas=(),
        adapter=None,
        weights={},
        metrics={},
    )
    atomic.replace(layout.snapshot(first.id), encode(first), atomic.READ_ONLY)
    atomic.replace(layout.tags, sealed_pairs({}))
    atomic.replace(layout.shallow, sealed_pairs({}))
    Journal(layout).create()
    atomic.replace(layout.config, sealed(_config_lines(base, backend)))
    atomic.replace(layout.head, f"{first.id}\n".encode())
    atomic.replace(layout.ledger, ledger)
    atomic.remove([layout.incomplete])


def _config_lines(base: BaseRef, backend: str) -> list[str]:
    return [
        f"format = {FORMAT}",
        "features = []",
        "",
        "[base]",
        f"name = {_toml(base.name)}",
        f"fingerprint = {_toml(base.fingerprint)}",
        "",
        "[settings]",
        f"backend = {_toml(backend)}",
        "",
    ]


def _toml(text: str) -> str:
    """A TOML basic string: JSON's escapes, and DEL, which JSON lets through."""
    return orjson.dumps(text).decode().replace("\x7f", "\\u007f")
