"""The value optimisation on the tiny model: rows run once, then only from the edited layer upwards."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memctl.backends.protocol import Float, Gradient, Row, Trial
from memctl.backends.tiny_model import (
    FAR,
    Added,
    Attended,
    Index,
    Past,
    Real,
    Thought,
    TinyModel,
    normalize,
    normalize_backward,
    pad,
)
from memctl.backends.tiny_weights import LAST, SHAPE

ROWS_AT_ONCE = 64
"""Rows that are run on the base together; bounds the memory of the attention scores."""


class NumpyValueProblem:
    """See `ValueProblem` in the protocol."""

    def __init__(self, model: TinyModel, subjects: Sequence[Sequence[Row]], layer: int, added: Sequence[Added]) -> None:
        self._subjects = [_Subject(model, rows, layer, added) for rows in subjects]

    def evaluate(self, trials: Sequence[Trial]) -> list[Gradient]:
        return [self._subjects[trial.subject].evaluate(trial) for trial in trials]


class _Subject:
    """The rows of one subject.

    Kept of each row: the stream that leaves the edited layer, from the first site to the last scored position;
    and for the layers above, the attention keys and values of what stands before the first site.
    """

    def __init__(self, model: TinyModel, rows: Sequence[Row], layer: int, added: Sequence[Added]) -> None:
        self._model = model
        self._added = added
        self._rows = tuple(rows)
        self._layer = layer
        self._first: Index = np.array([row.sites[0] for row in rows])
        self._length: Index = np.array([max(row.predict) + 1 for row in rows]) - self._first
        self._stream: Real = np.zeros((len(rows), int(self._length.max()), SHAPE.hidden))
        self._past: list[list[tuple[Real, Real]]] = []
        self._base: list[Real] = []
        for start in range(0, len(rows), ROWS_AT_ONCE):
            self._run_base(range(start, min(start + ROWS_AT_ONCE, len(rows))))

    def _run_base(self, chosen: range) -> None:
        tokens, positions = pad([self._rows[row].tokens[: max(self._rows[row].predict) + 1] for row in chosen])
        stream = self._model.embed(tokens)
        past: list[list[tuple[Real, Real]]] = [[] for _ in chosen]
        for index in range(SHAPE.layers):
            attended = self._model.attend(index, stream, positions)
            stream = self._model.think(index, attended.stream, self._added[index]).stream
            for place, row in enumerate(chosen):
                first, length = self._first[row], self._length[row]
                if index == self._layer:
                    self._stream[row, :length] = stream[place, first : first + length]
                elif index > self._layer:
                    seen = attended.past
                    past[place].append((seen.keys[place, :, :first].copy(), seen.values[place, :, :first].copy()))
        self._past += past
        self._base += [
            self._model.log_probabilities(stream[place, list(self._rows[row].predict)])
            if self._rows[row].to_base
            else np.empty(0)
            for place, row in enumerate(chosen)
        ]

    def evaluate(self, trial: Trial) -> Gradient:
        rows, scales = trial.rows, trial.scales
        chosen = [self._rows[row] for row in rows]
        stream = self._stream[rows, : int(self._length[rows].max())]
        sites = _places([[site - row.sites[0] for site in row.sites if site <= max(row.predict)] for row in chosen])
        predict = _places([[position - row.sites[0] for position in row.predict] for row in chosen])
        stream[sites] += (scales[:, None] * trial.residual)[sites[0]]
        scored, steps = self._upwards(rows, stream, predict)
        losses, hits, grad_scored = self._loss(rows, scored, predict[0], trial.weights)
        grad = self._downwards(stream.shape, predict, steps, grad_scored)
        gradient = (grad[sites] * scales[sites[0], None]).sum(0)
        return Gradient(losses, hits, gradient.astype(np.float32))

    def _upwards(
        self, rows: NDArray[np.int64], stream: Real, predict: tuple[Index, Index]
    ) -> tuple[Real, list[tuple[int, Attended, Thought]]]:
        """The last layer's stream at the scored positions, and what the layers computed, lowest first.

        The MLP of the last layer runs at the scored positions only.
        """
        first = self._first[rows]
        slots = np.arange(first.max())
        before: Index = np.where(slots < first[:, None], slots, FAR)
        ahead = np.arange(stream.shape[1])
        positions: Index = np.where(ahead < self._length[rows, None], first[:, None] + ahead, FAR)
        steps = []
        for place, index in enumerate(range(self._layer + 1, SHAPE.layers)):
            kept = [self._past[row][place] for row in rows]
            past = Past(_stacked([keys for keys, _ in kept]), _stacked([values for _, values in kept]), before)
            attended = self._model.attend(index, stream, positions, past)
            entering = attended.stream[predict] if index == LAST else attended.stream
            thought = self._model.think(index, entering, self._added[index])
            stream = thought.stream
            steps.append((index, attended, thought))
        return (stream if steps else stream[predict]), steps

    def _downwards(
        self,
        shape: tuple[int, ...],
        predict: tuple[Index, Index],
        steps: list[tuple[int, Attended, Thought]],
        grad_scored: Real,
    ) -> Real:
        """Gradient with respect to the stream that left the edited layer, from that at the scored positions."""
        if steps:
            grad_scored = self._model.think_backward(LAST, steps[-1][2], grad_scored, self._added[LAST])
        grad = np.zeros(shape)
        grad[predict] = grad_scored
        for index, attended, thought in reversed(steps):
            if index != LAST:
                grad = self._model.think_backward(index, thought, grad, self._added[index])
            grad = self._model.attend_backward(index, attended, grad)
        return grad

    def _loss(
        self, rows: NDArray[np.int64], scored: Real, owner: Index, weights: Float
    ) -> tuple[Float, NDArray[np.bool_], Real]:
        """Losses and hits of the rows, and the gradient with respect to the stream at the scored positions."""
        log_p = self._model.log_probabilities(scored)
        grad = np.exp(log_p)
        losses, hits = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.bool_)
        for place, row in enumerate(rows):
            mine = np.flatnonzero(owner == place)
            if self._rows[row].to_base:
                log_q = self._base[row]
                q = np.exp(log_q)
                losses[place] = np.mean(np.sum(q * (log_q - log_p[mine]), axis=-1))
                hits[place] = np.array_equal(log_p[mine].argmax(-1), log_q.argmax(-1))
                grad[mine] -= q
            else:
                targets = [self._rows[row].tokens[position + 1] for position in self._rows[row].predict]
                losses[place] = -np.mean(log_p[mine, targets])
                hits[place] = np.array_equal(log_p[mine].argmax(-1), targets)
                grad[mine, targets] -= 1
            grad[mine] *= weights[place] / len(mine)
        grad_scored = normalize_backward(scored, normalize(scored), grad @ self._model.weights.head)
        return losses.astype(np.float32), hits, grad_scored


def _places(ragged: Sequence[Sequence[int]]) -> tuple[Index, Index]:
    """Row and column of every entry."""
    rows = np.repeat(np.arange(len(ragged)), [len(entries) for entries in ragged])
    return rows, np.array([entry for entries in ragged for entry in entries])


def _stacked(parts: Sequence[Real]) -> Real:
    """(rows, heads, longest, head width), filled up with zeros."""
    longest = max(part.shape[1] for part in parts)
    whole = np.zeros((len(parts), parts[0].shape[0], longest, parts[0].shape[2]))
    for row, part in enumerate(parts):
        whole[row, :, : part.shape[1]] = part
    return whole
