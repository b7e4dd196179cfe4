"""Where everything lies in a memory directory, and the reads that check what they return.

The files that are neither content-addressed nor a bare id (`memctl.toml`, `tags`, `shallow`,
`journal/position`) end in a line with the SHA-256 of the lines above it, the seal. A user may edit
`memctl.toml`, so opening a store does not ask for its seal; `verify` does.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from memctl.errors import DamagedStore, StoreNotFound, UnknownFormat
from memctl.store import atomic
from memctl.store.encoding import damaged, require_format, sha256
from memctl.store.records import SHA256_PATTERN, BaseRef, Ledger, Snapshot, decode_ledger, decode_snapshot

T = TypeVar("T")

_SEAL = "# sha256 "
_ID = re.compile(SHA256_PATTERN)


@dataclass(frozen=True)
class Layout:
    """The paths of one memory directory, and typed reads of the files under them.

    Every read raises `DamagedStore`, naming the file, where it is missing or not what it should be, and
    `MemctlError` where the operating system will not give it.
    """

    root: Path

    @property
    def config(self) -> Path:
        return self.root / "memctl.toml"

    @property
    def head(self) -> Path:
        return self.root / "HEAD"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.json"

    @property
    def tags(self) -> Path:
        return self.root / "tags"

    @property
    def shallow(self) -> Path:
        return self.root / "shallow"

    @property
    def lock(self) -> Path:
        return self.root / "lock"

    @property
    def incomplete(self) -> Path:
        """Marks a directory that `init` is making, or left half made."""
        return self.root / "incomplete"

    @property
    def snapshots(self) -> Path:
        return self.root / "snapshots"

    @property
    def objects(self) -> Path:
        return self.root / "objects"

    @property
    def sleep(self) -> Path:
        return self.root / "sleep"

    @property
    def journal(self) -> Path:
        return self.root / "journal"

    def snapshot(self, id: str) -> Path:
        return self.snapshots / f"{id}.json"

    def object(self, sha: str, suffix: str) -> Path:
        return self.objects / sha[:2] / f"{sha}{suffix}"

    def name(self, path: Path) -> str:
        """The path as messages give it: relative to the store."""
        return str(path.relative_to(self.root))

    def require_store(self) -> None:
        """Raises `StoreNotFound` unless the folder is a store, intact or not."""
        with atomic.naming("read", self.root):
            found = any(path.exists() for path in (self.config, self.head, self.snapshots))
            whole = found and not self.incomplete.exists()
        if not whole:
            raise StoreNotFound(f"there is no memory at {self.root}", "`memctl init` makes one")

    def read(self, path: Path) -> bytes:
        """The bytes of a file that has to be there."""
        with atomic.naming("read", path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
                raise damaged(self.name(path), "the file is missing") from error

    def read_sealed(self, path: Path) -> list[str]:
        """The lines above the seal of a sealed file."""
        data = self.read(path)
        lines = self.text(path, data).split("\n")[:-2]
        if sealed(lines) != data:
            raise damaged(self.name(path), "its lines do not have the hash in its last line")
        return lines

    def text(self, path: Path, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise damaged(self.name(path), str(error)) from error

    def read_head(self) -> str:
        """The id in HEAD."""
        text = self.text(self.head, self.read(self.head))
        if not (text.endswith("\n") and _ID.match(text[:-1])):
            raise damaged("HEAD", "it does not hold the id of a snapshot")
        return text[:-1]

    def read_tags(self) -> dict[str, str]:
        """Tag names and the ids they stand for, sorted by name."""
        return self._pairs(self.tags)

    def read_shallow(self) -> dict[str, str]:
        """Snapshots whose parent retention has removed, and for each the next older one it kept, or `""`."""
        return {id: "" if older == "-" else older for id, older in self._pairs(self.shallow).items()}

    def read_snapshot(self, id: str) -> Snapshot:
        path = self.snapshot(id)
        return decode_snapshot(self.read(path), id, self.name(path))

    def read_current(self) -> Snapshot:
        """The snapshot that HEAD names."""
        return self.undisturbed(lambda: self.read_snapshot(self.read_head()))

    def read_object(self, sha: str) -> bytes:
        """The bytes of an object, hashed."""
        path = self.find_object(sha)
        data = self.read(path)
        if sha256(data) != sha:
            raise damaged(self.name(path), "its bytes do not have the hash that it is named by")
        return data

    def find_object(self, sha: str) -> Path:
        folder = self.objects / sha[:2]
        found = sorted(folder.glob(f"{sha}.*")) if _ID.match(sha) else []
        if not found:
            raise damaged(f"objects/{sha[:2]}/{sha}", "the object is missing")
        return found[0]

    def read_ledger(self, sha: str) -> Ledger:
        return decode_ledger(self.read_object(sha), f"the ledger {sha}")

    def read_config(self) -> tuple[BaseRef, dict[str, Any]]:
        """The base model, and all of `memctl.toml`.

        Raises:
            UnknownFormat: A newer memctl wrote the store, or it uses a feature this one does not have.
        """
        try:
            config = tomllib.loads(self.text(self.config, self.read(self.config)))
            version = config["format"]
            if type(version) is not int:
                raise damaged("memctl.toml", "`format` is no number")
            require_format(version, "memctl.toml")  # before what another version may keep elsewhere
            features, base = config["features"], config["base"]
            if not isinstance(features, list):
                raise damaged("memctl.toml", "`features` is no list")
            if features:
                names = ", ".join(map(str, features))
                raise UnknownFormat(f"the store uses features unknown here: {names}", "install a newer memctl")
            return BaseRef(name=_text(base["name"]), fingerprint=_text(base["fingerprint"])), config
        except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
            raise damaged("memctl.toml", f"{error} is missing or wrong") from error

    def moving(self) -> list[bytes | None]:
        """The bytes of the files that say what is reachable: the same after a read that nobody disturbed."""
        found: list[bytes | None] = []
        for path in (self.head, self.tags, self.shallow):
            try:
                found.append(path.read_bytes())
            except OSError:
                found.append(None)
        return found

    def undisturbed(self, read: Callable[[], T]) -> T:
        """What `read` returns, tried again where a commit or gc has moved what it began with."""
        while True:
            before = self.moving()
            try:
                return read()
            except DamagedStore:
                if self.moving() == before:
                    raise

    def _pairs(self, path: Path) -> dict[str, str]:
        pairs = [line.split(" ") for line in self.read_sealed(path)]
        if any(len(pair) != 2 for pair in pairs):
            raise damaged(self.name(path), "a line is not a pair")
        return dict(pairs)


def sealed(lines: list[str]) -> bytes:
    """The bytes of a sealed file with these lines."""
    body = "".join(f"{line}\n" for line in lines)
    return f"{body}{_SEAL}{sha256(body.encode())}\n".encode()


def sealed_pairs(pairs: Mapping[str, str]) -> bytes:
    """A sealed file of pairs, sorted by key; an empty value is written as a dash."""
    return sealed([f"{key} {value or '-'}" for key, value in sorted(pairs.items())])


def resealed(text: str) -> bytes:
    """The text with a seal that fits it, in place of the one it has, if any."""
    return sealed([line for line in text.removesuffix("\n").split("\n") if not line.startswith(_SEAL)])


def _text(value: object) -> str:
    if not (isinstance(value, str) and value):
        raise TypeError("the base's name or fingerprint")
    return value
