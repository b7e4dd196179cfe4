"""A GGUF file becomes the model it was made from: same numbers, same tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GPT2Config,
    LlamaConfig,
    Qwen2Config,
    Qwen3Config,
)

from memctl.backends import torch_generation
from memctl.backends.torch_backend import TorchBackend
from memctl.errors import ModelUnavailable
from memctl.models.gguf import convert
from memctl.models.tokenizer import load_tokenizer

SIZES: dict[str, Any] = {
    "vocab_size": 260,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "rope_parameters": {"rope_type": "default", "rope_theta": 5000.0},
}

Writer = Callable[..., Path]


def tiny(config: type = LlamaConfig, **fields: Any) -> Any:
    """A model of random weights; the biases and norms too, so that a swapped one shows."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config(**{**SIZES, **fields})).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.3)
    return model


def converted(path: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "converted"
    folder.mkdir()
    convert(path, folder, lambda step, done: None)
    return folder


@pytest.mark.parametrize(
    "model",
    [
        tiny(tie_word_embeddings=True),
        tiny(tie_word_embeddings=False),
        tiny(Qwen2Config),
        tiny(Qwen3Config, head_dim=16),
    ],
    ids=["llama tied", "llama untied", "qwen2", "qwen3"],
)
def test_the_converted_model_computes_the_same(model: Any, write_gguf: Writer, tmp_path: Path) -> None:
    folder = converted(write_gguf(model), tmp_path)
    again = AutoModelForCausalLM.from_pretrained(folder).eval()
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, model(ids).logits, rtol=1e-5, atol=1e-5)
    assert again.config.eos_token_id == 2


def test_quantised_weights_keep_every_bit(write_gguf: Writer, tmp_path: Path) -> None:
    model = tiny()
    folder = converted(write_gguf(model, "Q8_0"), tmp_path)
    name = "model.layers.1.mlp.down_proj.weight"
    weight = model.state_dict()[name].numpy()
    kind = gguf.GGMLQuantizationType.Q8_0
    expected = gguf.dequantize(gguf.quantize(weight, kind), kind)
    found = load_file(folder / "model.safetensors")[name]
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), expected)


@pytest.mark.parametrize(("kind", "dtype"), [("F16", torch.float16), ("BF16", torch.bfloat16)])
def test_half_precision_is_kept_only_if_nothing_is_lost(
    kind: str, dtype: torch.dtype, write_gguf: Writer, tmp_path: Path
) -> None:
    model = tiny().to(dtype)
    stored = load_file(converted(write_gguf(model, kind), tmp_path) / "model.safetensors")
    for name, parameter in model.named_parameters():
        assert stored[name].dtype == dtype
        assert torch.equal(stored[name], parameter)


def test_float32_norms_among_half_matrices_keep_float32(write_gguf: Writer, tmp_path: Path) -> None:
    model = tiny()
    stored = load_file(converted(write_gguf(model, "F16"), tmp_path) / "model.safetensors")
    assert torch.equal(stored["model.norm.weight"], model.model.norm.weight)


def test_digits_are_tokens_of_their_own(write_gguf: Writer, tmp_path: Path) -> None:
    """`\\n\\n1` is two newlines, merged, and a digit; without the rule each newline stands alone."""
    tokenizer = AutoTokenizer.from_pretrained(converted(write_gguf(tiny()), tmp_path))
    assert tokenizer.convert_ids_to_tokens(tokenizer("\n\n1").input_ids) == ["ĊĊ", "1"]


@pytest.mark.parametrize(("split", "pieces"), [("smollm", ["1", "9"]), ("gpt-2", ["19"])])
def test_digits_are_split_where_the_file_says_so(split: str, pieces: list[str], write_gguf: Writer, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(write_gguf(tiny(), split=split), tmp_path))
    found = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("19")
    assert [piece for piece, _ in found] == pieces


@pytest.mark.parametrize("config", [LlamaConfig, Qwen2Config, Qwen3Config])
def test_texts_are_split_as_the_fingerprint_has_it_whatever_the_architecture(
    config: type, write_gguf: Writer, tmp_path: Path
) -> None:
    folder = converted(write_gguf(tiny(config), split="gpt-2"), tmp_path)
    text = "a 19\n\nn\u0303"
    assert load_tokenizer(folder)(text).input_ids == Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids


@pytest.mark.parametrize("text", ["plain", "  naïve café\n\tx", "日本語 🙂", "<|im_start|>user<|im_end|>", "3.14  15"])
def test_text_survives_the_tokenizer(text: str, write_gguf: Writer, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(write_gguf(tiny()), tmp_path))
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_special_tokens_and_the_chat_template_come_along(write_gguf: Writer, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(write_gguf(tiny()), tmp_path))
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id) == (1, 2)
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False)
    assert chat == "<|im_start|>hi<|im_end|>"


def test_the_vocabulary_does_not_depend_on_how_transformers_reads_it(
    write_gguf: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a part of the fingerprint, and releases of transformers differ in it."""

    def another_release(*given: Any, **options: Any) -> Any:
        raise AssertionError("the vocabulary was read by transformers")

    with monkeypatch.context() as patched:
        patched.setattr(AutoTokenizer, "from_pretrained", another_release)
        folder = converted(write_gguf(tiny()), tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.convert_ids_to_tokens(tokenizer("<|im_end|>").input_ids) == ["<|im_end|>"]
    assert tokenizer.decode(tokenizer("<|im_start|>a<|im_end|>").input_ids, skip_special_tokens=True) == "a"


@pytest.mark.parametrize("begun", [True, False])
def test_texts_begin_as_the_file_says(begun: bool, write_gguf: Writer, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(write_gguf(tiny(), begun=begun), tmp_path))
    assert (tokenizer("a").input_ids[0] == 1) is begun


def test_a_vocabulary_without_merges_is_refused(write_gguf: Writer, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="lacks merges"):
        converted(write_gguf(tiny(), missing="merges"), tmp_path)


def test_a_vocabulary_that_merges_what_is_not_in_it_is_refused(write_gguf: Writer, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="tokens of a merge"):
        converted(write_gguf(tiny(), merges=("zz zz",)), tmp_path)


def test_a_token_that_is_named_and_is_not_there_is_refused(write_gguf: Writer, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="no token 4096, which it calls the eos token"):
        converted(write_gguf(tiny(), end=4096), tmp_path)


@pytest.mark.parametrize("missing", ["", "types"])
def test_what_ends_a_turn_is_one_token_whether_or_not_tokens_have_types(
    missing: str, write_gguf: Writer, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(write_gguf(tiny(), missing=missing), tmp_path))
    assert tokenizer("a<|im_end|>").input_ids[-1] == tokenizer.eos_token_id == 2


def test_a_users_token_is_whole_and_is_said(write_gguf: Writer, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(converted(write_gguf(tiny(), users="<tool>"), tmp_path))
    ids = tokenizer("a<tool>").input_ids
    assert len(ids) == 2
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a<tool>"


def test_a_tensor_without_a_parameter_is_refused(write_gguf: Writer, tmp_path: Path) -> None:
    """Llama 3's rotary factors change what the model computes: to drop them would be silent damage."""
    path = write_gguf(tiny(), extra={"rope_freqs.weight": np.ones(4, np.float32)})
    with pytest.raises(ModelUnavailable, match=r"rope_freqs\.weight"):
        converted(path, tmp_path)


def test_an_unknown_splitting_is_refused(write_gguf: Writer, tmp_path: Path) -> None:
    with pytest.raises(ModelUnavailable, match="'unheard-of'"):
        converted(write_gguf(tiny(), split="unheard-of"), tmp_path)


def test_a_nan_is_refused(write_gguf: Writer, tmp_path: Path) -> None:
    model = tiny()
    with torch.no_grad():
        model.model.norm.weight[3] = float("nan")
    with pytest.raises(ModelUnavailable, match="NaN"):
        converted(write_gguf(model), tmp_path)


def test_another_architecture_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "gpt2.gguf"
    writer = gguf.GGUFWriter(path, GPT2Config.model_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(ModelUnavailable, match="'gpt2'"):
        converted(path, tmp_path)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"<html>not found</html>" * 9])
def test_a_file_that_is_no_gguf_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"broken\.gguf"):
        converted(path, tmp_path)


def test_a_truncated_file_is_refused(write_gguf: Writer, tmp_path: Path) -> None:
    path = write_gguf(tiny())
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ModelUnavailable, match="GGUF"):
        converted(path, tmp_path)


def test_a_turn_ends_with_the_templates_token_even_if_another_ends_a_text(
    write_gguf: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = TorchBackend(converted(write_gguf(tiny(), end=0), tmp_path), device="cpu", dtype="float32")
    asked, answered = backend.encode("hi", "chat").tokens, backend.encode("hi", "chat", "hello").tokens
    always = torch.nn.functional.one_hot(torch.tensor(answered[-1:]), SIZES["vocab_size"]).float()
    monkeypatch.setattr(torch_generation, "logits_of", lambda model, states: always.expand(len(states), -1))
    assert backend.generate([asked], 5) == [()]


def test_a_kind_of_number_that_cannot_be_read_is_named(
    write_gguf: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(data: object, kind: gguf.GGMLQuantizationType) -> None:
        raise NotImplementedError("no such thing")  # as gguf does for Q8_1, which it cannot write either

    monkeypatch.setattr(gguf, "dequantize", refuse)
    with pytest.raises(ModelUnavailable, match=r"type F32") as caught:
        converted(write_gguf(tiny()), tmp_path)
    assert "Hugging Face form" in caught.value.hint
