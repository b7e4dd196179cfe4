"""Which model a name means, what the cache holds, and how a model gets there.

A cached model is a folder in Hugging Face layout. It is built under another name and renamed when it is whole,
under a lock: two processes that want the same model build it once, and a killed one leaves nothing that looks
finished.
"""

import difflib
import errno
import hashlib
import re
import shutil
from pathlib import Path
from typing import Literal

import filelock
import msgspec
import orjson

from memctl.errors import DiskFull, ModelUnavailable
from memctl.models import bundled, hub
from memctl.models.cache import Progress, cache_dir
from memctl.models.fingerprint import known_fingerprint, weight_files

Kind = Literal["bundled", "hub", "folder", "gguf"]
RECORD = "memctl-source.json"
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")


class ModelSource(msgspec.Struct, frozen=True):
    """A model that a name stands for.

    Attributes:
        name: What the user typed, normalised: the bundled model's name, `owner/name`, or an absolute path.
        location: The folder or the GGUF file; empty for models that have no place on this machine yet.
    """

    kind: Kind
    name: str
    location: str = ""

    @property
    def folder(self) -> Path:
        """Where the model lies in Hugging Face layout, once it is fetched."""
        if self.kind == "folder":
            return Path(self.location)
        return cache_dir() / "models" / self._cache_name()

    def _cache_name(self) -> str:
        if self.kind != "gguf":
            return self.name.replace("/", "--")
        file = Path(self.location)
        status = file.stat()  # a file that was replaced is another model
        identity = f"{self.location}\n{status.st_size}\n{status.st_mtime_ns}"
        return f"{file.stem}-{hashlib.sha256(identity.encode()).hexdigest()[:12]}"


class AvailableModel(msgspec.Struct, frozen=True):
    """One line of `memctl model list`.

    Attributes:
        size: Bytes on disk, 0 if not fetched.
        fingerprint: Empty until it has been computed once.
    """

    name: str
    kind: Kind
    fetched: bool
    size: int
    fingerprint: str
    folder: Path


def find(name: str) -> ModelSource:
    """The model that `name` means: the bundled one, a `.gguf` file, a folder with a config.json, or a hub id.

    What lies on this machine comes before the hub; nothing is fetched.

    Raises:
        ModelUnavailable: It is none of these.
    """
    typed = name.strip()
    if typed.casefold() in ("bundled", bundled.NAME):
        return ModelSource("bundled", bundled.NAME)
    try:
        path = Path(typed).expanduser()
    except RuntimeError as error:
        raise ModelUnavailable(f"{typed}: {error}", "give the folder in full") from error
    if path.suffix.casefold() == ".gguf" and path.is_file():
        return ModelSource("gguf", str(path.resolve()), str(path.resolve()))
    if path.is_dir():
        return ModelSource("folder", str(path.resolve()), str(_checked(path.resolve())))
    looks_local = path.is_absolute() or typed.startswith((".", "~")) or path.suffix.casefold() == ".gguf"
    if HUB_NAME.fullmatch(typed) and not looks_local:
        return ModelSource("hub", typed)
    if looks_local:
        raise ModelUnavailable(f"there is no model at {path}", "name a folder with a config.json, or a .gguf file")
    near = difflib.get_close_matches(typed.casefold(), [model.name for model in available()], n=1, cutoff=0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ModelUnavailable(
        f"no model is called {typed!r}", f"{hint}`memctl model list` shows the models; hub ids read owner/name"
    )


def _checked(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise ModelUnavailable(f"{folder} has no config.json", "name a folder in Hugging Face layout")
    weight_files(folder)
    return folder


def available() -> list[AvailableModel]:
    """The bundled model first, then everything that the cache holds, by name."""
    sources = {bundled.NAME: ModelSource("bundled", bundled.NAME)}
    folders = {bundled.NAME: sources[bundled.NAME].folder}
    for record in sorted((cache_dir() / "models").glob(f"*/{RECORD}")):
        try:
            source = msgspec.convert(orjson.loads(record.read_bytes()), ModelSource)
        except (orjson.JSONDecodeError, msgspec.ValidationError):
            continue  # not one of ours, or damaged: fetching it again replaces it
        if source.kind == "gguf" and not _is_current(source, record.parent):
            continue  # of a file that is gone, or has been replaced
        sources[source.name], folders[source.name] = source, record.parent
    return [_described(source, folders[name]) for name, source in sources.items()]


def _is_current(source: ModelSource, folder: Path) -> bool:
    try:
        return source.folder == folder
    except OSError:
        return False


def _described(source: ModelSource, folder: Path) -> AvailableModel:
    fetched = folder.is_dir()
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if fetched else 0
    return AvailableModel(source.name, source.kind, fetched, size, known_fingerprint(folder) or "", folder)


def fetch(source: ModelSource, progress: Progress | None = None) -> Path:
    """The model's folder: config.json, the tokenizer's files, and safetensors. Returns at once if it is there.

    Raises:
        ModelUnavailable: It could not be downloaded, read or converted.
        DiskFull: The cache has no room for it.
    """
    folder = source.folder
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(folder.parent / f".{folder.name}.lock", fallback_to_soft=False):
            if not folder.is_dir():  # another process may have built it while this one waited
                _build(source, folder, progress or (lambda step, done: None))
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise DiskFull(
                f"no room for {source.name} in {folder.parent}",
                "free some space, or name another place: export MEMCTL_CACHE=DIR",
            ) from error
        raise ModelUnavailable(
            f"{source.name} could not be placed in {folder.parent}: {error}",
            "name a place that can be written: export MEMCTL_CACHE=DIR",
        ) from error
    return folder


def _build(source: ModelSource, folder: Path, progress: Progress) -> None:
    """Makes the model beside its final place. A hub download that was interrupted goes on where it stopped."""
    partial, scratch = (folder.parent / f".{folder.name}.{suffix}" for suffix in ("partial", "scratch"))
    leftovers = [scratch] if source.kind == "hub" else [scratch, partial]
    for leftover in leftovers:
        shutil.rmtree(leftover, ignore_errors=True)
    partial.mkdir(exist_ok=True)
    scratch.mkdir()
    try:
        if source.kind == "bundled":
            bundled.build(partial, scratch, progress)
        elif source.kind == "gguf":
            from memctl.models import gguf  # numpy: not needed to list or to find a model

            gguf.convert(Path(source.location), partial, progress)
        else:
            hub.download(source.name, partial, progress)
        _checked(partial)
        shutil.rmtree(partial / ".cache", ignore_errors=True)  # the hub's, by which a download goes on where it stopped
        (partial / RECORD).write_bytes(orjson.dumps(msgspec.to_builtins(source), option=orjson.OPT_INDENT_2))
        partial.rename(folder)
    finally:
        for leftover in leftovers:
            shutil.rmtree(leftover, ignore_errors=True)
