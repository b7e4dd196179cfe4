"""The inner loop of a value optimisation in torch: only tokens from the first site on, only layers from the edit up.

What comes before a row's first site never changes, so its attention keys and values are computed once; the beginning of the
chat template is computed once for all rows. The rows of a step are run as one sequence in which each token attends to its own
row alone: of a batch of rows this short and this unequal, half would be padding.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
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
    logits_of,
    stack_of,
    with_cache,
)
from memctl.models.structure import MlpLayout

PREPARED_AT_ONCE = 64
"""Rows whose unchanging part is run in one pass."""

ROWS_AT_ONCE = 16
"""Rows of one sequence: in attention, each token meets those of all."""


@dataclass(frozen=True)
class _Part:
    """A row's part that changes, ready to be run from the edited layer on: S tokens from the first site to the last one scored.

    Attributes:
        templated: Whether the chat template's beginning stands before it.
        before: Attention keys and values of the tokens between that and the first site, from the edited layer up.
        hidden: (S, d) input of the edited layer.
        first: Position of the first of them.
        sites: (S,) in {0, 1}.
        predict: (n,) which of them are scored.
        targets: (n,) the tokens that are to follow these; 0 where the row is held to the base.
    """

    templated: bool
    before: KeyValues
    hidden: Tensor
    first: int
    sites: Tensor
    predict: Tensor
    targets: Tensor

    @property
    def tokens_before(self) -> int:
        return self.before[0][0].shape[2] if self.before else 0


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
        self.to_base = np.array([row.to_base for row in rows])
        parts: dict[int, _Part] = {}
        with torch.no_grad(), attached(), eager_attention(self.model):
            beginning = self._extend([], torch.tensor([template]), None, None) if template else []
            self.template = beginning[layer:]
            for templated in (True, False):
                members = [k for k, row in enumerate(rows) if _begins_with(row, template) is templated]
                for some in _at_once(members, PREPARED_AT_ONCE):
                    made = self._prepared([rows[k] for k in some], beginning if templated else [])
                    parts |= dict(zip(some, made, strict=True))
            self.parts = [parts[k] for k in range(len(rows))]
            self._base = self._base_distributions()

    def evaluate(self, rows: NDArray[np.int64], residual: Float, weights: Float, scales: Float) -> Gradient:
        losses = np.zeros(len(rows), np.float32)
        hits = np.zeros(len(rows), np.bool_)
        slopes = np.zeros((len(rows), len(residual)), np.float32)
        with eager_attention(self.model), self.attached():
            for chosen in _at_once(list(range(len(rows))), ROWS_AT_ONCE):
                added = scales[chosen, None] * residual
                found = self._evaluate(rows[chosen].tolist(), added, weights[chosen])
                losses[chosen], hits[chosen], slopes[chosen] = found
        return Gradient(losses, hits, scales @ slopes)

    def _evaluate(self, rows: list[int], added: Float, weights: Float) -> tuple[Float, NDArray[np.bool_], Float]:
        """Losses and hits of some rows, and the slopes (rows, d) of their weighted losses along what is added to each."""
        addend = torch.tensor(added, device=self.model.device, requires_grad=True)
        logits, at = self._run(rows, addend)
        with torch.no_grad():
            losses, hits, slopes = self._scored(rows, logits.float(), at, torch.tensor(weights, device=self.model.device))
        torch.autograd.backward(logits, slopes.to(logits.dtype))
        assert addend.grad is not None
        return losses.cpu().numpy(), hits.cpu().numpy(), addend.grad.float().cpu().numpy()

    # Preparation

    def _prepared(self, rows: Sequence[Row], beginning: KeyValues) -> list[_Part]:
        """The parts of rows that all begin with these tokens, from one padded batch."""
        device = self.model.device
        starts = [row.sites[0] for row in rows]
        tails = [row.tokens[start : max(row.predict) + 1] for row, start in zip(rows, starts, strict=True)]
        C = beginning[0][0].shape[2] if beginning else 0
        R, P, S = len(rows), max(starts), max(map(len, tails))
        middle, suffix = torch.zeros(R, P - C, dtype=torch.long), torch.zeros(R, S, dtype=torch.long)
        mask = torch.zeros(R, P + S, dtype=torch.long)
        mask[:, :C] = 1
        for r, (row, start, tail) in enumerate(zip(rows, starts, tails, strict=True)):
            middle[r, P - start :] = torch.tensor(row.tokens[C:start])
            suffix[r, : len(tail)] = torch.tensor(tail)
            mask[r, P - start + C : P + len(tail)] = 1
        mask = mask.to(device)
        positions = (mask.cumsum(-1) - 1).clamp(min=0)
        before = self._extend(expanded(beginning, R), middle, mask[:, :P], positions[:, C:P])
        hidden = self._lower(before, suffix.to(device), mask, positions[:, P:])
        return [
            _Part(
                templated=bool(beginning),
                before=[
                    (keys[r : r + 1, :, P - start + C :].clone(), values[r : r + 1, :, P - start + C :].clone())
                    for keys, values in before[self.layer :]
                ],
                hidden=hidden[r, : len(tail)],
                first=start,
                sites=torch.tensor([float(start + k in row.sites) for k in range(len(tail))], device=device),
                predict=torch.tensor([at - start for at in row.predict], device=device),
                targets=torch.tensor([0 if row.to_base else row.tokens[at + 1] for at in row.predict], device=device),
            )
            for r, (row, start, tail) in enumerate(zip(rows, starts, tails, strict=True))
        ]

    def _extend(self, before: KeyValues, ids: Tensor, mask: Tensor | None, positions: Tensor | None) -> KeyValues:
        """Attention keys and values of tokens, and of those before them; empty for no tokens at all."""
        if ids.shape[1] == 0:
            return before
        cache = cache_of(before) if before else DynamicCache()
        self.model.base_model(
            input_ids=ids.to(self.model.device),
            attention_mask=mask,
            position_ids=positions,
            **with_cache(cache),
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
                **with_cache(cache),
                use_cache=True,
            ),
        )
        return hidden

    def _base_distributions(self) -> dict[int, Tensor]:
        """Base log-probabilities (predicted positions, vocabulary) of the rows that are held to the base."""
        found: dict[int, Tensor] = {}
        for rows in _at_once(np.flatnonzero(self.to_base).tolist(), ROWS_AT_ONCE):
            logits, at = self._run(rows, torch.zeros(len(rows), self.layout.hidden, device=self.model.device))
            log_p = torch.log_softmax(logits.float(), -1)
            found |= {row: log_p[at == k].clone() for k, row in enumerate(rows)}
        return found

    # The loop

    def _run(self, rows: list[int], addend: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, vocabulary) at all predicted positions of some rows, and (N,) which of them each belongs to."""
        device = self.model.device
        parts = [self.parts[row] for row in rows]
        positions = [part.first + torch.arange(len(part.hidden), device=device) for part in parts]
        row_of = _numbers(positions)
        added = torch.cat([part.sites for part in parts])[:, None] * addend[row_of]
        cache, mask = self._before(parts, positions)

        def add(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return output + added.to(output.dtype)

        hook = self.layout.layers[self.layer].mlp.register_forward_hook(add)
        try:
            with from_layer(self.stack, self.layer):
                states = self.model.base_model(
                    inputs_embeds=torch.cat([part.hidden for part in parts])[None],
                    attention_mask=mask,
                    position_ids=torch.cat(positions)[None],
                    **with_cache(cache),
                    use_cache=True,
                ).last_hidden_state[0]
        finally:
            hook.remove()
        begins = np.cumsum([0, *(len(at) for at in positions[:-1])])
        predict = torch.cat([int(begin) + part.predict for begin, part in zip(begins, parts, strict=True)])
        return logits_of(self.model, states[predict]), row_of[predict]

    def _before(self, parts: list[_Part], positions: list[Tensor]) -> tuple[DynamicCache, Tensor | dict[str, Tensor]]:
        """What stands before the rows of one sequence, one after the other, and the mask that keeps them apart.

        Layers that are left out get as many keys of the least width.
        """
        device = self.model.device
        templated = torch.tensor([part.templated for part in parts], device=device)
        begun = [self.template] * bool(templated.any())
        pieces = [piece for piece in (*begun, *(part.before for part in parts)) if piece]
        before = [part.first - torch.arange(part.tokens_before, 0, -1, device=device) for part in parts]
        shared = torch.arange(begun[0][0][0].shape[2] if begun else 0, device=device)
        at, row = torch.cat(positions), _numbers(positions)
        key_at = torch.cat([shared, *before, at])
        key_of = torch.cat([torch.full_like(shared, -1), _numbers(before), row])
        mine = (key_of == row[:, None]) | ((key_of == -1) & templated[row][:, None])
        distance = at[:, None] - key_at
        mask = self._masks(mine & (distance >= 0), distance, parts[0].hidden.dtype)
        if not pieces:
            return DynamicCache(), mask
        kept = [(torch.cat([k for k, _ in own], 2), torch.cat([v for _, v in own], 2)) for own in zip(*pieces, strict=True)]
        one = kept[0][0][..., :1]
        return cache_of([(one, one)] * self.layer + kept), mask

    def _masks(self, seen: Tensor, distance: Tensor, dtype: torch.dtype) -> Tensor | dict[str, Tensor]:
        """(1, 1, T, K + T) what is added to attention scores: one for all layers, or one for each kind that there is."""
        config = self.model.config
        kinds = set(getattr(config, "layer_types", None) or ())
        window = getattr(config, "sliding_window", None)

        def mask(allowed: Tensor) -> Tensor:
            return torch.zeros(seen.shape, dtype=dtype, device=seen.device).masked_fill(~allowed, torch.finfo(dtype).min)[
                None, None
            ]

        near = seen if window is None else seen & (distance < window)
        if not kinds:
            return mask(near)
        if "sliding_attention" not in kinds:
            return mask(seen)
        return {kind: mask(near if kind == "sliding_attention" else seen) for kind in kinds}

    def _scored(self, rows: list[int], logits: Tensor, at: Tensor, weights: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean loss of each row (nats), whether all its greedy predictions are right, and the weighted sum's slope (as logits).

        The slope of − log p(target) is p less one at the target; that of KL(q ‖ p) is p − q.
        """
        log_p = torch.log_softmax(logits, -1)
        targets = torch.cat([self.parts[row].targets for row in rows])[:, None]
        loss = -log_p.gather(-1, targets)[:, 0]
        best = log_p.argmax(-1)
        right = best == targets[:, 0]
        slopes = log_p.exp()
        held = torch.tensor(self.to_base[rows], device=logits.device)[at, None]
        slopes.scatter_add_(-1, targets, held.float() - 1)
        for k, row in enumerate(rows):
            if self.to_base[row]:
                log_q, mine = self._base[row], at == k
                q = log_q.exp()
                loss[mine] = (q * (log_q - log_p[mine])).sum(-1)
                right[mine] = best[mine] == q.argmax(-1)
                slopes[mine] -= q
        count = torch.bincount(at, minlength=len(rows)).float()
        mean = torch.zeros_like(count).index_add(0, at, loss) / count
        wrong = torch.zeros_like(count).index_add(0, at, (~right).float())
        return mean, wrong == 0, slopes.mul_((weights / count)[at, None])


def _begins_with(row: Row, template: Tokens) -> bool:
    """Whether the chat template's beginning stands before the row's first site."""
    return bool(template) and row.tokens[: len(template)] == template and row.sites[0] >= len(template)


def _numbers(places: list[Tensor]) -> Tensor:
    """For each of all places, which of the lists it is from."""
    return torch.cat([torch.full_like(at, k) for k, at in enumerate(places)])


def _at_once(members: list[int], most: int) -> Iterator[list[int]]:
    return (members[begin : begin + most] for begin in range(0, len(members), most))
