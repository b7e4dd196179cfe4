"""GGUF → a folder in Hugging Face layout, without loss.

The configuration is read by transformers, the weights by the `gguf` package. Three things are put right on the way:

- llama.cpp stores the rows of q and k in an order of its own for rotary embeddings; they are put back.
- A vocabulary is a part of the model's fingerprint, and releases of transformers read the same one in different ways: 5.17
  takes SmolLM2's for one with byte fallback that ends a turn with `<|im_start|>`, and none of them splits digits where
  `tokenizer.ggml.pre` asks for it. So one that is split as GPT-2's (`PLAIN_SPLIT`, `DIGIT_SPLIT`) is built here. Others, as
  Qwen's and Llama 3's, are transformers' to read: their fingerprint may change with its release.
- A dequantised weight is a float32 number (scale × integer + minimum). It is kept as such; files that hold half
  precision throughout keep that, if every number survives it.

Every tensor of the file must find its parameter and every parameter its tensor: nothing is dropped in silence.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from numpy.typing import NDArray

from memctl.errors import ModelUnavailable
from memctl.models.cache import Progress
from memctl.models.tensor_file import TensorSpec, write_tensors
from memctl.models.tokenizer import PLAIN

if TYPE_CHECKING:
    import gguf
    from tokenizers import Tokenizer

ARCHITECTURES = ("llama", "qwen2", "qwen3")
"""`general.architecture` of the files whose weights need nothing but a name and, for llama, a row order."""

PLAIN_SPLIT = ("default", "gpt-2")
"""`tokenizer.ggml.pre` of vocabularies that are split by the GPT-2 expression alone."""

DIGIT_SPLIT = ("smollm", "starcoder", "refact", "codeshell", "command-r", "exaone", "minerva-7b")
"""`tokenizer.ggml.pre` of vocabularies that see each digit by itself before the GPT-2 expression is applied."""

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""`tokenizer.ggml.token_type`; those of the latter two are never split, and the first of these are special."""

AGAIN = "the file is damaged: fetch it again"
OTHER_FORM = "use the model's Hugging Face form: memctl --model OWNER/NAME"


def convert(path: Path, folder: Path, progress: Progress) -> None:
    """Writes config.json, the tokenizer's files and model.safetensors into `folder`, which exists and is empty.

    Raises:
        ModelUnavailable: The file is damaged, or of an architecture or a vocabulary that is not supported.
    """
    import gguf

    progress(f"reading {path.name}", None)
    try:
        reader = gguf.GGUFReader(path)
    except (ValueError, IndexError, KeyError, OSError) as error:
        raise ModelUnavailable(f"{path} cannot be read as GGUF: {error}", AGAIN) from error
    architecture = _text(reader, "general.architecture")
    if architecture not in ARCHITECTURES:
        raise ModelUnavailable(
            f"{path.name} is a {architecture!r} model; GGUF is read for {', '.join(ARCHITECTURES)}", OTHER_FORM
        )
    with _quiet_transformers():
        config = _config(path, reader, architecture)
        _save_tokenizer(path, reader, folder)
        parameters = _parameters(config)
    tensors = _match(reader, architecture, parameters, path)
    dtype = _lossless_dtype(list(tensors.values()))
    specs = [TensorSpec(name, dtype, parameters[name]) for name in tensors]
    write_tensors(folder / "model.safetensors", specs, _weights(tensors, config, architecture, dtype, progress))
    _save_config(config, dtype, folder)


def _text(reader: "gguf.GGUFReader", key: str) -> str:
    return str(_field(reader, key, ""))


def _field(reader: "gguf.GGUFReader", key: str, missing: Any) -> Any:
    field = reader.get_field(key)
    return missing if field is None else field.contents()


