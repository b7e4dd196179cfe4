"""A composition beside the base: forward hooks that add its output to the MLP's, in float32."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers.activations import ACT2FN

from memctl.backends.protocol import Float
from memctl.deltas import Columns, Composition, LowRank
from memctl.models.structure import MlpLayout


def attach(
    layout: MlpLayout, projections: Mapping[str, nn.Module], composition: Composition, device: torch.device
) -> list[Any]:
    """Applies a composition to a model until the handles that it returns are removed.

    Args:
        projections: The model's MLP projections by path.
    """
    hooks: list[tuple[nn.Module, Callable[..., Tensor]]] = []
    if (adapter := composition.adapter) is not None:
        for path, factors in adapter.projections.items():
            hooks.append((projections[path], beside_projection(_tensor(factors.A, device), _tensor(factors.B, device))))
    for layer in composition.layers():
        part = layout.layers[layer]
        if columns := composition.columns(layer):
            hooks.append((part.mlp, _beside_mlp(columns, ACT2FN[layout.activation], device)))
        if low_rank := composition.low_rank(layer):
            hooks.append((part.down, _beside_down(low_rank, device)))
    # Nothing is registered before everything is on the device, where there may be no room for it.
    return [module.register_forward_hook(hook) for module, hook in hooks]


def _beside_mlp(columns: Columns, act: Callable[[Tensor], Tensor], device: torch.device) -> Callable[..., Tensor]:
    gate, up, down = (_tensor(array, device) for array in (columns.gate, columns.up, columns.down))

    def add(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        # float32: a selector is the small difference of two large scores, which bfloat16 does not resolve
        x = args[0].float()
        active = act(x @ gate.T) * (x @ up.T)
        added: Tensor = output + (active @ down.T).to(output.dtype)
        return added

    return add


def _beside_down(low_rank: LowRank, device: torch.device) -> Callable[..., Tensor]:
    U, V = _tensor(low_rank.U, device), _tensor(low_rank.V, device)

    def add(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        added: Tensor = output + ((args[0].float() @ V) @ U.T).to(output.dtype)
        return added

    return add


def beside_projection(A: Tensor, B: Tensor) -> Callable[..., Tensor]:
    """A hook that adds `B A x` to the output of a projection; A is (r, in), B is (out, r)."""

    def add(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        added: Tensor = output + ((args[0].to(A.dtype) @ A.T) @ B.T).to(output.dtype)
        return added

    return add


def _tensor(array: Float, device: torch.device) -> Tensor:
    return torch.from_numpy(np.array(array, dtype=np.float32)).to(device)
