"""The fingerprint changes with everything that changes what the model computes, and with nothing else."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memctl.errors import ModelUnavailable
from memctl.models.fingerprint import fingerprint, hash_tensor, known_fingerprint, tensor_hashes
from memctl.models.tensor_file import TensorSpec, read_header, write_tensors

Maker = Callable[[Path], Path]


@pytest.fixture
def folder(make_folder: Maker, tmp_path: Path) -> Path:
    return make_folder(tmp_path / "model")


def edit(path: Path, **fields: Any) -> None:
    path.write_bytes(orjson.dumps({**orjson.loads(path.read_bytes()), **fields}))


def test_every_bit_of_every_tensor_counts(folder: Path) -> None:
    before = fingerprint(folder)
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    _, start = read_header(path)
    for place in range(start, len(whole)):
        flipped = bytearray(whole)
        flipped[place] ^= 1
        path.write_bytes(flipped)
        assert fingerprint(folder, fresh=True) != before, place


@pytest.mark.parametrize(
    ("file", "fields"),
    [
        ("config.json", {"rms_norm_eps": 1e-4}),
        ("config.json", {"rope_parameters": {"rope_theta": 5.0}}),
        ("tokenizer.json", {"model": {"vocab": {"b": 0}}}),
    ],
)
def test_architecture_and_vocabulary_count(folder: Path, file: str, fields: dict[str, Any]) -> None:
    before = fingerprint(folder)
    edit(folder / file, **fields)
    assert fingerprint(folder) != before


def test_the_chat_template_counts_wherever_it_lies(folder: Path) -> None:
    bare = fingerprint(folder)
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps({"chat_template": "A"}))
    inline = fingerprint(folder)
    (folder / "tokenizer_config.json").unlink()
    (folder / "chat_template.jinja").write_text("A")
    assert bare != inline == fingerprint(folder)


def test_who_saved_the_model_and_how_does_not_count(folder: Path) -> None:
    before = fingerprint(folder)
    edit(folder / "config.json", transformers_version="9.9", _name_or_path="elsewhere", dtype="bfloat16")
    edit(folder / "tokenizer.json", padding={"length": 7})
    config = orjson.loads((folder / "config.json").read_bytes())
    (folder / "config.json").write_bytes(orjson.dumps(dict(reversed(config.items())), option=orjson.OPT_INDENT_2))
    (folder / "README.md").write_text("words")
    assert fingerprint(folder, fresh=True) == before


def test_shards_have_the_fingerprint_of_the_whole(folder: Path) -> None:
    before = fingerprint(folder)
    (folder / "model.safetensors").unlink()
    for name, spec, data in (
        ("model-00001-of-00002.safetensors", TensorSpec("b", "BF16", (4,)), bytes(range(8))),
        ("model-00002-of-00002.safetensors", TensorSpec("a", "F32", (2, 3)), bytes(range(24))),
    ):
        write_tensors(folder / name, [spec], [data])
    weight_map = {"a": "model-00002-of-00002.safetensors", "b": "model-00001-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_bytes(orjson.dumps({"weight_map": weight_map}))
    assert fingerprint(folder) == before
    (folder / weight_map["a"]).unlink()
    with pytest.raises(ModelUnavailable, match="model-00002"):
        fingerprint(folder)


def test_dtype_and_shape_count_though_the_bytes_are_the_same() -> None:
    data = bytes(24)
    hashes = {
        hash_tensor("F32", (2, 3), data),
        hash_tensor("F32", (3, 2), data),
        hash_tensor("I32", (2, 3), data),
    }
    assert len(hashes) == 3


def test_tensor_hashes_are_those_of_the_tensors(folder: Path) -> None:
    assert tensor_hashes(folder) == {
        "a": hash_tensor("F32", (2, 3), bytes(range(24))),
        "b": hash_tensor("BF16", (4,), bytes(range(8))),
    }


def test_the_second_call_reads_no_weights(folder: Path) -> None:
    """A byte is changed behind the cache's back, with size and time kept: only `fresh` may notice."""
    assert known_fingerprint(folder) is None
    before = fingerprint(folder)
    path = folder / "model.safetensors"
    state = path.stat()
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert known_fingerprint(folder) == fingerprint(folder) == before
    assert fingerprint(folder, fresh=True) != before


def test_a_touched_file_is_hashed_again(folder: Path) -> None:
    before = fingerprint(folder)
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    os.utime(path, ns=(1, 1))
    assert fingerprint(folder) != before


@pytest.mark.parametrize("garbage", [b"", b"{", b'{"files": 3}'])
def test_a_damaged_cache_is_no_error(folder: Path, cache: Path, garbage: bytes) -> None:
    before = fingerprint(folder)
    (kept,) = (cache / "fingerprints").iterdir()
    kept.write_bytes(garbage)
    assert fingerprint(folder) == before


def test_nothing_is_written_into_the_model(folder: Path) -> None:
    before = sorted(folder.iterdir())
    fingerprint(folder)
    assert sorted(folder.iterdir()) == before


@settings(max_examples=60)
@given(cut=st.integers(0, 199))
def test_a_truncated_file_is_an_error_with_a_name(cut: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "model.safetensors"
    write_tensors(path, [TensorSpec("a", "F32", (2, 3))], [bytes(24)])
    whole = path.read_bytes()
    path.write_bytes(whole[: min(cut, len(whole) - 1)])
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors"):
        tensor_hashes(path.parent, fresh=True)


def test_a_folder_without_weights_is_an_error(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(ModelUnavailable, match=r"model\.safetensors"):
        fingerprint(tmp_path)


def test_neither_torch_nor_numpy_is_loaded() -> None:
    code = (
        "import sys, memctl.models.source, memctl.models.fingerprint;"
        "print([m for m in ('torch', 'transformers', 'numpy', 'gguf', 'huggingface_hub') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_of_a_whole_file_and_an_index_the_file_counts_which_transformers_loads(folder: Path) -> None:
    before = fingerprint(folder)
    write_tensors(folder / "shard.safetensors", [TensorSpec("a", "F32", (1,))], [bytes(4)])
    index = {"weight_map": {"a": "shard.safetensors"}}
    (folder / "model.safetensors.index.json").write_bytes(orjson.dumps(index))
    assert fingerprint(folder, fresh=True) == before