@contextlib.contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Progress bars and advice of transformers would land in the middle of ours."""
    import transformers

    log: Any = transformers.utils.logging
    verbosity, bars = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity(logging.ERROR)
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(verbosity)
        if bars:
            log.enable_progress_bar()


def _config(path: Path, reader: "gguf.GGUFReader", architecture: str) -> Any:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(path.parent, gguf_file=path.name)
    except (ValueError, KeyError, OSError) as error:
        raise ModelUnavailable(f"the configuration in {path} cannot be read: {error}", OTHER_FORM) from error
    if (width := reader.get_field(f"{architecture}.attention.key_length")) is not None:
        config.head_dim = int(width.contents())  # not among the fields that transformers reads for these
    return config


def _save_config(config: Any, dtype: str, folder: Path) -> None:
    """What the file says, and nothing that the installed release of transformers adds as a default: the
    fingerprint is to be the same under the next release."""
    always = ("model_type", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
              "num_key_value_heads", "head_dim", "vocab_size", "hidden_act", "rms_norm_eps", "rope_parameters",
              "max_position_embeddings", "tie_word_embeddings", "bos_token_id", "eos_token_id")  # fmt: skip
    default, fields = type(config)().to_dict(), config.to_dict()
    kept = {key: value for key, value in fields.items() if key in always or value != default.get(key)}
    for noise in ("_name_or_path", "_model_name_or_path", "transformers_version", "unk_token_id"):
        kept.pop(noise, None)
    kept["architectures"] = [_model_class(config).__name__]
    kept["dtype"] = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[dtype]
    _write_json(folder / "config.json", kept)


def _write_json(path: Path, fields: dict[str, Any]) -> None:
    path.write_bytes(orjson.dumps(fields, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS))


def _model_class(config: Any) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM._model_mapping[type(config)]


def _parameters(config: Any) -> dict[str, tuple[int, ...]]:
    """The model's parameters and their shapes; tied ones once. Built on the meta device: no memory, no time."""
    import torch

    with torch.device("meta"):
        model = _model_class(config)(config)
    return {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}


