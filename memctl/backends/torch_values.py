"""The inner loop of a value optimisation in torch: only tokens from the first site on, only layers from the edit up.

What comes before a row's first site never changes, so its attention keys and values are computed once; the beginning of the
chat template is computed once for all rows.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import astuple, dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache

from memctl.backends.protocol import Float, Gradient, Row, Tokens
from memctl.backends.torch_layers import (
    KeyValues,
    cache_of,
    eager_attention,
    expanded,
    from_layer,
    inputs_of,
    key_values_of,
    stack_of,
)
from memctl.models.structure import MlpLayout

SUFFIXES = (12, 36, 60, 96)
"""Lengths that what follows a row's first site is padded to; a longer one to the next multiple of PREFIXES."""

PREFIXES = 16
"""What stands before it, after the chat template's beginning, is padded to a multiple of this."""

ROWS_AT_ONCE = 64
"""Rows of one pass: bounds the memory of logits and activations."""


@dataclass(frozen=True)
class _Shape:
    """What a row is padded to. It follows from the row alone, so a row's numbers do not depend on its company.

    Attributes:
        common: Tokens of the chat template's beginning, run once for all rows; 0 for raw rows.
        middle: Tokens between them and the first site.
        suffix: Tokens from the first site on.
    """

    common: int
    middle: int
    suffix: int


@dataclass(frozen=True)
class _Bucket:
    """Rows of one shape, ready to be run from the edited layer on.

    For R rows, P tokens before the suffix and S in it: `prefix` are the attention keys and values of the layers from the edited
    one up, `hidden` (R, S, d), `mask` (R, P + S), `positions` (R, S), `sites` (R, S) in {0, 1}, `predict` (R, S) bool,
    `targets` (R, S).
    """

    rows: list[int]
    prefix: KeyValues
    hidden: Tensor
    mask: Tensor
    positions: Tensor
    sites: Tensor
    predict: Tensor
    targets: Tensor


class TorchValueProblem:
    """See `ValueProblem` in the protocol.

    Args:
        template: What every chat row begins with.
    """

    def __init__(
        self,
        model: Any,
        layout: MlpLayout,
        rows: Sequence[Row],
        layer: int,
        template: Tokens,
        attached: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.model = model
        self.attached = attached
        self.layout = layout
        self.layer = layer
        self.stack = stack_of(model, layout.layers[layer].block)
        self.group = np.array([row.group for row in rows])
        self.to_base = np.array([row.to_base for row in rows])
        shapes: dict[_Shape, list[int]] = {}
        for index, row in enumerate(rows):
            shapes.setdefault(_shape(row, template), []).append(index)
        with torch.no_grad(), attached(), eager_attention(self.model):
            beginning = self._extend([], torch.tensor([template]), None, None) if template else []
            self.buckets = [
                _one_of([self._bucket(rows, part, shape, beginning) for part in _parts(members)])
                for shape, members in sorted(shapes.items(), key=lambda item: astuple(item[0]))
            ]
            self.place = {
                index: (number, place) for number, bucket in enumerate(self.buckets) for place, index in enumerate(bucket.rows)
            }
            self._base = self._base_distributions()

    def evaluate(self, rows: NDArray[np.int64], residuals: Float, weights: Float, scales: Float) -> Gradient:
        losses = np.zeros(len(rows), np.float32)
        hits = np.zeros(len(rows), np.bool_)
        slopes = np.zeros((len(rows), residuals.shape[1]), np.float32)
        with eager_attention(self.model), self.attached():
            for number, bucket in enumerate(self.buckets):
                mine = [k for k, row in enumerate(rows) if self.place[int(row)][0] == number]
                for chosen in map(np.array, _parts(mine)):
                    places = [self.place[int(rows[k])][1] for k in chosen]
                    added = scales[chosen, None] * residuals[self.group[rows[chosen]]]
                    losses[chosen], hits[chosen], slopes[chosen] = self._evaluate(bucket, places, added, weights[chosen])
        gradient = np.zeros_like(residuals)
        np.add.at(gradient, self.group[rows], scales[:, None] * slopes)
        return Gradient(losses, hits, gradient)

    def _evaluate(
        self, bucket: _Bucket, places: list[int], added: Float, weights: Float
    ) -> tuple[Float, NDArray[np.bool_], Float]:
        """Losses and hits of some rows, and the slopes (rows, d) of their weighted losses along what is added to each."""
        device = self.model.device
        addend = torch.tensor(added, device=device, requires_grad=True)
        logits, at = self._run(bucket, places, addend)
        loss, hit = self._loss(bucket, places, logits, at)
        weighted: Any = (loss * torch.tensor(weights, device=device)).sum()
        weighted.backward()
        assert addend.grad is not None
        return loss.detach().float().cpu().numpy(), hit.cpu().numpy(), addend.grad.float().cpu().numpy()

    # Preparation

    def _bucket(self, rows: Sequence[Row], indices: list[int], shape: _Shape, beginning: KeyValues) -> _Bucket:
        device = self.model.device
        C, P, S, R = shape.common, shape.common + shape.middle, shape.suffix, len(indices)
        middle, suffix = torch.zeros(R, P - C, dtype=torch.long), torch.zeros(R, S, dtype=torch.long)
        mask = torch.zeros(R, P + S, dtype=torch.long)
        mask[:, :C] = 1
        sites, predict = torch.zeros(R, S), torch.zeros(R, S, dtype=torch.bool)
        targets = torch.zeros(R, S, dtype=torch.long)
        for r, row in enumerate(rows[index] for index in indices):
            start = row.sites[0]
            tail = row.tokens[start:]
            if start > C:
                middle[r, C - start :] = torch.tensor(row.tokens[C:start])
            suffix[r, : len(tail)] = torch.tensor(tail)
            mask[r, P - (start - C) : P + len(tail)] = 1
            sites[r, [site - start for site in row.sites]] = 1.0
            for position in row.predict:
                predict[r, position - start] = True
                targets[r, position - start] = 0 if row.to_base else row.tokens[position + 1]
        mask = mask.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        common = expanded(beginning, R) if C else []
        prefix = self._extend(common, middle, mask[:, :P], positions[:, C:P])
        hidden = self._lower(prefix, suffix.to(device), mask, positions[:, P:])
        return _Bucket(
            rows=indices,
            prefix=prefix[self.layer :],
            hidden=hidden,
            mask=mask,
            positions=positions[:, P:],
            sites=sites.to(device),
            predict=predict.to(device),
            targets=targets.to(device),
        )

    def _extend(self, before: KeyValues, ids: Tensor, mask: Tensor | None, positions: Tensor | None) -> KeyValues:
        """Attention keys and values of tokens, and of those before them; empty for no tokens at all."""
        if ids.shape[1] == 0:
            return before
        cache = cache_of(before) if before else DynamicCache()
        self.model.base_model(
            input_ids=ids.to(self.model.device),
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
        )
        return key_values_of(cache)

    def _lower(self, prefix: KeyValues, ids: Tensor, mask: Tensor, positions: Tensor) -> Tensor:
        """(R, S, d) input of the edited layer for the suffix tokens."""
        cache = cache_of(prefix) if prefix else DynamicCache()
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
        for bucket in self.buckets:
            for places in _parts([place for place, index in enumerate(bucket.rows) if self.to_base[index]]):
                none = torch.zeros(len(places), self.layout.hidden, device=self.model.device)
                logits, at = self._run(bucket, places, none)
                log_p = torch.log_softmax(logits.float(), -1)
                for k, place in enumerate(places):
                    found[bucket.rows[place]] = log_p[at == k].clone()
        return found

    # The loop

    def _run(self, bucket: _Bucket, places: list[int], addend: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, vocabulary) at all predicted positions of some rows, and (N,) which of them each belongs to."""
        at = torch.tensor(places, device=self.model.device)
        added = bucket.sites[at, :, None] * addend[:, None, :]

        def add(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return output + added.to(output.dtype)

        hook = self.layout.layers[self.layer].mlp.register_forward_hook(add)
        try:
            with from_layer(self.stack, self.layer):
                states = self.model.base_model(
                    inputs_embeds=bucket.hidden[at],
                    attention_mask=bucket.mask[at],
                    position_ids=bucket.positions[at],
                    past_key_values=self._cache(bucket, at),
                    use_cache=True,
                ).last_hidden_state
        finally:
            hook.remove()
        predict = bucket.predict[at]
        logits = self.model.get_output_embeddings()(states[predict])
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return (logits if cap is None else torch.tanh(logits / cap) * cap), predict.nonzero()[:, 0]

    def _cache(self, bucket: _Bucket, at: Tensor) -> DynamicCache:
        """The cache of some rows; the layers that are left out have one of the right length and the least width."""
        if not bucket.prefix:
            return DynamicCache()
        kept = [(keys[at], values[at]) for keys, values in bucket.prefix]
        one = kept[0][0][..., :1]
        return cache_of([(one, one)] * self.layer + kept)

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


def _shape(row: Row, template: Tokens) -> _Shape:
    start = row.sites[0]
    common = len(template) if row.tokens[: len(template)] == template and start >= len(template) else 0
    rest = len(row.tokens) - start
    longest = SUFFIXES[-1]
    suffix = next((length for length in SUFFIXES if rest <= length), longest + _up(rest - longest))
    return _Shape(common, _up(start - common), suffix)


def _one_of(parts: list[_Bucket]) -> _Bucket:
    """The bucket that holds the rows of all parts."""
    kept = {
        field.name: torch.cat([getattr(part, field.name) for part in parts])
        for field in fields(_Bucket)
        if field.name not in ("rows", "prefix")
    }
    layers = zip(*(part.prefix for part in parts), strict=True)
    prefix = [(torch.cat([keys for keys, _ in own]), torch.cat([values for _, values in own])) for own in layers]
    return _Bucket(rows=[row for part in parts for row in part.rows], prefix=prefix, **kept)


def _up(length: int) -> int:
    return -(-length // PREFIXES) * PREFIXES


def _parts(members: list[int]) -> list[list[int]]:
    return [members[begin : begin + ROWS_AT_ONCE] for begin in range(0, len(members), ROWS_AT_ONCE)]
