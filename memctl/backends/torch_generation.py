"""Continuing prompts with a torch model, many at once."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from memctl.backends.protocol import Tokens
from memctl.backends.torch_batches import CONTINUED_AT_ONCE, batches, padded
from memctl.backends.torch_layers import logits_of, with_cache

Choose = Callable[[Tensor], Tensor]
"""The next token of each row, (rows,), from its logits (rows, vocabulary)."""

Ended = Callable[[list[int]], bool]
"""Whether a continuation needs no further token."""


def continued(
    model: Any, prompts: Sequence[Tokens], max_tokens: int | Sequence[int], ends: frozenset[int], ended: Ended, choose: Choose
) -> list[Tokens]:
    """Continuations of prompts, without them and without what ends a turn.

    Args:
        max_tokens: For all prompts, or for each.
        ends: The tokens that end a turn.
    """
    limits = [max_tokens] * len(prompts) if isinstance(max_tokens, int) else max_tokens
    results: list[Tokens] = [()] * len(prompts)
    lengths = [len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True)]
    for batch in batches(lengths, CONTINUED_AT_ONCE):
        said = _batch(model, [prompts[k] for k in batch], [limits[k] for k in batch], ends, ended, choose)
        for index, tokens in zip(batch, said, strict=True):
            results[index] = tokens
    return results


def _batch(
    model: Any, prompts: Sequence[Tokens], limits: Sequence[int], ends: frozenset[int], ended: Ended, choose: Choose
) -> list[Tokens]:
    device = model.device
    ids = padded(prompts, left=True).to(device)
    lengths = torch.tensor([len(prompt) for prompt in prompts], device=device)
    width = ids.shape[1]
    mask = (torch.arange(width, device=device) >= width - lengths[:, None]).long()
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    cache = DynamicCache()
    results: list[list[int]] = [[] for _ in prompts]
    rows = list(range(len(prompts)))
    open_rows = set(rows)
    for count in range(max(limits)):
        kept = [place for place, row in enumerate(rows) if limits[row] > count]
        if len(kept) < len(rows):  # not where a turn has ended: the batch's shape, and so rounding, is the prompts' alone
            rows, at = [rows[place] for place in kept], torch.tensor(kept, device=device)
            ids, mask, positions = ids[at], mask[at], positions[at]
            cache.batch_select_indices(at)
            open_rows.intersection_update(rows)
        if not open_rows:
            break
        states = model.base_model(
            input_ids=ids, attention_mask=mask, position_ids=positions, **with_cache(cache), use_cache=True
        ).last_hidden_state
        ids = choose(logits_of(model, states[:, -1]))[:, None]
        for row, token in zip(rows, ids[:, 0].tolist(), strict=True):
            if row not in open_rows:
                continue
            if token not in ends:
                results[row].append(token)
            if token in ends or ended(results[row]):
                open_rows.discard(row)
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], -1)
        positions = positions[:, -1:] + 1
    return [tuple(tokens) for tokens in results]
