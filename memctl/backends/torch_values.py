"""The inner loop of a value optimisation in torch: only tokens from the first site on, only layers from the edit up.

What comes before a row's first site never changes, so its attention keys and values are computed once; the beginning of the
chat template is computed once for all rows. The rows of a step are run as one sequence in which each token attends to its own
row alone: of a batch of rows this short and this unequal, half would be padding.

Trials share a pass, for products of 500 tokens run at twice the speed of those of 50. What a trial comes to must not depend
on that: attention is computed for each trial by itself, in the shapes that it has alone, and see `SharedPasses`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import DynamicCache

from memctl.backends.protocol import Float, Gradient, Row, Tokens, Trial
from memctl.backends.torch_layers import (
    KeyValues,
    from_layer,
    kept_inputs,
    key_values_of,
    logits_of,
    stack_of,
    with_cache,
)
from memctl.backends.torch_shared import SharedPasses
from memctl.backends.torch_spans import IN_A_PASS, LEAST, ROWS_AT_ONCE, Span, Spans, cut, lists_of, numbers
from memctl.models.structure import MlpLayout


@dataclass(frozen=True)
class _Part:
    """A row's part that changes, ready to be run from the edited layer on: S tokens from the first site to the last one scored.

    Attributes:
        span: These tokens; what is before them, from the edited layer up.
        hidden: (S, d) input of the edited layer.
        sites: (S,) in {0, 1}.
        predict: (n,) which of them are scored.
        targets: (n,) the tokens that are to follow these; 0 where the row is held to the base.
        base: (n, d) last hidden states of the base at the scored ones, where the row is held to it.
    """

    span: Span
    hidden: Tensor
    sites: Tensor
    predict: Tensor
    targets: Tensor
    base: Tensor | None


@dataclass(frozen=True)
class _Piece:
    """Some of a trial's rows, which are run as one sequence.

    Attributes:
        parts: Theirs.
        added: (rows, d) what is added at each row's sites.
        weights: (rows,) factors of their losses.
    """

    parts: list[_Part]
    added: Float
    weights: Float

    @property
    def size(self) -> int:
        """In tokens; a scored one, whose distribution takes a megabyte or two, counts as two."""
        return max(sum(part.span.length for part in self.parts), 2 * sum(len(part.predict) for part in self.parts))


_Outcome = tuple[Float, NDArray[np.bool_], Float]
"""Losses and hits of some rows, and the slopes (rows, d) of their weighted losses along what is added to each."""


class TorchValueProblem:
    """See `ValueProblem` in the protocol.

    Args:
        template: What every chat row begins with.
    """

    def __init__(
        self,
        model: Any,
        layout: MlpLayout,
        subjects: Sequence[Sequence[Row]],
        layer: int,
        template: Tokens,
        attached: Callable[[], AbstractContextManager[None]],
    ) -> None:
        self.model = model
        self.attached = attached
        self.layout = layout
        self.layer = layer
        self.stack = stack_of(model, layout.layers[layer].block)
        on_cpu = model.device.type == "cpu"  # elsewhere kernels are chosen by the size of a batch
        self.passes = SharedPasses[Trial, Gradient](_equal, trusted=on_cpu)
        with torch.no_grad(), attached():
            self.spans = Spans(model, template)
            self.subjects = [self._prepared(rows) for rows in subjects]

    def evaluate(self, trials: Sequence[Trial]) -> list[Gradient]:
        with self.attached():
            return self.passes.run(trials, sum(map(self._size, trials)), self._gradients)

    def _size(self, trial: Trial) -> int:
        return sum(self.subjects[trial.subject][row].span.length for row in trial.rows)

    def _gradients(self, trials: Sequence[Trial]) -> list[Gradient]:
        pieces = [list(self._pieces(trial)) for trial in trials]
        flat = [piece for own in pieces for piece in own]
        outcomes: list[_Outcome] = []
        for places in cut([piece.size for piece in flat], IN_A_PASS):
            outcomes += self._outcomes([flat[k] for k in places])
        gradients, done = [], 0
        for trial, own in zip(trials, pieces, strict=True):
            losses, hits, slopes = (np.concatenate(of) for of in zip(*outcomes[done : done + len(own)], strict=True))
            gradients.append(Gradient(losses, hits, trial.scales @ slopes))
            done += len(own)
        return gradients

    def _pieces(self, trial: Trial) -> Iterator[_Piece]:
        for some in lists_of(range(len(trial.rows)), ROWS_AT_ONCE):
            parts = [self.subjects[trial.subject][row] for row in trial.rows[some]]
            yield _Piece(parts, trial.scales[some, None] * trial.residual, trial.weights[some])

    def _outcomes(self, pieces: Sequence[_Piece]) -> list[_Outcome]:
        device = self.model.device
        addend = torch.tensor(np.concatenate([piece.added for piece in pieces]), device=device, requires_grad=True)
        logits = self._run(pieces, addend)
        with torch.no_grad():
            counts = [sum(len(part.predict) for part in piece.parts) for piece in pieces]
            scored = [self._scored(piece, own) for piece, own in zip(pieces, torch.split(logits.float(), counts), strict=True)]
        torch.autograd.backward(logits, torch.cat([slopes for _, _, slopes in scored]).to(logits.dtype))
        assert addend.grad is not None
        slopes = addend.grad.float().cpu().numpy()
        ends = np.cumsum([len(piece.parts) for piece in pieces])[:-1]
        return [
            (losses.cpu().numpy(), hits.cpu().numpy(), own)
            for (losses, hits, _), own in zip(scored, np.split(slopes, ends), strict=True)
        ]

    # Preparation

    def _prepared(self, rows: Sequence[Row]) -> list[_Part]:
        """What changes of a subject's rows, from one pass of the base over all of them."""
        spans = [self.spans.of(row.tokens[: max(row.predict) + 1], before=row.sites[0]) for row in rows]
        ids = [token for row, span in zip(rows, spans, strict=True) for token in row.tokens[span.first : span.end]]
        cache = DynamicCache()
        with kept_inputs((self.layout.layers[self.layer].block,)) as entering:
            states = self.spans.run(
                list(lists_of(spans, ROWS_AT_ONCE)),
                input_ids=torch.tensor([ids], device=self.model.device),
                **with_cache(cache),
                use_cache=True,
            )
        key_values = key_values_of(cache)[self.layer :]
        lengths = [span.length for span in spans]
        ends = np.cumsum(lengths).tolist()
        return [
            self._part(row, span, [(keys[:, :, at:to], values[:, :, at:to]) for keys, values in key_values], *own)
            for row, span, (at, to), *own in zip(
                rows,
                spans,
                pairwise([0, *ends]),
                torch.split(entering[0][0], lengths),
                torch.split(states, lengths),
                strict=True,
            )
        ]

    def _part(self, row: Row, span: Span, key_values: KeyValues, hidden: Tensor, last: Tensor) -> _Part:
        """The part of a row from what its tokens from the span's first on have been found to be."""
        device = self.model.device
        start, end = row.sites[0], span.end
        fixed = start - span.first
        before = [(keys[:, :, :fixed].clone(), values[:, :, :fixed].clone()) for keys, values in key_values] if fixed else []
        predict = torch.tensor([at - start for at in row.predict], device=device)
        return _Part(
            span=Span(span.templated, before, start, end - start),
            hidden=hidden[fixed:].clone(),
            sites=torch.tensor([float(at in row.sites) for at in range(start, end)], device=device),
            predict=predict,
            targets=torch.tensor([0 if row.to_base else row.tokens[at + 1] for at in row.predict], device=device),
            base=last[fixed + predict].clone() if row.to_base else None,
        )

    # The loop

    def _run(self, pieces: Sequence[_Piece], addend: Tensor) -> Tensor:
        """Logits (N, vocabulary) at all predicted positions of some rows."""
        parts = [part for piece in pieces for part in piece.parts]
        row = numbers([part.span.length for part in parts], self.model.device)
        added = torch.cat([part.sites for part in parts])[:, None] * addend[row]

        def add(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return output + added.to(output.dtype)

        hook = self.layout.layers[self.layer].mlp.register_forward_hook(add)
        try:
            with from_layer(self.stack, self.layer):
                states = self.spans.run(
                    [[part.span for part in piece.parts] for piece in pieces],
                    self.layer,
                    inputs_embeds=torch.cat([part.hidden for part in parts])[None],
                    use_cache=False,
                )
        finally:
            hook.remove()
        begins = np.cumsum([0, *(part.span.length for part in parts[:-1])]).tolist()
        predict = torch.cat([begin + part.predict for begin, part in zip(begins, parts, strict=True)])
        filled = torch.cat([predict, predict.new_zeros(max(0, LEAST - len(predict)))])
        return logits_of(self.model, states[filled])[: len(predict)]

    def _scored(self, piece: _Piece, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean loss of each row (nats), whether all its greedy predictions are right, and the weighted sum's slope (as logits).

        The slope of − log p(target) is p less one at the target; that of KL(q ‖ p) is p − q.
        """
        log_p = torch.log_softmax(logits, -1)
        slopes, best = log_p.exp(), log_p.argmax(-1)
        counts = [len(part.predict) for part in piece.parts]
        losses, hits = [], []
        for part, weight, own, slope, said in zip(
            piece.parts, piece.weights, *(torch.split(x, counts) for x in (log_p, slopes, best)), strict=True
        ):
            if part.base is None:
                losses.append(-own.gather(-1, part.targets[:, None]).mean())
                hits.append((said == part.targets).all())
                slope.scatter_add_(-1, part.targets[:, None], slope.new_full((len(slope), 1), -1.0))
            else:
                log_q = torch.log_softmax(logits_of(self.model, part.base).float(), -1)
                q = log_q.exp()
                losses.append((q * (log_q - own)).sum(-1).mean())
                hits.append((said == q.argmax(-1)).all())
                slope.sub_(q)
            slope.mul_(float(weight) / len(slope))
        return torch.stack(losses), torch.stack(hits), slopes


def _equal(one: Gradient, other: Gradient) -> bool:
    """Whether two gradients are the same to the bit."""
    return all(np.array_equal(getattr(one, of), getattr(other, of), equal_nan=True) for of in ("losses", "hits", "gradient"))