def _save_tokenizer(path: Path, reader: "gguf.GGUFReader", folder: Path) -> None:
    split = _text(reader, "tokenizer.ggml.pre")
    special = _special_tokens(path, reader)
    if _text(reader, "tokenizer.ggml.model") == "gpt2" and split in PLAIN_SPLIT + DIGIT_SPLIT:
        vocabulary = _byte_level(path, reader, split, special).to_str(pretty=True)
        (folder / "tokenizer.json").write_text(vocabulary, encoding="utf-8")
        if template := _text(reader, "tokenizer.chat_template"):
            (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    else:
        _save_as_transformers_reads_it(path, split, folder)
    _write_json(folder / "tokenizer_config.json", {**special, "tokenizer_class": PLAIN})


def _special_tokens(path: Path, reader: "gguf.GGUFReader") -> dict[str, str]:
    """The tokens that have a part to play, by the names that transformers gives them.

    Raises:
        ModelUnavailable: The file has no tokens, the same one twice, or names one that it has not.
    """
    tokens: list[str] = _field(reader, "tokenizer.ggml.tokens", [])
    if not tokens or len(set(tokens)) < len(tokens):
        raise ModelUnavailable(f"{path} has no tokens, or the same one twice", AGAIN)
    found = {}
    for name, key in (("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")):
        id = _field(reader, f"tokenizer.ggml.{key}_token_id", None)
        if id is not None and not 0 <= id < len(tokens):
            raise ModelUnavailable(f"{path} has no token {id}, which it calls the {key} token", AGAIN)
        if id is not None:
            found[name] = tokens[id]
    return found


def _byte_level(path: Path, reader: "gguf.GGUFReader", split: str, special: dict[str, str]) -> "Tokenizer":
    """The vocabulary of a model whose bytes are merged as GPT-2's are.

    Raises:
        ModelUnavailable: It has no merges, merges what it does not hold, or does not say of each token what it is.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors

    ids = {token: id for id, token in enumerate(_field(reader, "tokenizer.ggml.tokens", []))}
    kinds = _field(reader, "tokenizer.ggml.token_type", [CONTROL if token in special.values() else NORMAL for token in ids])
    merges = [tuple(merge.split(" ", 1)) for merge in _field(reader, "tokenizer.ggml.merges", [])]
    known = all(len(merge) == 2 and {*merge, "".join(merge)} <= ids.keys() for merge in merges)
    if not (merges and known and len(kinds) == len(ids)):
        raise ModelUnavailable(f"the vocabulary in {path} lacks merges, tokens of a merge, or types of tokens", AGAIN)
    tokenizer = Tokenizer(models.BPE(ids, merges, continuing_subword_prefix="", end_of_word_suffix=""))
    bytewise = pre_tokenizers.ByteLevel(add_prefix_space=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytewise]) if split in DIGIT_SPLIT else bytewise
    tokenizer.decoder = decoders.ByteLevel()
    begin = special.get("bos_token") if _field(reader, "tokenizer.ggml.add_bos_token", False) else None
    tokenizer.post_processor = processors.TemplateProcessing(
        single="begin $A" if begin else "$A",
        special_tokens=[{"id": "begin", "ids": [ids[begin]], "tokens": [begin]}] if begin else [],
    )
    for kind, add in ((CONTROL, tokenizer.add_special_tokens), (USER_DEFINED, tokenizer.add_tokens)):
        add([AddedToken(token, normalized=False) for token, own in zip(ids, kinds, strict=True) if own == kind])
    return tokenizer


def _save_as_transformers_reads_it(path: Path, split: str, folder: Path) -> None:
    from tokenizers import pre_tokenizers
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except Exception as error:  # of any class, by release
        raise ModelUnavailable(f"the vocabulary in {path} (split: {split!r}) cannot be read: {error}", OTHER_FORM) from error
    if isinstance(tokenizer.backend_tokenizer.pre_tokenizer, pre_tokenizers.ByteLevel):
        raise ModelUnavailable(f"how {path.name} splits text ({split!r}) is not known", OTHER_FORM)
    tokenizer.save_pretrained(folder)


def _match(
    reader: "gguf.GGUFReader", architecture: str, parameters: dict[str, tuple[int, ...]], path: Path
) -> dict[str, "gguf.ReaderTensor"]:
    """The file's tensor for every parameter of the model, in the order of their names."""
    import gguf

    code = {name: key for key, name in gguf.MODEL_ARCH_NAMES.items()}[architecture]
    blocks = reader.get_field(f"{architecture}.block_count")
    names = gguf.get_tensor_name_map(code, int(blocks.contents()) if blocks is not None else 0)
    stored = {tensor.name: tensor for tensor in reader.tensors}
    matched = {}
    for name, shape in sorted(parameters.items()):
        tensor = stored.pop(names.get_name(name, try_suffixes=(".weight", ".bias")) or "", None)
        if tensor is None:
            raise ModelUnavailable(f"{path.name} has no tensor for {name}", OTHER_FORM)
        if tuple(int(length) for length in reversed(tensor.shape)) != shape:
            raise ModelUnavailable(f"{path.name}: {tensor.name} does not have the shape {shape} of {name}", OTHER_FORM)
        matched[name] = tensor
    if stored:
        raise ModelUnavailable(
            f"{path.name} holds {', '.join(sorted(stored)[:3])}, which nothing in the model answers to",
            OTHER_FORM,
        )
    return matched


def _weights(
    tensors: dict[str, "gguf.ReaderTensor"], config: Any, architecture: str, dtype: str, progress: Progress
) -> Iterator[bytes]:
    """The bytes of each tensor in turn, dequantised and in the order of rows that transformers has."""
    for index, (name, tensor) in enumerate(tensors.items()):
        progress("converting the weights", index / len(tensors))
        weight = _dequantised(tensor)
        if not np.isfinite(weight).all():
            raise ModelUnavailable(f"{tensor.name} holds a NaN or an infinity", AGAIN)
        if architecture == "llama" and ".q_proj." in name:
            weight = _rotary_rows(weight, config.num_attention_heads)
        elif architecture == "llama" and ".k_proj." in name:
            weight = _rotary_rows(weight, config.num_key_value_heads)
        yield _as_bytes(weight, dtype)
    progress("converting the weights", 1.0)


def _dequantised(tensor: "gguf.ReaderTensor") -> NDArray[np.float32]:
    import gguf

    try:
        weight = gguf.dequantize(tensor.data, tensor.tensor_type)
    except NotImplementedError as error:
        raise ModelUnavailable(f"{tensor.name} is of the type {tensor.tensor_type.name}: {error}", OTHER_FORM) from error
    return np.ascontiguousarray(weight.reshape(tuple(reversed(tensor.shape.tolist()))), dtype=np.float32)


def _rotary_rows(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """From pairs of neighbouring rows (r₀ r₁ | r₂ r₃ | …) per head to two halves (r₀ r₂ … | r₁ r₃ …)."""
    pairs = weight.reshape(heads, -1, 2, *weight.shape[1:])
    return np.ascontiguousarray(pairs.swapaxes(1, 2)).reshape(weight.shape)


def _lossless_dtype(tensors: list["gguf.ReaderTensor"]) -> str:
    """`F16` or `BF16` if every number of the file is one, else `F32`."""
    import gguf

    kinds = {tensor.tensor_type.name for tensor in tensors}
    for dtype in ("F16", "BF16"):
        if dtype in kinds and kinds <= {dtype, "F32"}:
            plain = [tensor for tensor in tensors if tensor.tensor_type == gguf.GGMLQuantizationType.F32]
            exact = all(_survives(_dequantised(tensor), dtype) for tensor in plain)
            return dtype if exact else "F32"
    return "F32"


def _survives(weight: NDArray[np.float32], dtype: str) -> bool:
    if dtype == "BF16":
        return not (weight.view(np.uint32) & 0xFFFF).any()
    with np.errstate(over="ignore"):
        return bool((weight.astype(np.float16).astype(np.float32) == weight).all())


def _as_bytes(weight: NDArray[np.float32], dtype: str) -> bytes:
    if dtype == "BF16":  # the upper half of a float32 that has nothing in its lower half
        return (weight.view(np.uint32) >> 16).astype("<u2").tobytes()
    return weight.astype("<f2" if dtype == "F16" else "<f4").tobytes()
