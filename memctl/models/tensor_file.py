"""Reading and writing `.safetensors` files one tensor at a time, as raw bytes.

The format is eight bytes of header length (little endian), a JSON header, and the tensors' bytes. A model of
any size is written and hashed with the memory of its largest tensor, and bfloat16 needs no numpy type.
"""

import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec
import orjson

from memctl.errors import ModelUnavailable

ITEM_SIZE = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1,
    "U16": 2, "U32": 4, "U64": 8, "F8_E4M3": 1, "F8_E5M2": 1,
}  # fmt: skip
"""Bytes per element, by the format's own dtype names."""


class TensorInfo(msgspec.Struct, frozen=True):
    """One entry of a header. `data_offsets` count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class TensorSpec(msgspec.Struct, frozen=True):
    """A tensor that is about to be written: its dtype is the format's name of it, `F32` or `BF16`."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        count = ITEM_SIZE[self.dtype]
        for length in self.shape:
            count *= length
        return count


def read_header(path: Path) -> tuple[dict[str, TensorInfo], int]:
    """The tensors of a file by name, and the byte at which their data starts.

    Raises:
        ModelUnavailable: The file is no safetensors file, or is shorter than its header says.
    """
    hint = "the file is damaged or half downloaded: fetch the model again"
    size = path.stat().st_size
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if length > size - 8:
            raise ModelUnavailable(f"{path} is not a whole safetensors file", hint)
        header = file.read(length)
    try:
        fields = msgspec.convert(orjson.loads(header), dict[str, dict[str, object]])
        fields.pop("__metadata__", None)
        tensors = msgspec.convert(fields, dict[str, TensorInfo])
    except (orjson.JSONDecodeError, msgspec.ValidationError) as error:
        raise ModelUnavailable(f"the header of {path} cannot be read: {error}", hint) from error
    end = max((info.data_offsets[1] for info in tensors.values()), default=0)
    if 8 + length + end > size:
        raise ModelUnavailable(f"{path} has {size:,} bytes; its header names {8 + length + end:,}", hint)
    return tensors, 8 + length


def write_tensors(path: Path, specs: list[TensorSpec], data: Iterable[bytes]) -> None:
    """Writes one file; `data` yields the tensors' bytes in the order of `specs`.

    Raises:
        ValueError: A tensor's bytes do not have the length that its spec says, or one is missing.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for spec in specs:
        header[spec.name] = TensorInfo(spec.dtype, spec.shape, (end, end + spec.size))
        end += spec.size
    text = orjson.dumps(msgspec.to_builtins(header))
    text += b" " * (-len(text) % 8)  # the format asks for data that starts at a multiple of eight
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for spec, piece in zip(specs, data, strict=True):
            if len(piece) != spec.size:
                raise ValueError(f"{spec.name}: {len(piece):,} bytes where {spec.size:,} belong")
            file.write(piece)
