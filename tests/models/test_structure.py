"""The MLP is found in every family that memctl edits, and its absence is named in those that it does not."""

from pathlib import Path
from typing import Any

import orjson
import pytest
import torch
import transformers
from torch import nn
from transformers.activations import ACT2FN

from memctl.errors import ModelUnavailable
from memctl.models.structure import MlpLayer, MlpLayout, ModelShape, mlp_layout, shape_from_config

SIZES = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "vocab_size": 32,
    "max_position_embeddings": 32,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES = ["Llama", "Qwen2", "Qwen3", "Mistral", "Gemma3Text", "Phi3"]


def tiny(family: str, **fields: Any) -> Any:
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**{**SIZES, **fields})
    return transformers.AutoModelForCausalLM.from_config(config).eval()


def by_formula(layer: MlpLayer, layout: MlpLayout, x: torch.Tensor) -> torch.Tensor:
    """down(act(gate(x)) ⊙ up(x)), from nothing but what the layout says."""
    if layer.gate_up is not None:
        first, second = layer.gate_up(x).chunk(2, dim=-1)
        gate, up = (first, second) if layout.gate_first else (second, first)
    else:
        assert layer.gate is not None
        assert layer.up is not None
        gate, up = layer.gate(x), layer.up(x)
    return layer.down(ACT2FN[layout.activation](gate) * up)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_layout_computes_what_the_model_computes(family: str, dtype: torch.dtype) -> None:
    """What runs through the blocks of the model in a forward pass is what the layout says runs there."""
    model = tiny(family).to(dtype)
    layout = mlp_layout(model)
    assert (layout.hidden, layout.intermediate) == (16, 24)
    assert [layer.index for layer in layout.layers] == [0, 1, 2]
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    for layer in layout.layers:
        layer.mlp.register_forward_hook(lambda module, inputs, output: seen.append((inputs[0], output)))
    with torch.no_grad():
        model(torch.tensor([[3, 4, 5]]))
        assert len(seen) == 3
        for layer, (x, output) in zip(layout.layers, seen, strict=True):
            torch.testing.assert_close(by_formula(layer, layout, x), output)


@pytest.mark.parametrize("family", FAMILIES)
def test_blocks_are_the_decoder_layers_in_order(family: str) -> None:
    model = tiny(family)
    assert [layer.block for layer in mlp_layout(model).layers] == list(model.model.layers)


def test_the_activation_is_the_models_own() -> None:
    assert mlp_layout(tiny("Gemma3Text")).activation == "gelu_pytorch_tanh"
    assert mlp_layout(tiny("Llama", hidden_act="gelu")).activation == "gelu"


class UpFirst(nn.Module):
    """A gated MLP with names that say nothing, in which the gate comes second."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.one = nn.Linear(16, 48 if fused else 24)
        self.two = nn.Identity() if fused else nn.Linear(16, 24)
        self.three = nn.Linear(24, 16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        up, gate = self.one(x).chunk(2, dim=-1) if self.fused else (self.one(x), self.two(x))
        return self.three(nn.functional.silu(gate) * up)


@pytest.mark.parametrize("fused", [False, True])
def test_names_and_order_do_not_matter(fused: bool) -> None:
    model = tiny("Llama")
    for block in model.model.layers:
        block.mlp = UpFirst(fused)
    layout = mlp_layout(model)
    x = torch.randn(2, 16)
    for layer in layout.layers:
        torch.testing.assert_close(by_formula(layer, layout, x), layer.mlp(x))


class Doubled(UpFirst):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2


def test_an_mlp_that_computes_something_else_is_refused() -> None:
    model = tiny("Llama")
    for block in model.model.layers:
        block.mlp = Doubled(fused=False)
    with pytest.raises(ModelUnavailable, match="Doubled does not compute"):
        mlp_layout(model)


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        (
            "GPT2",
            {"n_embd": 16, "n_layer": 2, "n_head": 2},
            "GPT2LMHeadModel has no hidden_act",
        ),
        ("GPTNeoX", {}, r"block 0 \(GPTNeoXLayer\).*dense_h_to_4h: Linear"),
        ("Mixtral", {"num_local_experts": 2}, "mixture of experts"),
        ("Qwen3Moe", {"num_experts": 2, "moe_intermediate_size": 24}, "mixture of experts"),
    ],
)
def test_other_models_are_refused_by_what_they_lack(family: str, fields: dict[str, int], message: str) -> None:
    with pytest.raises(ModelUnavailable, match=message) as caught:
        mlp_layout(tiny(family, **fields))
    assert "Llama" in caught.value.hint


def test_the_shape_is_read_without_the_model(tmp_path: Path) -> None:
    tiny("Phi3").config.save_pretrained(tmp_path)
    assert shape_from_config(tmp_path) == ModelShape(3, 16, 24, 32, "phi3")


def test_the_shape_of_a_multimodal_model_is_that_of_its_text(tmp_path: Path) -> None:
    text = {**SIZES, "model_type": "gemma3_text"}
    (tmp_path / "config.json").write_bytes(orjson.dumps({"model_type": "gemma3", "text_config": text}))
    assert shape_from_config(tmp_path) == ModelShape(3, 16, 24, 32, "gemma3_text")


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"hidden_size": "wide"}'])
def test_a_config_that_says_too_little_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ModelUnavailable, match=r"config\.json"):
        shape_from_config(tmp_path)
