"""Every way in which the hub can refuse has a message and a next step."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
)

from memctl.errors import ModelUnavailable
from memctl.models import hub


class Api:
    def model_info(self, name: str) -> Any:
        files = ("config.json", "tokenizer.json", "model.safetensors", "model.bin", "onnx/tokenizer.json")
        return SimpleNamespace(sha="c0ffee", siblings=[SimpleNamespace(rfilename=file) for file in files])


@pytest.fixture(autouse=True)
def _hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "HfApi", Api)


def refusal(kind: type[Exception]) -> Exception:
    """Made without a response of a server, which the constructors of some ask for."""
    error = kind.__new__(kind)
    error.args = ("the hub says no",)
    return error


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (RepositoryNotFoundError, "spelling"),
        (GatedRepoError, "accept"),
        (LocalEntryNotFoundError, "local folder"),
        (OfflineModeIsEnabled, "local folder"),
        (HFValidationError, "local folder"),
        (TimeoutError, "local folder"),
    ],
)
def test_a_refusal_says_what_to_do(kind: type[Exception], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise refusal(kind)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    with pytest.raises(ModelUnavailable) as caught:
        hub.download("owner/name", tmp_path, lambda step, done: None)
    assert "owner/name" in caught.value.message
    assert word in caught.value.hint


def test_bytes_are_reported_and_nothing_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def snapshot(name: str, *, local_dir: Path, tqdm_class: type[Any], **options: Any) -> None:
        files, data = tqdm_class(total=3, desc="files"), tqdm_class(total=0, unit="B", name="hub.bytes")
        data.total = 8
        for _ in range(4):
            data.update(2)
        files.update(1)
        for file in ("config.json", "tokenizer.json", "model.safetensors"):
            (local_dir / file).write_bytes(b"{}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    steps: list[float | None] = []
    hub.download("owner/name", tmp_path, lambda step, done: steps.append(done))
    assert steps == [None, 0.25, 0.5, 0.75, 1.0]
    assert capfd.readouterr() == ("", "")


def test_what_an_earlier_attempt_left_is_no_model_where_the_hub_is_not_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreached(Exception):
        """As the HTTP library's own errors, no `OSError`."""

    def refuse(self: Api, name: str) -> None:
        raise Unreached("no route to the hub")

    monkeypatch.setattr(Api, "model_info", refuse)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **options: None)  # as it does then
    (tmp_path / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ModelUnavailable, match="no route") as caught:
        hub.download("owner/name", tmp_path, lambda step, done: None)
    assert "goes on where it stopped" in caught.value.hint


def test_the_commit_that_was_named_has_to_come_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda name, revision, **options: asked.append(revision))
    (tmp_path / "tokenizer.json").write_bytes(b"{}")
    with pytest.raises(ModelUnavailable, match=r"config\.json is missing"):
        hub.download("owner/name", tmp_path, lambda step, done: None)
    assert asked == ["c0ffee"]


def test_a_model_without_a_tokenizer_is_not_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = [SimpleNamespace(rfilename=file) for file in ("config.json", "model.safetensors", "onnx/tokenizer.json")]
    monkeypatch.setattr(Api, "model_info", lambda self, name: SimpleNamespace(sha="c0ffee", siblings=files))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", pytest.fail)
    with pytest.raises(ModelUnavailable, match="tokenizer"):
        hub.download("owner/name", tmp_path, lambda step, done: None)
