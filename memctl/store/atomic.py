"""The one module that writes into a store.

A file is replaced by writing a temporary beside it, syncing it, renaming it, and syncing the directory:
whatever stops the process, the name holds the old bytes or the new ones. On macOS `fsync` leaves the data in
the drive's cache, so `F_FULLFSYNC` is used there. Every `OSError` becomes an error of memctl that names the
path.
"""

import errno
import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from memctl.errors import DiskFull, MemctlError, StoreNotWritable

TEMPORARY = ".tmp"
"""Ending of temporary names; a file that has it belongs to a write that runs or was cut short."""

READ_ONLY = 0o444
READ_WRITE = 0o644

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_FULL_SYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_NO_SYNC_HERE = {errno.EINVAL, errno.ENOTSUP, errno.ENOTTY}


@contextmanager
def naming(action: str, path: Path) -> Iterator[None]:
    """Turns an `OSError` inside the block into an error that says what could not be done to which path.

    Raises:
        DiskFull: The device or the quota is full.
        StoreNotWritable: Permission denied, or a read-only file system.
        MemctlError: Any other reason, such as an input/output error.
    """
    try:
        yield
    except OSError as error:
        message = f"cannot {action} {path}: {error.strerror or error}"
        if error.errno in _FULL:
            raise DiskFull(message, "free some space, `memctl gc` may find some, and try again") from error
        if error.errno in _DENIED:
            raise StoreNotWritable(message, "check the owner and the permissions of the folder") from error
        raise MemctlError(message, "check the disk, then `memctl verify`") from error


def replace(path: Path, data: bytes, mode: int = READ_WRITE) -> None:
    """Puts `data` under the name `path`, durably and at once; raises what `naming` does."""
    temporary = path.parent / f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}{TEMPORARY}"
    with naming("write", path):
        try:
            _create(temporary, data, mode)
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary)
            raise
        _sync_directory(path.parent)


def settle(path: Path) -> None:
    """Makes a file durable that a process may have renamed into place without living to sync its folder."""
    with naming("sync", path):
        _sync_path(path)
        _sync_directory(path.parent)


def make_directory(path: Path, mode: int = 0o777) -> None:
    """Makes `path` and its missing parents, durably; raises what `naming` does."""
    with naming("make the folder", path):
        missing = [folder for folder in (path, *path.parents) if not folder.is_dir()]
        for folder in reversed(missing):
            with suppress(FileExistsError):  # another process may make the same one
                os.mkdir(folder, mode)
            _sync_directory(folder.parent)


def remove(paths: Iterable[Path]) -> None:
    """Removes files, those already gone included, and then syncs their folders; raises what `naming` does."""
    folders: dict[Path, None] = {}
    for path in paths:
        with naming("remove", path), suppress(FileNotFoundError):
            os.unlink(path)
            folders[path.parent] = None
    for folder in folders:
        with naming("sync", folder):
            _sync_directory(folder)


def append(path: Path, offset: int, data: bytes) -> None:
    """Cuts the file at `offset`, adds `data` there, and syncs it; where that fails, tries to cut it again."""
    with naming("append to", path):
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.ftruncate(descriptor, offset)
            os.lseek(descriptor, offset, os.SEEK_SET)
            try:
                _write(descriptor, data)
                _sync(descriptor)
            except BaseException:
                with suppress(OSError):
                    os.ftruncate(descriptor, offset)
                raise
        finally:
            os.close(descriptor)


def set_mode(path: Path, mode: int) -> None:
    """Changes the permissions of a file; raises what `naming` does."""
    with naming("change the mode of", path):
        os.chmod(path, mode)


def _create(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        _write(descriptor, data)
        os.fchmod(descriptor, mode)
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_directory(path: Path) -> None:
    try:
        _sync_path(path)
    except OSError as error:
        if error.errno not in _NO_SYNC_HERE:  # some file systems sync names by themselves and refuse to be asked
            raise


def _sync_path(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    if _FULL_SYNC is not None:
        try:
            fcntl.fcntl(descriptor, _FULL_SYNC)
        except OSError as error:
            if error.errno not in _NO_SYNC_HERE:  # network drives know fsync only
                raise
        else:
            return
    os.fsync(descriptor)
