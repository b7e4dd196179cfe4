"""Every way in which the hub can refuse has a message and a next step."""

from pathlib import Path
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
        (local_dir / ".cache" / "huggingface").mkdir(parents=True)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    steps: list[float | None] = []
    hub.download("owner/name", tmp_path, lambda step, done: steps.append(done))
    assert steps == [None, 0.25, 0.5, 0.75, 1.0]
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []  # the hub's own bookkeeping is no part of a model
