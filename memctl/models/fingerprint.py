"""What identifies a base model: a SHA-256 over its tensors, its architecture and its vocabulary.

Two folders have the same fingerprint if a model loaded from them computes the same thing: how the tensors are
spread over files, the order of keys in a JSON file, and who saved it do not count. Hashing streams the files;
the result is kept in the cache and is good as long as no file's size or time has changed.
"""

import hashlib
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import orjson

from memctl.errors import ModelUnavailable
from memctl.models.cache import cache_dir, replacing
from memctl.models.tensor_file import ITEM_SIZE, TensorInfo, read_header

CHUNK = 1 << 22
"""Bytes that are hashed at a time."""

CONFIG_NOISE = frozenset(
    ("_name_or_path", "_model_name_or_path", "transformers_version", "architectures", "dtype", "torch_dtype",
     "use_cache", "auto_map", "initializer_range", "attention_dropout", "_attn_implementation")
)  # fmt: skip
"""Fields of config.json that say who saved the model, how it is trained or held in memory."""

TOKENIZER_NOISE = frozenset(("version", "truncation", "padding"))
"""Fields of tokenizer.json that are left over from the last call before it was saved."""

OLD_VOCABULARY = ("tokenizer.model", "vocab.json", "merges.txt")


class Hashes(msgspec.Struct, frozen=True):
    """What is kept per folder. `files`: name → (bytes, mtime in ns) at the time of hashing."""

    files: dict[str, tuple[int, int]]
    fingerprint: str
    tensors: dict[str, str]


def fingerprint(folder: Path, *, fresh: bool = False) -> str:
    """SHA-256 in hexadecimal of the model in `folder`; `fresh` reads every byte again.

    Raises:
        ModelUnavailable: There are no safetensors, or a file cannot be read.
    """
    return _hashes(folder, fresh).fingerprint


def tensor_hashes(folder: Path, *, fresh: bool = False) -> dict[str, str]:
    """Name → SHA-256 of dtype, shape and bytes (see `hash_tensor`) of every tensor of the model."""
    return dict(_hashes(folder, fresh).tensors)


def known_fingerprint(folder: Path) -> str | None:
    """The fingerprint if it is in the cache and still good; costs no hashing."""
    kept = _kept(folder)
    return kept.fingerprint if kept is not None else None


def hash_tensor(dtype: str, shape: tuple[int, ...], data: bytes | memoryview) -> str:
    """SHA-256 over `"F32 [576, 1536]\\n"` and the little-endian bytes; `dtype` by its safetensors name."""
    digest = _tensor_digest(dtype, shape)
    digest.update(data)
    return digest.hexdigest()


def _tensor_digest(dtype: str, shape: tuple[int, ...]) -> "hashlib._Hash":
    return hashlib.sha256(f"{dtype} {list(shape)}\n".encode())


def _hashes(folder: Path, fresh: bool) -> Hashes:
    if not fresh and (kept := _kept(folder)) is not None:
        return kept
    files = _files(folder)
    tensors: dict[str, str] = {}
    for file in weight_files(folder):
        for name, digest in _hash_file(file).items():
            if name in tensors:
                raise ModelUnavailable(f"{name} is in more than one file of {folder}", "fetch the model again")
            tensors[name] = digest
    description = {
        "config": _without(_json(folder / "config.json"), CONFIG_NOISE),
        "tokenizer": _vocabulary(folder),
        "chat_template": _chat_template(folder),
        "tensors": tensors,
    }
    digest = hashlib.sha256(orjson.dumps(description, option=orjson.OPT_SORT_KEYS)).hexdigest()
    hashes = Hashes(files, digest, tensors)
    _keep(folder, hashes)
    return hashes


