"""The inner loop of a value optimisation in torch: only tokens from the first site on, only layers from the edit up.

What comes before a row's first site never changes, so its attention keys and values are computed once; what the rows of a
bucket have in common at the start (the chat template) is computed once for all of them.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache

from memctl.backends.protocol import Float, Gradient, Row
from memctl.backends.torch_layers import (
    KeyValues,
    cache_of,
    common_prefix,
    eager_attention,
    expanded,
    from_layer,
    inputs_of,
    key_values_of,
    stack_of,
)
from memctl.models.structure import MlpLayout

SPLIT_BELOW = 0.8
"""Share of the padded size that splitting the rows in two has to come down to, to be worth a second pass."""


@dataclass(frozen=True)
class _Bucket:
    """Rows of like shape, ready to be run from the edited layer on.

    Shapes, for R rows, P prefix tokens of which C are common, S suffix tokens: `hidden` (R, S, d), `mask`
    (R, P + S), `positions` (R, S), `sites` (R, S) in {0, 1}, `predict` (R, S) bool, `targets` (R, S).
    """

    rows: list[int]
    common: KeyValues
    prefix: KeyValues
    hidden: Tensor
    mask: Tensor
    positions: Tensor
    sites: Tensor
    predict: Tensor
    targets: Tensor


class TorchValueProblem:
    """See `ValueProblem` in the protocol."""

    def __init__(
        self,
        model: Any,
        layout: MlpLayout,
        rows: Sequence[Row],
        layer: int,
        pristine: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.model = model
        self.pristine = pristine
        self.layout = layout
        self.layer = layer
        self.stack = stack_of(model, layout.layers[layer].block)
        self.groups = torch.tensor([row.group for row in rows], device=model.device)
        self.to_base = np.array([row.to_base for row in rows])
        with torch.no_grad(), pristine(), eager_attention(self.model):
            self.buckets = [self._bucket(rows, indices) for indices in _bucket_indices(rows)]
            self.place = {
                index: (number, place) for number, bucket in enumerate(self.buckets) for place, index in enumerate(bucket.rows)
            }
            self._base = self._base_distributions()

    def evaluate(self, rows: NDArray[np.int64], residuals: Float, weights: Float, scales: Float) -> Gradient:
        with eager_attention(self.model):
            return self._evaluate(rows, residuals, weights, scales)

    def _evaluate(self, rows: NDArray[np.int64], residuals: Float, weights: Float, scales: Float) -> Gradient:
        device = self.model.device
        delta = torch.tensor(residuals, device=device, requires_grad=True)
        losses = np.zeros(len(rows), np.float32)
        hits = np.zeros(len(rows), np.bool_)
        for number, bucket in enumerate(self.buckets):
            chosen = [k for k, row in enumerate(rows) if self.place[int(row)][0] == number]
            if not chosen:
                continue
            places = [self.place[int(rows[k])][1] for k in chosen]
            factor = torch.tensor(scales[chosen], device=device)
            with self.pristine():
                logits, at = self._run(bucket, places, delta, factor)
            loss, hit = self._loss(bucket, places, logits, at)
            weighted: Any = (loss * torch.tensor(weights[chosen], device=device)).sum()
            weighted.backward()
            losses[chosen] = loss.detach().float().cpu().numpy()
            hits[chosen] = hit.cpu().numpy()
        gradient = torch.zeros_like(delta) if delta.grad is None else delta.grad
        return Gradient(losses, hits, gradient.float().cpu().numpy())

    # Preparation

    def _bucket(self, rows: Sequence[Row], indices: list[int]) -> _Bucket:
        device = self.model.device
        chosen = [rows[index] for index in indices]
        starts = [row.sites[0] for row in chosen]
        common = common_prefix([row.tokens for row in chosen], min(starts))
        P = max(starts)
        S = max(len(row.tokens) - start for row, start in zip(chosen, starts, strict=True))
        R = len(chosen)
        middle, suffix = torch.zeros(R, P - common, dtype=torch.long), torch.zeros(R, S, dtype=torch.long)
        mask = torch.zeros(R, P + S, dtype=torch.long)
        mask[:, :common] = 1
        sites, predict = torch.zeros(R, S), torch.zeros(R, S, dtype=torch.bool)
        targets = torch.zeros(R, S, dtype=torch.long)
        for r, (row, start) in enumerate(zip(chosen, starts, strict=True)):
            tail = row.tokens[start:]
            if start > common:
                middle[r, common - start :] = torch.tensor(row.tokens[common:start])
            suffix[r, : len(tail)] = torch.tensor(tail)
            mask[r, P - (start - common) : P + len(tail)] = 1
            sites[r, [site - start for site in row.sites]] = 1.0
            for position in row.predict:
                predict[r, position - start] = True
                targets[r, position - start] = 0 if row.to_base else row.tokens[position + 1]
        mask = mask.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        shared: KeyValues = self._extend([], torch.tensor([chosen[0].tokens[:common]]), None, None)
        prefix = self._extend(expanded(shared, R), middle, mask[:, :P], positions[:, common:P], drop=common)
        hidden = self._lower(shared, prefix, suffix.to(device), mask, positions[:, P:])
        return _Bucket(
            rows=indices,
            common=shared,
            prefix=prefix,
            hidden=hidden,
            mask=mask,
            positions=positions[:, P:],
            sites=sites.to(device),
            predict=predict.to(device),
            targets=targets.to(device),
        )

    def _extend(
        self, before: KeyValues, ids: Tensor, mask: Tensor | None, positions: Tensor | None, drop: int = 0
    ) -> KeyValues:
        """Attention keys and values of tokens that follow others; without the first `drop`. Empty for no tokens."""
        if ids.shape[1] == 0:
            return []
        cache = cache_of(before) if before else DynamicCache()
        self.model.base_model(
            input_ids=ids.to(self.model.device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return [(keys[:, :, drop:], values[:, :, drop:]) for keys, values in key_values_of(cache)]

    def _lower(self, common: KeyValues, prefix: KeyValues, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """(R, S, d) input of the edited layer for the suffix tokens."""
        cache = _joined(common, prefix, None, len(ids))
        (hidden,) = inputs_of(
            (self.layout.layers[self.layer].block,),
            lambda: self.model.base_model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
            ),
        )
        return hidden

    def _base_distributions(self) -> dict[int, Tensor]:
        """Base log-probabilities (predicted positions, vocabulary) of the rows that are held to the base."""
        found: dict[int, Tensor] = {}
        none = torch.zeros(int(self.groups.max()) + 1, self.layout.hidden, device=self.model.device)
        for bucket in self.buckets:
            places = [place for place, index in enumerate(bucket.rows) if self.to_base[index]]
            for begin in range(0, len(places), 64):
                part = places[begin : begin + 64]
                logits, at = self._run(bucket, part, none, torch.ones(len(part), device=self.model.device))
                log_p = torch.log_softmax(logits.float(), -1)
                for k, place in enumerate(part):
                    found[bucket.rows[place]] = log_p[at == k].clone()
        return found

    # The loop

    def _run(self, bucket: _Bucket, places: list[int], delta: Tensor, scales: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, vocabulary) at all predicted positions of some rows, and (N,) which of them each belongs to."""
        at = torch.tensor(places, device=self.model.device)
        groups = self.groups[[bucket.rows[place] for place in places]]
        added = bucket.sites[at, :, None] * (scales[:, None] * delta[groups])[:, None, :]

        def add(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return output + added.to(output.dtype)

        hook = self.layout.layers[self.layer].mlp.register_forward_hook(add)
        try:
            with from_layer(self.stack, self.layer):
                states = self.model.base_model(
                    inputs_embeds=bucket.hidden[at],
                    attention_mask=bucket.mask[at],
                    position_ids=bucket.positions[at],
                    past_key_values=_joined(bucket.common, bucket.prefix, at, len(places)),
                    use_cache=True,
                ).last_hidden_state
        finally:
            hook.remove()
        predict = bucket.predict[at]
        logits = self.model.get_output_embeddings()(states[predict])
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return (logits if cap is None else torch.tanh(logits / cap) * cap), predict.nonzero()[:, 0]

    def _loss(self, bucket: _Bucket, places: list[int], logits: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss per row (nats) and whether every greedy prediction is right."""
        log_p = torch.log_softmax(logits.float(), -1)
        place = torch.tensor(places, device=log_p.device)
        targets = bucket.targets[place][bucket.predict[place]]
        loss = -log_p.gather(-1, targets[:, None])[:, 0]
        right = log_p.argmax(-1) == targets
        for k, index in enumerate(bucket.rows[p] for p in places):
            if self.to_base[index]:
                log_q = self._base[index]
                mine = at == k
                loss = loss.masked_scatter(mine, (log_q.exp() * (log_q - log_p[mine])).sum(-1))
                right = right.masked_scatter(mine, log_p[mine].argmax(-1) == log_q.argmax(-1))
        count = torch.zeros(len(places), device=log_p.device).index_add(0, at, torch.ones_like(loss))
        mean = torch.zeros(len(places), device=log_p.device).index_add(0, at, loss) / count
        wrong = torch.zeros(len(places), device=log_p.device).index_add(0, at, (~right).float())
        return mean, wrong == 0


def _bucket_indices(rows: Sequence[Row]) -> list[list[int]]:
    """Rows in two lots, the long and the short ones after the first site: each lot costs one pass over the weights."""
    lengths = [len(row.tokens) - row.sites[0] for row in rows]
    order = sorted(range(len(rows)), key=lambda index: (lengths[index], index))
    # the split that leaves the least padding
    waste = [k * lengths[order[k - 1]] + (len(order) - k) * lengths[order[-1]] for k in range(1, len(order))]
    if not waste or min(waste) > SPLIT_BELOW * len(order) * lengths[order[-1]]:
        return [order]
    split = waste.index(min(waste)) + 1
    return [order[:split], order[split:]]


def _joined(common: KeyValues, prefix: KeyValues, at: Tensor | None, rows: int) -> DynamicCache:
    """The cache of some rows: what all have in common, then each row's own."""
    if not common and not prefix:
        return DynamicCache()
    joined: KeyValues = []
    for index in range(len(common or prefix)):
        parts = [expanded([common[index]], rows)[0]] if common else []
        if prefix:
            keys, values = prefix[index]
            parts.append((keys, values) if at is None else (keys[at], values[at]))
        joined.append((torch.cat([p[0] for p in parts], -2), torch.cat([p[1] for p in parts], -2)))
    return cache_of(joined)
