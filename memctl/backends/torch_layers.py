"""Running a part of a transformers model: some of its layers, from inner states, over cached prefixes.

Nothing here knows a model family: layers that are not wanted are replaced by modules that hand their input on, so that
each model's own forward still makes its masks and rotary embeddings.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from packaging.version import Version
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from memctl.errors import ModelUnavailable
from memctl.models.structure import SUPPORTED

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


@dataclass(frozen=True)
class Attended:
    """What a sequence attends to that shares a pass with others: kept keys and values, then its own.

    Attributes:
        tokens: Length of the sequence.
        first: The layer that the kept ones begin at.
        kept: Of each layer from there on the keys, and the values, in pieces (1, heads, tokens, head width).
        mask: (1, 1, tokens, all it attends to) what is added to scores; by the layer's kind where there are several.
    """

    tokens: int
    first: int
    kept: list[tuple[list[Tensor], list[Tensor]]]
    mask: Tensor | dict[str, Tensor]


_IN_PARTS = "memctl-in-parts"


@contextmanager
def attention_in_parts(model: Any, sequences: Sequence[Attended]) -> Iterator[Any]:
    """Lets the tokens of one pass attend as those of several sequences, one after the other; yields the pass's mask.

    Each sequence's attention has the shapes, and so the rounding, that it has in a pass of its own. It is the model's own eager
    one: see `eager_attention`.
    """
    lengths = [sequence.tokens for sequence in sequences]
    kinds: Any = getattr(model.config, "layer_types", None)

    def attend(module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> tuple[Tensor, None]:
        eager = sys.modules[type(module).__module__].eager_attention_forward
        layer: Any = getattr(module, "layer_idx", None)
        outputs = []
        for sequence, q, k, v in zip(sequences, *(torch.split(x, lengths, 2) for x in (query, key, value)), strict=True):
            keys, values = sequence.kept[layer - sequence.first] if sequence.kept else ([], [])
            mine = sequence.mask[kinds[layer]] if isinstance(sequence.mask, dict) else sequence.mask
            output, _ = eager(module, q, torch.cat([*keys, k], 2), torch.cat([*values, v], 2), mine, **kwargs)
            outputs.append(output)
        return torch.cat(outputs, 1), None

    before = model.config._attn_implementation
    known: Any = ALL_ATTENTION_FUNCTIONS
    known[_IN_PARTS] = attend
    try:
        model.set_attn_implementation(_IN_PARTS)
        if model.config._attn_implementation != _IN_PARTS:
            raise ModelUnavailable(f"the attention of {type(model).__name__} cannot be replaced", "use another base model")
        given = torch.zeros(1, 1, 1, 1, device=model.device)  # a mask that is there already is not made
        first = sequences[0].mask
        yield dict.fromkeys(first, given) if isinstance(first, dict) else given
    finally:
        model.set_attn_implementation(before)
        del known[_IN_PARTS]


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


@torch.inference_mode()
def require_plain_forward(model: Any, blocks: Sequence[nn.Module]) -> None:
    """Some families scale their embeddings or logits in their forward, where parts of a pass would not know of it.

    Raises:
        ModelUnavailable: A pass from the second layer on and `logits_of` do not give what a whole pass gives.
    """
    start = 1 % len(blocks)
    ids = torch.arange(min(8, model.get_output_embeddings().weight.shape[0]), device=model.device)[None]
    with kept_inputs((blocks[start],)) as entering:
        whole = model(input_ids=ids).logits.float()
    with from_layer(stack_of(model, blocks[start]), start):
        states = model.base_model(inputs_embeds=entering[0]).last_hidden_state
    if not (logits_of(model, states).float() - whole).abs().max() <= 0.01 * whole.abs().max():  # a NaN is no pass either
        raise ModelUnavailable(f"the forward of {type(model).__name__} does more than its layers do", SUPPORTED)


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
