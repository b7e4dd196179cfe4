"""Where a model's MLP layers lie, found by what they compute and not by what they are called.

An editable MLP is `down(act(gate(x)) ⊙ up(x))`. Of each decoder block, the one module is taken that owns the
projections m → d and either two d → m or one d → 2m, and no others. Which of the two is the gate is settled by
trying: both readings of the formula are compared with what the module returns, and one of them has to be right.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from memctl.errors import ModelUnavailable

if TYPE_CHECKING:
    import torch
    from torch import nn

TOLERANCE = 0.02
"""Largest relative difference between formula and module: wide enough for bfloat16 and 4-bit weights."""

SUPPORTED = "memctl edits dense gated MLPs, as in Llama, Qwen, Mistral, Gemma 3, Phi-3: choose a model of that kind"


@dataclass(frozen=True)
class MlpLayer:
    """The MLP of one decoder block.

    Attributes:
        block: The decoder layer.
        mlp: The module inside of it that maps x (…, d) to the MLP's output (…, d).
        down: The projection m → d; its input is the key.
        gate: The projection d → m that goes through the activation; None if fused.
        up: The other projection d → m; None if fused.
        gate_up: The fused projection d → 2m; None if separate.
    """

    index: int
    block: "nn.Module"
    mlp: "nn.Module"
    down: "nn.Linear"
    gate: "nn.Linear | None"
    up: "nn.Linear | None"
    gate_up: "nn.Linear | None"


@dataclass(frozen=True)
class MlpLayout:
    """All MLP layers of a model, from the bottom up.

    Attributes:
        hidden: d, the width of the residual stream.
        intermediate: m, the width inside of the MLP.
        activation: Its name in transformers' table of activations, `silu` or `gelu_pytorch_tanh`.
        gate_first: Of a fused projection's 2m outputs, whether the gate is the first half.
    """

    layers: tuple[MlpLayer, ...]
    hidden: int
    intermediate: int
    activation: str
    gate_first: bool = True


class ModelShape(msgspec.Struct, frozen=True):
    """What config.json says. `family` is transformers' `model_type`."""

    layers: int
    hidden: int
    intermediate: int
    vocab: int
    family: str


class _TextConfig(msgspec.Struct):
    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    vocab_size: int
    model_type: str


def shape_from_config(folder: Path) -> ModelShape:
    """The sizes of the model in `folder`, without loading anything.

    Raises:
        ModelUnavailable: config.json is missing, damaged, or does not name the sizes.
    """
    path = folder / "config.json"
    try:
        fields = msgspec.convert(orjson.loads(path.read_bytes()), dict[str, Any])
        text = msgspec.convert(fields.get("text_config", fields), _TextConfig)
    except (OSError, orjson.JSONDecodeError, msgspec.ValidationError) as error:
        raise ModelUnavailable(f"{path} does not describe a decoder model: {error}", SUPPORTED) from error
    return ModelShape(text.num_hidden_layers, text.hidden_size, text.intermediate_size, text.vocab_size, text.model_type)


def mlp_layout(model: "nn.Module") -> MlpLayout:
    """Finds the MLP layers of a loaded transformers model. Runs one MLP on four random vectors.

    Raises:
        ModelUnavailable: The model has no decoder blocks, or their MLPs are of another kind.
    """
    config: Any = model.config
    config = config.get_text_config()
    name = type(model).__name__
    activation = getattr(config, "hidden_activation", None) or getattr(config, "hidden_act", None)
    sizes = {key: getattr(config, key, None) for key in ("hidden_size", "intermediate_size", "num_hidden_layers")}
    missing = [key for key, value in {"hidden_act": activation, **sizes}.items() if value is None]
    if missing:
        raise ModelUnavailable(f"the config of {name} has no {', '.join(missing)}", SUPPORTED)
    hidden, intermediate, count = (int(size) for size in sizes.values() if size is not None)
    blocks = _decoder_blocks(model, count)
    layers = tuple(_mlp_layer(index, block, hidden, intermediate) for index, block in enumerate(blocks))
    gate_is_first = _gate_is_first(layers[0], str(activation))
    if layers[0].gate_up is None and not gate_is_first:
        layers = tuple(_swapped(layer) for layer in layers)
    return MlpLayout(layers, hidden, intermediate, str(activation), layers[0].gate_up is None or gate_is_first)


