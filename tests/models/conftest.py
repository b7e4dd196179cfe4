"""Tiny models that the tests make themselves: a folder in Hugging Face layout, and GGUF files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import orjson
import pytest

from memctl.models.tensor_file import TensorSpec, write_tensors

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of this test's own."""
    monkeypatch.setenv("MEMCTL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MEMCTL_BUNDLED_WHEEL", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def make_folder(cache: Path) -> Callable[[Path], Path]:
    """Writes a folder with two tensors, a config and a tokenizer; nothing of it has to load."""

    def make(folder: Path) -> Path:
        folder.mkdir(parents=True)
        config = {"model_type": "llama", "vocab_size": 8, **SIZES}
        (folder / "config.json").write_bytes(orjson.dumps(config))
        (folder / "tokenizer.json").write_bytes(orjson.dumps({"version": "1.0", "model": {"vocab": {"a": 0}}}))
        specs = [TensorSpec("a", "F32", (2, 3)), TensorSpec("b", "BF16", (4,))]
        write_tensors(folder / "model.safetensors", specs, [bytes(range(24)), bytes(range(8))])
        return folder

    return make


def byte_vocabulary() -> tuple[list[str], list[int], list[str]]:
    """Tokens, their types, and merges of a byte-level vocabulary with one merge of two newlines."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    letters |= {byte: chr(256 + i) for i, byte in enumerate(b for b in range(256) if b not in letters)}
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    newline = letters[10]
    tokens = [*special, *(letters[byte] for byte in range(256)), newline * 2]
    kinds = [gguf.TokenType.CONTROL] * len(special) + [gguf.TokenType.NORMAL] * 257
    return tokens, [int(kind) for kind in kinds], [f"{newline} {newline}"]


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """The order of q and k rows that llama.cpp's converter writes: the two halves of a head alternate."""
    order = np.arange(weight.shape[0]).reshape(heads, 2, -1).swapaxes(1, 2).ravel()
    return weight[order]


@pytest.fixture
def write_gguf(tmp_path: Path) -> Callable[..., Path]:
    """Writes a torch model as GGUF, the way llama.cpp's converter does.

    `kind` is the type of the matrices; vectors are float32. `extra` tensors go in as they are. Of the vocabulary: `missing` are
    fields that the file lacks, `merges` further ones, `users` a token in the first one's place that is not special, `end` ends
    a turn, and `begun` says that a token begins every text.
    """

    def write(
        model: Any,
        kind: str = "F32",
        split: str = "smollm",
        extra: dict[str, np.ndarray] | None = None,
        *,
        missing: str = "",
        merges: tuple[str, ...] = (),
        users: str = "",
        end: int = 2,
        begun: bool = False,
    ) -> Path:
        config, architecture = model.config, model.config.model_type
        path = tmp_path / f"tiny-{architecture}-{kind}.gguf"
        writer = gguf.GGUFWriter(path, architecture)
        writer.add_block_count(config.num_hidden_layers)
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(config.hidden_size)
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_vocab_size(config.vocab_size)
        if architecture == "qwen3":
            writer.add_key_length(config.head_dim)
            writer.add_value_length(config.head_dim)
        tokens, kinds, known = byte_vocabulary()
        if users:
            tokens[0], kinds[0] = users, int(gguf.TokenType.USER_DEFINED)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(split)
        writer.add_token_list(tokens)
        if missing != "types":
            writer.add_token_types(kinds)
        if missing != "merges":
            writer.add_token_merges([*known, *merges])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(end)
        writer.add_add_bos_token(begun)
        writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m.content }}<|im_end|>{% endfor %}")
        codes = {name: code for code, name in gguf.MODEL_ARCH_NAMES.items()}
        names = gguf.get_tensor_name_map(codes[architecture], config.num_hidden_layers)
        for name, parameter in model.named_parameters():
            weight = parameter.detach().float().numpy()
            if architecture == "llama" and ".q_proj." in name:
                weight = interleaved(weight, config.num_attention_heads)
            elif architecture == "llama" and ".k_proj." in name:
                weight = interleaved(weight, config.num_key_value_heads)
            stored = gguf.GGMLQuantizationType[kind if weight.ndim == 2 else "F32"]
            name = names.get_name(name, try_suffixes=(".weight", ".bias"))
            writer.add_tensor(name, gguf.quantize(weight, stored), raw_dtype=stored)
        for name, weight in (extra or {}).items():
            writer.add_tensor(name, weight)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write
