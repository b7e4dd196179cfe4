"""A name means one model; a cached model is there entirely or not at all."""

import errno
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from memctl.errors import DiskFull, ModelUnavailable
from memctl.models import bundled, hub
from memctl.models.cache import Progress
from memctl.models.fingerprint import fingerprint
from memctl.models.source import RECORD, ModelSource, available, fetch, find

Maker = Callable[[Path], Path]


@pytest.mark.parametrize("typed", ["bundled", "smollm2-135m-instruct", " SmolLM2-135M-Instruct "])
def test_the_bundled_model_has_a_short_name(typed: str, cache: Path) -> None:
    assert find(typed) == ModelSource("bundled", "smollm2-135m-instruct")


def test_a_folder_on_this_machine_comes_before_the_hub(
    make_folder: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find("owner/name") == ModelSource("hub", "owner/name")
    folder = make_folder(tmp_path / "owner" / "name")
    source = find("owner/name")
    assert (source.kind, source.name) == ("folder", str(folder))
    assert fetch(source) == folder


def test_a_gguf_file_is_known_by_its_ending(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "model.Q4.GGUF"
    path.write_bytes(b"GGUF")
    assert find(str(path)) == ModelSource("gguf", str(path), str(path))


def test_a_gguf_file_that_was_replaced_is_another_model(tmp_path: Path, cache: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    before = find(str(path)).folder
    path.write_bytes(b"GGUF, but longer")
    assert find(str(path)).folder != before


@pytest.mark.parametrize("typed", ["", "smollm", "a/b/c", "/no/such/folder", "./no", "~/no", "no.gguf", "a b/c"])
def test_what_is_no_model_is_an_error_with_a_hint(typed: str, cache: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        find(typed)
    assert caught.value.hint


def test_a_near_miss_names_the_model(cache: Path) -> None:
    with pytest.raises(ModelUnavailable) as caught:
        find("smollm2-135m-instuct")
    assert "did you mean smollm2-135m-instruct?" in caught.value.hint


@pytest.mark.parametrize("file", ["config.json", "model.safetensors"])
def test_a_folder_that_lacks_something_is_refused_by_its_name(file: str, make_folder: Maker, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "model")
    (folder / file).unlink()
    with pytest.raises(ModelUnavailable, match=file):
        find(str(folder))


@pytest.fixture
def fake_hub(make_folder: Maker, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Downloads become a tiny folder; the names that were asked for are in the list."""
    asked: list[str] = []

    def download(name: str, folder: Path, progress: Progress) -> None:
        asked.append(name)
        progress("downloading", 0.5)
        time.sleep(0.05)
        for file in make_folder(folder / "made").iterdir():
            file.rename(folder / file.name)
        (folder / "made").rmdir()

    monkeypatch.setattr(hub, "download", download)
    return asked


def test_a_model_is_fetched_once(fake_hub: list[str], cache: Path) -> None:
    steps: list[tuple[str, float | None]] = []
    source = find("owner/name")
    folder = fetch(source, lambda step, done: steps.append((step, done)))
    assert folder == fetch(source) == cache / "models" / "owner--name"
    assert fake_hub == ["owner/name"]
    assert steps == [("downloading", 0.5)]


def test_several_who_want_the_same_model_build_it_once(fake_hub: list[str], cache: Path) -> None:
    threads = [threading.Thread(target=fetch, args=(find("owner/name"),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert fake_hub == ["owner/name"]


def test_the_list_names_what_is_fetched(fake_hub: list[str], cache: Path) -> None:
    (only,) = available()
    assert (only.name, only.fetched, only.size, only.fingerprint) == (bundled.NAME, False, 0, "")
    folder = fetch(find("owner/name"))
    assert [model.name for model in available()] == [bundled.NAME, "owner/name"]
    model = available()[1]
    assert (model.kind, model.fetched, model.fingerprint, model.folder) == ("hub", True, "", folder)
    assert model.size == sum(file.stat().st_size for file in folder.iterdir())
    assert available()[1].fingerprint == "" != fingerprint(folder) == available()[1].fingerprint


def test_what_fails_leaves_nothing_that_looks_fetched(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(folder: Path, scratch: Path, progress: Progress) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise ModelUnavailable("no network")

    monkeypatch.setattr(bundled, "build", build)
    with pytest.raises(ModelUnavailable, match="no network"):
        fetch(find("bundled"))
    assert not available()[0].fetched
    assert [path for path in (cache / "models").rglob("*") if path.suffix != ".lock"] == []


def test_a_killed_fetch_does_not_stand_in_the_way(make_folder: Maker, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies in the middle, without a chance to tidy up; the next one starts over and succeeds."""
    code = (
        "import os\nfrom memctl.models import bundled, source\n"
        "def build(folder, scratch, progress):\n"
        "    (folder / 'model.safetensors').write_bytes(b'half'); os._exit(9)\n"
        "bundled.build = build\nsource.fetch(source.find('bundled'))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 9
    assert not available()[0].fetched

    def build(folder: Path, scratch: Path, progress: Progress) -> None:
        assert list(folder.iterdir()) == list(scratch.iterdir()) == []
        for file in make_folder(scratch / "made").iterdir():
            file.rename(folder / file.name)

    monkeypatch.setattr(bundled, "build", build)
    assert fingerprint(fetch(find("bundled")))


def test_a_broken_download_goes_on_where_it_stopped(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[list[str]] = []

    def download(name: str, folder: Path, progress: Progress) -> None:
        found.append([path.name for path in folder.iterdir()])
        (folder / "part").write_bytes(b"half")
        raise ModelUnavailable("the line was cut")

    monkeypatch.setattr(hub, "download", download)
    for _ in range(2):
        with pytest.raises(ModelUnavailable):
            fetch(find("owner/name"))
    assert found == [[], ["part"]]


@pytest.mark.parametrize(("code", "kind"), [(errno.ENOSPC, DiskFull), (errno.EACCES, ModelUnavailable)])
def test_trouble_with_the_disk_names_the_way_out(
    code: int, kind: type[DiskFull], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(folder: Path, scratch: Path, progress: Progress) -> None:
        raise OSError(code, "trouble")

    monkeypatch.setattr(bundled, "build", build)
    with pytest.raises(kind) as caught:
        fetch(find("bundled"))
    assert "MEMCTL_CACHE" in caught.value.hint


def test_the_hubs_own_notes_go_only_where_the_model_is_whole(
    fake_hub: list[str], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = hub.download

    def download(name: str, folder: Path, progress: Progress) -> None:
        found.append((folder / ".cache" / "begun").exists())
        (folder / ".cache").mkdir(exist_ok=True)
        (folder / ".cache" / "begun").write_bytes(b"")
        if len(found) == 2:
            whole(name, folder, progress)

    found: list[bool] = []
    monkeypatch.setattr(hub, "download", download)
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        fetch(find("owner/name"))
    assert not (fetch(find("owner/name")) / ".cache").exists()
    assert found == [False, True]


def test_a_conversion_of_a_file_that_was_replaced_is_not_listed(cache: Path, tmp_path: Path, make_folder: Maker) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    source = find(str(path))
    folder = make_folder(source.folder)
    (folder / RECORD).write_bytes(msgspec.json.encode(source))
    assert str(path) in [model.name for model in available()]
    for change in (lambda: path.write_bytes(b"GGUF, but longer"), path.unlink):
        change()
        assert str(path) not in [model.name for model in available()]