def _decoder_blocks(model: "nn.Module", count: int) -> list["nn.Module"]:
    """The outermost list of `count` modules that all hold projections."""
    from torch import nn

    for module in model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count and all(_has_weights(block) for block in module):
            return list(module)
    raise ModelUnavailable(f"{type(model).__name__} has no list of {count} decoder blocks", SUPPORTED)


def _has_weights(block: "nn.Module") -> bool:
    return any(parameter.ndim == 2 for parameter in block.parameters())


def _projections(module: "nn.Module") -> list[Any]:
    """The module's own linear maps. Quantised ones have packed weights, but name their sizes like others."""
    return [child for child in module.children() if hasattr(child, "in_features")]


def _mlp_layer(index: int, block: "nn.Module", hidden: int, intermediate: int) -> MlpLayer:
    found = []
    for module in block.modules():
        sizes = {child: (child.in_features, child.out_features) for child in _projections(module)}
        down = [child for child, size in sizes.items() if size == (intermediate, hidden)]
        inward = [child for child, size in sizes.items() if size == (hidden, intermediate)]
        fused = [child for child, size in sizes.items() if size == (hidden, 2 * intermediate)]
        if len(sizes) == 3 and len(down) == 1 and len(inward) == 2:
            found.append(MlpLayer(index, block, module, down[0], inward[0], inward[1], None))
        elif len(sizes) == 2 and len(down) == 1 and len(fused) == 1:
            found.append(MlpLayer(index, block, module, down[0], None, None, fused[0]))
    if len(found) != 1:
        raise ModelUnavailable(_not_found(index, block, hidden, intermediate, len(found)), SUPPORTED)
    return found[0]


def _not_found(index: int, block: "nn.Module", hidden: int, intermediate: int, count: int) -> str:
    where = f"block {index} ({type(block).__name__})"
    if count:
        return f"{where} has {count} modules that could be the MLP"
    if any("expert" in name for name, _ in block.named_modules()):
        return f"{where} is a mixture of experts: it has no single down projection"
    kinds = {name: type(child).__name__ for name, child in block.named_modules() if next(child.parameters(), None) is not None}
    leaves = [f"{name}: {kind}" for name, kind in kinds.items() if "." in name]
    return (
        f"{where} has no module with projections {hidden} → {intermediate} (two, or one twice as wide) "
        f"and {intermediate} → {hidden}; it holds {', '.join(leaves[:8])}"
    )


def _swapped(layer: MlpLayer) -> MlpLayer:
    return MlpLayer(layer.index, layer.block, layer.mlp, layer.down, layer.up, layer.gate, None)


def _gate_is_first(layer: MlpLayer, activation: str) -> bool:
    """Whether the projection (or half) that comes first is the gate."""
    import torch
    from transformers.activations import ACT2FN

    act = ACT2FN[activation]
    with torch.no_grad():
        x = _probe(layer)
        if layer.gate_up is not None:
            first, second = layer.gate_up(x).chunk(2, dim=-1)
        elif layer.gate is not None and layer.up is not None:
            first, second = layer.gate(x), layer.up(x)
        expected = layer.mlp(x)
        errors = [
            float((layer.down(act(gate) * up) - expected).float().norm() / expected.float().norm())
            for gate, up in ((first, second), (second, first))
        ]
    if not min(errors) <= TOLERANCE:
        raise ModelUnavailable(
            f"block {layer.index}: {type(layer.mlp).__name__} does not compute down({activation}(gate) · up): "
            f"it differs by {min(errors):.0%}",
            SUPPORTED,
        )
    return errors[0] <= errors[1]


def _probe(layer: MlpLayer) -> "torch.Tensor":
    """Four random vectors (1, 4, d) in the dtype and on the device of the MLP's weights."""
    import torch

    weight = next(parameter for parameter in layer.block.parameters() if parameter.is_floating_point())
    generator = torch.Generator().manual_seed(0)
    width = layer.down.out_features
    return torch.randn(1, 4, width, generator=generator).to(weight.device, weight.dtype)
