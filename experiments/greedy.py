"""Greedy answers under hooks of an experiment's own, which `Backend.generate` does not know of."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


def padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids and a mask (n, T), padded on the left: the last column is of the prompts' last tokens."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(one)) + list(one) for one in prompts])
    mask = torch.tensor([[0] * (longest - len(one)) + [1] * len(one) for one in prompts])
    return ids, mask


@torch.inference_mode()
def greedy(backend: Any, ids: Tensor, mask: Tensor, most: int) -> list[str]:
    """Answers of at most so many tokens to prompts as `padded` makes them: one pass over these, then one for each token."""
    places, cache, current = (mask.cumsum(1) - 1).clamp(min=0), DynamicCache(), ids
    replies: list[list[int]] = [[] for _ in ids]
    ended = [False] * len(ids)
    for _ in range(most):
        last = backend.model.base_model(
            input_ids=current, attention_mask=mask, position_ids=places, past_key_values=cache, use_cache=True
        ).last_hidden_state[:, -1]
        following = backend.model.get_output_embeddings()(last).argmax(-1)
        for row, token in enumerate(following.tolist()):
            ended[row] |= token in backend._ends
            if not ended[row]:
                replies[row].append(token)
        if all(ended):
            break
        current, places = following[:, None], places[:, -1:] + 1
        mask = torch.cat([mask, torch.ones(len(ids), 1, dtype=mask.dtype)], 1)
    return [backend.decode(reply) for reply in replies]