def _hash_file(path: Path) -> dict[str, str]:
    tensors, start = read_header(path)
    hashes = {}
    with path.open("rb") as file:
        for name, info in sorted(tensors.items(), key=lambda item: item[1].data_offsets):
            _check_size(path, name, info)
            digest = _tensor_digest(info.dtype, info.shape)
            begin, end = info.data_offsets
            file.seek(start + begin)
            while begin < end:
                piece = file.read(min(CHUNK, end - begin))
                if not piece:
                    raise ModelUnavailable(f"{path} ends inside of {name}", "fetch the model again")
                digest.update(piece)
                begin += len(piece)
            hashes[name] = digest.hexdigest()
    return hashes


def _check_size(path: Path, name: str, info: TensorInfo) -> None:
    size = ITEM_SIZE.get(info.dtype, 0) * math.prod(info.shape)
    if info.dtype in ITEM_SIZE and info.data_offsets[1] - info.data_offsets[0] != size:
        raise ModelUnavailable(f"{path}: {name} does not have the bytes that its shape asks for", "fetch it again")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that the model is loaded from, by name.

    Raises:
        ModelUnavailable: There are none, or one that the index names is missing.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file() and not (folder / "model.safetensors").is_file():  # beside which transformers does not read it
        named = set(msgspec.convert(_json(index).get("weight_map", {}), dict[str, str]).values())
    else:
        named = {"model.safetensors"}
    missing = [name for name in sorted(named) if not (folder / name).is_file()]
    if missing or not named:
        raise ModelUnavailable(
            f"{folder} has no {missing[0] if missing else 'weights in its index'}",
            "name a folder in Hugging Face layout; save_pretrained() of transformers writes one",
        )
    return [folder / name for name in sorted(named)]


def _vocabulary(folder: Path) -> dict[str, Any]:
    """tokenizer.json, or the hashes of the older files that it is made from when it is missing."""
    if (folder / "tokenizer.json").is_file():
        return _without(_json(folder / "tokenizer.json"), TOKENIZER_NOISE)
    files = [folder / name for name in OLD_VOCABULARY if (folder / name).is_file()]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _json(path: Path) -> dict[str, Any]:
    try:
        return msgspec.convert(orjson.loads(path.read_bytes()), dict[str, Any])
    except FileNotFoundError:
        return {}
    except (orjson.JSONDecodeError, msgspec.ValidationError) as error:
        raise ModelUnavailable(f"{path} is not a JSON object: {error}", "fetch the model again") from error


def _without(fields: dict[str, Any], noise: frozenset[str]) -> dict[str, Any]:
    return {
        key: _without(value, noise) if isinstance(value, dict) and key.endswith("config") else value
        for key, value in fields.items()
        if key not in noise
    }


def _chat_template(folder: Path) -> Any:
    """Decides which tokens a chat prompt is made of; lies in a file of its own or in the tokenizer's config."""
    file = folder / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    return _json(folder / "tokenizer_config.json").get("chat_template")


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file that the fingerprint depends on."""
    names = ["config.json", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja", *OLD_VOCABULARY]
    paths = [*(folder / name for name in names), *sorted(folder.glob("*.safetensors*"))]
    states = {path.name: path.stat() for path in paths if path.is_file()}
    return {name: (state.st_size, state.st_mtime_ns) for name, state in states.items()}


def _kept_path(folder: Path) -> Path:
    """In the cache, not beside the model: a user's folder may be read-only, and is not ours to write into."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:24]
    return cache_dir() / "fingerprints" / f"{name}.json"


def _kept(folder: Path) -> Hashes | None:
    try:
        kept = msgspec.json.decode(_kept_path(folder).read_bytes(), type=Hashes)
    except (OSError, msgspec.DecodeError):
        return None  # never hashed, or damaged: hashing again is always right
    return kept if kept.files == _files(folder) else None


def _keep(folder: Path, hashes: Hashes) -> None:
    with suppress(OSError), replacing(_kept_path(folder)) as partial:  # no cache, no speed; it is right all the same
        partial.write_bytes(msgspec.json.encode(hashes))
