"""Training an adapter in torch: only the adapted layers run, only the tokens that differ, and only the scored ones are scored.

Layers below the adapted ones are frozen, so what enters the lowest of these is computed once for each lesson. What all
lessons of a family begin with (the chat template) is run once a step, inside the graph: its keys and values change with
the adapter. The loss and its gradient with respect to the last states are written out, since a graph over the
vocabulary would take several times the memory.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache

from memctl.adapters import Adapter, Factors
from memctl.backends.protocol import PRISTINE, AdapterGradient, Float, Lesson
from memctl.backends.torch_batches import TOKENS_AT_ONCE, batches, families, padded
from memctl.backends.torch_composition import beside_projection
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
from memctl.deltas import Composition
from memctl.models.structure import MlpLayout

KEPT = 64
"""Likeliest next tokens whose probability under the base is kept one by one; that of all others is kept as one sum."""

SMALLEST_SHARE = 8
"""Lessons that begin alike are run apart from the others if they are an eighth of all: each family is a pass of its own."""

GRAPH_TOKENS = 512
"""Tokens, with padding, whose way through the adapted layers is in memory together, to flow back along."""

SCORED_AT_ONCE = 128
"""Positions whose scores over the vocabulary are in memory together."""


@dataclass(frozen=True)
class _Family:
    """Lessons that begin with the same tokens.

    Attributes:
        lessons: Their numbers.
        prefix: (1, P, d) what enters the lowest adapted layer at the tokens that all share.
        hidden: (S, d) each, the same for the tokens after these.
    """

    lessons: list[int]
    prefix: Tensor
    hidden: list[Tensor]


class TorchAdapterProblem:
    """See `AdapterProblem` in the protocol."""

    def __init__(
        self,
        model: Any,
        layout: MlpLayout,
        modules: dict[str, nn.Module],
        lessons: Sequence[Lesson],
        layer: int,
        attached: Callable[[Composition], AbstractContextManager[None]],
        under: Composition,
    ) -> None:
        self.model = model
        self.modules = modules
        self.lessons = tuple(lessons)
        self.layer = layer
        self.attached, self.under = attached, under
        self.block = layout.layers[layer].block
        self.stack = stack_of(model, self.block)
        families = _families(lessons)
        self.place = {number: (family, row) for family, (_, own) in enumerate(families) for row, number in enumerate(own)}
        with torch.no_grad(), eager_attention(model):
            with attached(PRISTINE):
                self.families = [self._family(shared, own) for shared, own in families]
                self.targets = self._targets()
            if under:
                with attached(under):
                    self.families = [self._family(shared, own) for shared, own in families]

    def evaluate(self, lessons: NDArray[np.int64], weights: Float | None, adapter: Adapter) -> AdapterGradient:
        leaves = {
            path: [torch.tensor(array, device=self.model.device, requires_grad=weights is not None) for array in (own.A, own.B)]
            for path, own in adapter.projections.items()
        }
        losses, hits = np.zeros(len(lessons), np.float32), np.zeros(len(lessons), np.bool_)
        with self.attached(self.under), eager_attention(self.model), torch.set_grad_enabled(weights is not None):
            for family, chosen in self._passes(lessons):
                share = None if weights is None else weights[chosen]
                with self._beside(leaves):
                    losses[chosen], hits[chosen] = self._step(family, lessons[chosen], share)
        gradient = (
            {path: Factors(*(_gradient(leaf) for leaf in pair)) for path, pair in leaves.items()} if weights is not None else {}
        )
        return AdapterGradient(losses, hits, gradient)

    # Preparation

    def _family(self, shared: int, numbers: list[int]) -> _Family:
        own = [self.lessons[number] for number in numbers]
        prefix = torch.zeros(1, 0, self.model.config.hidden_size, dtype=self.model.dtype, device=self.model.device)
        before: KeyValues = []
        if shared:
            cache = DynamicCache()
            prefix = self._entering(torch.tensor([own[0].tokens[:shared]]), cache)
            before = key_values_of(cache)[: self.layer]
        hidden: list[Tensor] = [prefix] * len(own)
        lengths = [max(lesson.predict) + 1 - shared for lesson in own]
        for batch in batches(lengths, TOKENS_AT_ONCE):
            ids = padded([own[row].tokens[shared : shared + lengths[row]] for row in batch])
            states = self._entering(ids, cache_of(expanded(before, len(batch))) if shared else None)
            for place, row in enumerate(batch):
                hidden[row] = states[place, : lengths[row]].clone()
        return _Family(numbers, prefix, hidden)

    def _entering(self, ids: Tensor, cache: DynamicCache | None) -> Tensor:
        """(R, S, d) what enters the lowest adapted layer; the layers below add to the cache."""
        (states,) = inputs_of(
            (self.block,),
            lambda: self.model.base_model(
                input_ids=ids.to(self.model.device), **with_cache(cache), use_cache=cache is not None
            ),
        )
        return states

    def _targets(self) -> dict[int, tuple[Tensor, Tensor]]:
        """Of each lesson that is held to the base: the likeliest tokens (n, KEPT) and the logarithms of their chances."""
        found: dict[int, tuple[Tensor, Tensor]] = {}
        for family in self.families:
            own = [number for number in family.lessons if self.lessons[number].to_base]
            lengths = [len(family.hidden[self.place[number][1]]) for number in own]
            for batch in batches(lengths, TOKENS_AT_ONCE):
                numbers = [own[k] for k in batch]
                states, at = self._states(family, numbers)
                for k, number in enumerate(numbers):
                    log_q = torch.log_softmax(logits_of(self.model, states[at == k]).float(), -1)
                    log_q, tokens = log_q.topk(min(KEPT, log_q.shape[-1]), -1)
                    found[number] = tokens, log_q
        return found

    # The loop

    def _passes(self, lessons: NDArray[np.int64]) -> Iterator[tuple[_Family, list[int]]]:
        """Which of the lessons, by their place in the list, are run together."""
        for number, family in enumerate(self.families):
            chosen = [k for k, lesson in enumerate(lessons) if self.place[int(lesson)][0] == number]
            lengths = [len(family.hidden[self.place[int(lessons[k])][1]]) for k in chosen]
            for batch in batches(lengths, GRAPH_TOKENS):
                yield family, [chosen[k] for k in batch]

    @contextmanager
    def _beside(self, leaves: dict[str, list[Tensor]]) -> Iterator[None]:
        """The adapter beside its projections, in the model's own number format."""
        dtype = self.model.dtype
        handles = [
            self.modules[path].register_forward_hook(beside_projection(A.to(dtype), B.to(dtype)))
            for path, (A, B) in leaves.items()
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _step(self, family: _Family, numbers: NDArray[np.int64], weights: Float | None) -> tuple[Float, NDArray[np.bool_]]:
        """Losses and hits of some lessons of a family; what flows back is added to the gradients of the leaves."""
        states, at = self._states(family, [int(number) for number in numbers])
        counts = np.bincount(at.cpu().numpy(), minlength=len(numbers))
        losses = np.zeros(len(numbers))
        wrong = np.zeros(len(numbers))
        back = torch.zeros_like(states)
        own, place = at.cpu().numpy(), np.concatenate([np.arange(count) for count in counts])
        for begin in range(0, len(own), SCORED_AT_ONCE):
            part = slice(begin, begin + SCORED_AT_ONCE)
            aims = [self._aim(int(numbers[k]), int(position)) for k, position in zip(own[part], place[part], strict=True)]
            with torch.no_grad():
                loss, right, grad = self._score(states[part].detach(), aims)
                if weights is not None:
                    share = torch.from_numpy(weights[own[part]] / counts[own[part]]).to(grad)
                    back[part] = (grad * share[:, None]).to(back.dtype)
            np.add.at(losses, own[part], loss.cpu().numpy())
            np.add.at(wrong, own[part], ~right.cpu().numpy())
        if weights is not None:
            torch.autograd.backward([states], [back])
        return (losses / counts).astype(np.float32), wrong == 0

    def _states(self, family: _Family, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """(N, d) last states at the scored positions of some lessons, and (N,) which of them each belongs to."""
        device, shared = self.model.device, family.prefix.shape[1]
        own = [family.hidden[self.place[number][1]] for number in numbers]
        hidden = nn.utils.rnn.pad_sequence(own, batch_first=True)
        rows, width = hidden.shape[:2]
        scored = torch.zeros(rows, width, dtype=torch.bool)
        for row, number in enumerate(numbers):
            scored[row, [position - shared for position in self.lessons[number].predict]] = True
        with from_layer(self.stack, self.layer):
            cache = self._prefixed(family, rows) if shared else None
            states = self.model.base_model(
                inputs_embeds=hidden,
                position_ids=torch.arange(shared, shared + width, device=device)[None].expand(rows, -1),
                **with_cache(cache),
                use_cache=cache is not None,
            ).last_hidden_state
        scored = scored.to(device)
        return states[scored], scored.nonzero()[:, 0]

    def _prefixed(self, family: _Family, rows: int) -> DynamicCache:
        """The cache of what all lessons share, seen by so many rows; layers below the adapted ones hold its length alone."""
        cache = DynamicCache()
        self.model.base_model(inputs_embeds=family.prefix, **with_cache(cache), use_cache=True)
        upper = key_values_of(cache)[self.layer :]
        nothing = torch.zeros_like(upper[0][0])
        return cache_of(expanded([(nothing, nothing)] * self.layer + upper, rows))

    def _aim(self, number: int, position: int) -> tuple[Tensor, Tensor] | int:
        """What is to be said at a lesson's scored position: a token, or the base's chances."""
        lesson = self.lessons[number]
        if not lesson.to_base:
            return lesson.tokens[lesson.predict[position] + 1]
        tokens, log_q = self.targets[number]
        return tokens[position], log_q[position]

    def _score(self, states: Tensor, aims: Sequence[tuple[Tensor, Tensor] | int]) -> tuple[Tensor, Tensor, Tensor]:
        """Losses (N,), whether the likeliest token is right (N,), and the gradient (N, d) of the losses.

        For a token t: `L = −log p_t`. For the base's chances q of the likeliest tokens K and `r` of all others:
        `L = Σ_K q log(q/p) + r log(r/p_r)`, the divergence of the two with all others taken for one.
        """
        head = self.model.get_output_embeddings()
        logits = logits_of(self.model, states).float()
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        slope = None if cap is None else 1 - (logits / cap) ** 2
        log_p = torch.log_softmax(logits, -1)
        likeliest = log_p.argmax(-1)
        loss, right = torch.zeros(len(aims), device=log_p.device), torch.zeros(len(aims), dtype=torch.bool)
        grad = log_p.exp()
        taught = [k for k, aim in enumerate(aims) if isinstance(aim, int)]
        if taught:
            tokens = torch.tensor([aims[k] for k in taught], device=log_p.device)
            loss[taught] = -log_p[taught, tokens]
            right[taught] = (likeliest[taught] == tokens).cpu()
            grad[taught, tokens] -= 1
        held = [(k, *aim) for k, aim in enumerate(aims) if not isinstance(aim, int)]
        if held:
            rows = torch.tensor([k for k, _, _ in held], device=log_p.device)
            tokens, log_q = torch.stack([t for _, t, _ in held]), torch.stack([q for _, _, q in held])
            q, kept = log_q.exp(), log_p[rows].gather(-1, tokens)
            q_rest = (1 - q.sum(-1)).clamp(min=1e-6)
            p_rest = (1 - kept.exp().sum(-1)).clamp(min=1e-6)
            loss[rows] = (q * (log_q - kept)).sum(-1) + q_rest * (q_rest / p_rest).log()
            right[rows.cpu()] = (likeliest[rows] == tokens[:, 0]).cpu()
            change = grad[rows] * (1 - q_rest / p_rest)[:, None]
            grad[rows] = change.scatter(-1, tokens, kept.exp() - q)
        if slope is not None:
            grad *= slope
        return loss, right.to(loss.device), (grad.to(head.weight.dtype) @ head.weight).float()


def _families(lessons: Sequence[Lesson]) -> list[tuple[int, list[int]]]:
    """See `families`: only those that many of the lessons are in."""
    found = families([lesson.tokens for lesson in lessons], [lesson.predict for lesson in lessons])
    large = [(shared, family) for shared, family in found if shared and len(family) * SMALLEST_SHARE >= len(lessons)]
    rest = sorted(set(range(len(lessons))).difference(*(family for _, family in large)))
    return [*large, (0, rest)] if rest else large


def _gradient(leaf: Tensor) -> Float:
    grad = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
    found: Float = grad.float().cpu().numpy()
    return found
