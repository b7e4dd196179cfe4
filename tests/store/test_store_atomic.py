"""Bytes are on the disk before they have a name, and a name is on the disk before anybody is told."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from store_faults import CountingOs

from memctl.errors import DiskFull, MemctlError, StoreNotWritable
from memctl.store import atomic


def test_replace_syncs_the_bytes_then_renames_then_syncs_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def record(_: int, name: str, arguments: tuple[Any, ...]) -> None:
        steps.append(name)
        if name == "replace":
            assert Path(arguments[0]).read_bytes() == b"new"
            assert (tmp_path / "file").read_bytes() == b"old"

    (tmp_path / "file").write_bytes(b"old")
    monkeypatch.setattr(atomic, "os", CountingOs(record))
    atomic.replace(tmp_path / "file", b"new", atomic.READ_ONLY)
    assert [step for step in steps if step != "open"] == ["write", "fchmod", "fsync", "replace", "fsync"]
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o444
    assert os.listdir(tmp_path) == ["file"]


def test_macos_flushes_the_drive_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(atomic, "_FULL_SYNC", 51)
    monkeypatch.setattr(fcntl, "fcntl", lambda _, request: asked.append(request))
    atomic.replace(tmp_path / "file", b"new")
    assert asked == [51, 51]


def test_a_drive_that_cannot_flush_is_synced_the_common_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def refuse(*_: int) -> None:
        raise OSError(errno.ENOTSUP, "no such request")

    monkeypatch.setattr(atomic, "_FULL_SYNC", 51)
    monkeypatch.setattr(fcntl, "fcntl", refuse)
    monkeypatch.setattr(os, "fsync", synced.append)
    atomic.replace(tmp_path / "file", b"new")
    assert len(synced) == 2


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EDQUOT, DiskFull),
        (errno.EACCES, StoreNotWritable),
        (errno.EPERM, StoreNotWritable),
        (errno.EROFS, StoreNotWritable),
        (errno.EIO, MemctlError),
    ],
)
def test_errors_of_the_system_have_a_type_a_path_and_a_hint(code: int, kind: type[MemctlError]) -> None:
    with pytest.raises(MemctlError) as caught, atomic.naming("write", Path("store/HEAD")):
        raise OSError(code, os.strerror(code))
    assert type(caught.value) is kind
    assert "store/HEAD" in caught.value.message
    assert os.strerror(code) in caught.value.message
    assert caught.value.hint


def test_an_interrupted_write_leaves_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_: int, name: str, __: tuple[Any, ...]) -> None:
        if name == "replace":
            raise KeyboardInterrupt

    monkeypatch.setattr(atomic, "os", CountingOs(interrupt))
    with pytest.raises(KeyboardInterrupt):
        atomic.replace(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == []
