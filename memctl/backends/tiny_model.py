"""A small decoder in pure numpy, with a backward pass with respect to the residual stream only.

A layer is RMSNorm, attention with a bias for each distance, RMSNorm, and a SwiGLU MLP. Computed in float64:
results then depend on the shape of a batch only far below what anyone looks at.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from memctl.adapters import Factors
from memctl.backends.tiny_weights import HEADS, REACH, draw_weights
from memctl.deltas import Columns, LowRank

Real = NDArray[np.float64]
Index = NDArray[np.int64]

FAR = 1 << 20
"""Position of padding: after every query, so no query sees it."""

EPSILON = 1e-6


@dataclass(frozen=True)
class Added:
    """What is attached to one layer's MLP; an adapter's factors by `gate`, `up` and `down`, the scale in B.

    Attributes:
        acting: Factor (…, 1) on what the adapter adds at each position.
    """

    low_rank: LowRank | None = None
    columns: Columns | None = None
    adapter: Mapping[str, Factors] = field(default_factory=dict)
    acting: Real = field(default_factory=lambda: np.ones((1, 1)))

    def beside(self, part: str, inputs: Real, output: Real) -> Real:
        """A projection's output with what the adapter adds to it."""
        factors = self.adapter.get(part)
        return output if factors is None else output + self.acting * ((inputs @ factors.A.T) @ factors.B.T)

    def backward(self, part: str, grad: Real, inward: Real, inputs: Real, into: dict[str, Factors] | None) -> Real:
        """The gradient with respect to a projection's input with what comes back through the adapter.

        Args:
            into: Takes the gradient with respect to the factors of each part.
        """
        factors = self.adapter.get(part)
        if factors is None:
            return inward
        grad = self.acting * grad
        low = grad @ factors.B
        if into is not None:
            x, g = inputs.reshape(-1, inputs.shape[-1]), grad.reshape(-1, grad.shape[-1])
            A, B = low.reshape(len(x), -1).T @ x, g.T @ (x @ factors.A.T)
            into[part] = Factors(A.astype(np.float32), B.astype(np.float32))
        return _plus(low @ factors.A, inward)


@dataclass(frozen=True)
class Past:
    """Attention keys and values (batch, heads, slots, head width) of a layer, and positions (batch, slots)."""

    keys: Real
    values: Real
    positions: Index


@dataclass(frozen=True)
class Attended:
    """What the attention of a layer computed: the stream before and after, and what the way back needs."""

    start: Real
    normed: Real
    query: Real
    past: Past
    weights: Real
    stream: Real


@dataclass(frozen=True)
class Thought:
    """What the MLP of a layer computed; `inputs` (…, d) and `keys` (…, m) are those of `Activations`."""

    start: Real
    inputs: Real
    gate: Real
    up: Real
    keys: Real
    stream: Real


