"""Running a part of a transformers model: some of its layers, from inner states, over cached prefixes.

Nothing here knows a model family: layers that are not wanted are replaced by modules that hand their input on, so that
each model's own forward still makes its masks and rotary embeddings.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import transformers
from packaging.version import Version
from torch import Tensor, nn
from transformers import DynamicCache

KeyValues = list[tuple[Tensor, Tensor]]
"""Attention keys and values, layer by layer, each (rows, heads, tokens, head width)."""

_CACHE = "cache" if Version(transformers.__version__) >= Version("5.24") else "past_key_values"
"""What a model's forward calls the cache."""


class _HandOn(nn.Module):
    """Stands where a layer is left out; keeps the attributes that a model's forward looks at."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        if hasattr(layer, "attention_type"):
            self.attention_type = layer.attention_type

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden_states


class _Reached(BaseException):
    """Ends a forward pass at the place whose activations were wanted; never leaves this module."""


@contextmanager
def from_layer(layers: nn.ModuleList, start: int) -> Iterator[None]:
    """Leaves out the layers below `start`; what the model takes for embeddings is then that layer's input."""
    kept = [layers[index] for index in range(start)]
    try:
        for index, layer in enumerate(kept):
            layers[index] = _HandOn(layer)
        yield
    finally:
        for index, layer in enumerate(kept):
            layers[index] = layer


@contextmanager
def eager_attention(model: Any) -> Iterator[None]:
    """torch's fused attention is slow in its backward pass for rows this short: .35 s of 1.1 s in a step."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def logits_of(model: Any, states: Tensor) -> Tensor:
    """(…, vocabulary) logits of (…, d) last hidden states, capped where the model caps them."""
    logits: Tensor = model.get_output_embeddings()(states)
    cap = getattr(model.config, "final_logit_softcapping", None)
    return logits if cap is None else torch.tanh(logits / cap) * cap


def stack_of(model: nn.Module, block: nn.Module) -> nn.ModuleList:
    """The list that holds a decoder layer."""
    return next(
        module for module in model.modules() if isinstance(module, nn.ModuleList) and any(child is block for child in module)
    )


@contextmanager
def kept_inputs(modules: Sequence[nn.Module], *, last: bool = False) -> Iterator[list[Tensor]]:
    """Fills a list with the first inputs of modules; if `last`, what runs is ended once the last of them is reached."""
    found: list[Tensor] = []

    def keep(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        found.append(args[0] if args else kwargs["hidden_states"])
        if last and module is modules[-1]:
            raise _Reached

    hooks = [module.register_forward_pre_hook(keep, with_kwargs=True) for module in modules]
    try:
        yield found
    except _Reached:
        pass
    finally:
        for hook in hooks:
            hook.remove()


def inputs_of(modules: Sequence[nn.Module], run: Any) -> list[Tensor]:
    """The first inputs of modules during `run()`, which is ended once the last of them is reached."""
    with kept_inputs(modules, last=True) as found:
        run()
    return found


def output_of(module: nn.Module, run: Any) -> Tensor:
    """The output of a module during `run()`, which is ended once it is there."""
    found: list[Tensor] = []

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        found.append(output[0] if isinstance(output, tuple) else output)
        raise _Reached

    hook = module.register_forward_hook(keep)
    try:
        run()
    except _Reached:
        pass
    finally:
        hook.remove()
    return found[0]


def cache_of(key_values: KeyValues) -> DynamicCache:
    """A cache that already holds some tokens; the tensors given are not changed by its growth."""
    cache = DynamicCache()
    for index, (keys, values) in enumerate(key_values):
        cache.update(keys, values, index)
    return cache


def with_cache(cache: DynamicCache | None) -> dict[str, Any]:
    """The argument by which a model's forward reads and fills a cache."""
    return {_CACHE: cache}


def key_values_of(cache: Any) -> KeyValues:
    """The tensors of a cache."""
    return [(layer.keys, layer.values) for layer in cache.layers]


def expanded(key_values: KeyValues, rows: int) -> KeyValues:
    """The cache of one row, seen by many (no copy)."""
    return [(keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1)) for keys, values in key_values]
