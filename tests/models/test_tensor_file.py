"""What is written here is what the safetensors library reads, and the reverse."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch

from memctl.errors import ModelUnavailable
from memctl.models.tensor_file import TensorSpec, read_header, write_tensors


@given(
    shapes=st.dictionaries(
        st.text(min_size=1).filter(lambda name: name != "__metadata__"),
        st.lists(st.integers(0, 4), max_size=3).map(tuple),
        max_size=4,
    )
)
def test_the_library_reads_what_is_written(
    shapes: dict[str, tuple[int, ...]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("written") / "a.safetensors"
    generator = np.random.default_rng(0)
    arrays = {name: generator.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    write_tensors(
        path,
        [TensorSpec(name, "F32", shape) for name, shape in shapes.items()],
        [array.tobytes() for array in arrays.values()],
    )
    read = load_file(path)
    assert read.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)


def test_bfloat16_needs_no_numpy_type(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", [TensorSpec("w", "BF16", (2,))], [b"\x80\x3f\x00\xc0"])
    assert torch.equal(load_torch(tmp_path / "a.safetensors")["w"], torch.tensor([1.0, -2.0], dtype=torch.bfloat16))


def test_the_header_of_the_library_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_file({"w": np.arange(6, dtype=np.float16).reshape(2, 3)}, path, metadata={"format": "pt"})
    tensors, start = read_header(path)
    begin, end = tensors["w"].data_offsets
    assert (tensors["w"].dtype, tensors["w"].shape) == ("F16", (2, 3))
    assert path.read_bytes()[start + begin : start + end] == np.arange(6, dtype=np.float16).tobytes()


def test_bytes_of_the_wrong_length_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="w: 3 bytes where 8 belong"):
        write_tensors(tmp_path / "a.safetensors", [TensorSpec("w", "F32", (2,))], [b"abc"])


def test_a_file_that_is_shorter_than_its_header_says_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, [TensorSpec("w", "F32", (2,))], [bytes(8)])
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModelUnavailable, match=r"a\.safetensors has"):
        read_header(path)