class TinyModel:
    """What can be computed with the weights of a seed."""

    def __init__(self, seed: int) -> None:
        self.weights = draw_weights(seed)

    def embed(self, tokens: Index) -> Real:
        """(…, d) stream that enters the first layer."""
        return self.weights.embedding[tokens]

    def attend(self, index: int, stream: Real, positions: Index, past: Past | None = None) -> Attended:
        """The attention of a layer on a stream (batch, tokens, d); `past` stands before these tokens."""
        layer = self.weights.layers[index]
        normed = normalize(stream)
        seen = normed[..., : len(layer.output)]
        query, keys, values = (_split(seen @ weight.T) for weight in (layer.query, layer.key, layer.value))
        past = Past(keys, values, positions) if past is None else _append(past, keys, values, positions)
        distance = positions[:, :, None] - past.positions[:, None, :]
        scores = query @ past.keys.transpose(0, 1, 3, 2)
        scores += layer.distance[:, np.clip(distance, 0, REACH - 1)].transpose(1, 0, 2, 3)
        np.copyto(scores, -np.inf, where=(distance < 0)[:, None])
        weights = softmax(scores)
        out = _plus(stream, _merge(weights @ past.values) @ layer.output.T)
        return Attended(stream, normed, query, past, weights, out)

    def think(self, index: int, stream: Real, added: Added) -> Thought:
        """The MLP of a layer on a stream (…, d), with what is added to it."""
        layer = self.weights.layers[index]
        inputs = normalize(stream)
        seen = inputs[..., : len(layer.down)]
        gate = added.beside("gate", inputs, seen @ layer.gate.T)
        up = added.beside("up", inputs, seen @ layer.up.T)
        keys = silu(gate) * up
        out = added.beside("down", keys, _plus(stream, keys @ layer.down.T))
        if (low_rank := added.low_rank) is not None:
            out += (keys @ low_rank.V) @ low_rank.U.T
        if (columns := added.columns) is not None:
            out += (silu(inputs @ columns.gate.T) * (inputs @ columns.up.T)) @ columns.down.T
        return Thought(stream, inputs, gate, up, keys, out)

    def think_backward(
        self, index: int, thought: Thought, grad: Real, added: Added, into: dict[str, Factors] | None = None
    ) -> Real:
        """Gradient with respect to the stream that entered the MLP; that of the adapter's factors goes `into` a dict."""
        layer = self.weights.layers[index]
        keys = added.backward("down", grad, grad[..., : len(layer.down)] @ layer.down, thought.keys, into)
        if (low_rank := added.low_rank) is not None:
            keys = keys + (grad @ low_rank.U) @ low_rank.V.T
        sigmoid = _sigmoid(thought.gate)
        gate = keys * thought.up * sigmoid * (1 + thought.gate * (1 - sigmoid))
        up = keys * sigmoid * thought.gate
        seen = added.backward("gate", gate, gate @ layer.gate + up @ layer.up, thought.inputs, into)
        seen = added.backward("up", up, seen, thought.inputs, into)
        if (columns := added.columns) is not None:
            z, factor, active = thought.inputs @ columns.gate.T, thought.inputs @ columns.up.T, grad @ columns.down
            sigmoid = _sigmoid(z)
            beside = (active * factor * sigmoid * (1 + z * (1 - sigmoid))) @ columns.gate + (active * z * sigmoid) @ columns.up
            seen = _plus(beside, seen)
        return grad + normalize_backward(thought.start, thought.inputs, seen)

    def attend_backward(self, index: int, attended: Attended, grad: Real) -> Real:
        """Gradient with respect to the stream that entered the attention, `past` being constant."""
        layer, past = self.weights.layers[index], attended.past
        mixed = _split(grad[..., : len(layer.output)] @ layer.output)
        weights = mixed @ past.values.transpose(0, 1, 3, 2)
        scores = attended.weights * (weights - (weights * attended.weights).sum(-1, keepdims=True))
        new = slice(past.keys.shape[2] - grad.shape[1], None)
        query = scores @ past.keys
        keys = scores[..., new].transpose(0, 1, 3, 2) @ attended.query
        values = attended.weights[..., new].transpose(0, 1, 3, 2) @ mixed
        seen = _merge(query) @ layer.query + _merge(keys) @ layer.key + _merge(values) @ layer.value
        return grad + normalize_backward(attended.start, attended.normed, seen)

    def log_probabilities(self, stream: Real) -> Real:
        """(…, vocabulary) next-token log-probabilities from the last layer's stream (…, d)."""
        logits = normalize(stream) @ self.weights.head.T + self.weights.prior
        logits -= logits.max(-1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        return logits


def pad(sequences: Sequence[Sequence[int]]) -> tuple[Index, Index]:
    """Tokens and positions (batch, longest) of sequences that begin together; padding stands at FAR."""
    longest = max(len(sequence) for sequence in sequences)
    tokens = np.zeros((len(sequences), longest), dtype=np.int64)
    positions = np.full((len(sequences), longest), FAR, dtype=np.int64)
    for row, sequence in enumerate(sequences):
        tokens[row, : len(sequence)] = sequence
        positions[row, : len(sequence)] = np.arange(len(sequence))
    return tokens, positions


def normalize(x: Real) -> Real:
    """`x / rms(x)` over the last axis."""
    return x / _rms(x)


def normalize_backward(x: Real, y: Real, grad: Real) -> Real:
    """`(g − y mean(g y)) / rms(x)` for `y = normalize(x)`; coordinates that `grad` lacks are zero."""
    width = grad.shape[-1]
    mean = np.sum(grad * y[..., :width], axis=-1, keepdims=True) / x.shape[-1]
    return _plus(-y * mean, grad) / _rms(x)


def softmax(scores: Real) -> Real:
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    return scores


def silu(x: Real) -> Real:
    return x * _sigmoid(x)


def _sigmoid(x: Real) -> Real:
    # By tanh, which does not overflow: the gates of added units reach into the hundreds.
    return 0.5 * (1 + np.tanh(0.5 * x))


def _rms(x: Real) -> Real:
    square: Real = np.mean(x * x, axis=-1, keepdims=True)
    return np.sqrt(square + EPSILON)


def _plus(x: Real, change: Real) -> Real:
    """The sum, where `change` may have the first coordinates only."""
    out = x.copy()
    out[..., : change.shape[-1]] += change
    return out


def _split(x: Real) -> Real:
    return x.reshape(*x.shape[:2], HEADS, -1).transpose(0, 2, 1, 3)


def _merge(x: Real) -> Real:
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def _append(past: Past, keys: Real, values: Real, positions: Index) -> Past:
    rows = len(keys)
    before = (
        np.broadcast_to(past.keys, (rows, *past.keys.shape[1:])),
        np.broadcast_to(past.values, (rows, *past.values.shape[1:])),
        np.broadcast_to(past.positions, (rows, *past.positions.shape[1:])),
    )
    return Past(
        np.concatenate([before[0], keys], axis=2),
        np.concatenate([before[1], values], axis=2),
        np.concatenate([before[2], positions], axis=1),
    )
