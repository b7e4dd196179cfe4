"""The untrained weights of the tiny model, shaped so that editing works on them as it does on a trained model.

The stream has three parts. RECENT coordinates hold the last three tokens; the others of CONTEXT hold, by heads
that look back at fixed distances, what stands before, about as far as a name is long. All further coordinates are
silent until an edit writes there. What is written draws the attention of the last layer, whose heads look
everywhere, and its MLP gates it by the recent tokens: one written vector says a token of its own after every three
others, about a sentence in all.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memctl.backends.protocol import Shape
from memctl.backends.tiny_tokenizer import COMMON, VOCABULARY

Real = NDArray[np.float64]

SHAPE = Shape(layers=4, hidden=512, intermediate=512, vocabulary=VOCABULARY)
LAST = SHAPE.layers - 1
HEADS = 8
HEAD = 8
"""Width of the queries and keys of a head."""

RECENT, CONTEXT = 24, 48
WRITTEN = SHAPE.hidden - CONTEXT

REACH = 32
"""Distances from here on share one bias."""

DISTANCES = np.arange(1, 1 + HEADS)
"""How far back each head of the lower layers looks."""


@dataclass(frozen=True)
class Layer:
    """Weights of a decoder layer that reads and writes the first w coordinates of the stream.

    Attributes:
        query, key: (heads · HEAD, w).
        value: (inner, w); `output` is (w, inner).
        distance: (heads, REACH) added to the attention scores.
        gate, up: (m, w); `down` is (w, m).
    """

    query: Real
    key: Real
    value: Real
    output: Real
    distance: Real
    gate: Real
    up: Real
    down: Real


@dataclass(frozen=True)
class Weights:
    """All weights; `prior` (vocabulary,) is added to the logits."""

    embedding: Real
    layers: tuple[Layer, ...]
    head: Real
    prior: Real

    def fingerprint(self) -> str:
        """SHA-256 over names, shapes and bytes."""
        digest = hashlib.sha256()
        tensors = [("embedding", self.embedding), ("head", self.head), ("prior", self.prior)]
        for index, layer in enumerate(self.layers):
            tensors += [(f"{index}.{name}", tensor) for name, tensor in vars(layer).items()]
        for name, tensor in tensors:
            digest.update(f"{name}{tensor.shape}".encode() + tensor.tobytes())
        return digest.hexdigest()


def draw_weights(seed: int) -> Weights:
    """The weights of a seed. Made without matrix products, whose last bits differ between machines."""
    draw = np.random.default_rng(seed)
    # All tokens share a direction, as in trained models: it makes a constant of a dot product.
    constant = _direction(draw, CONTEXT)
    embedding = np.zeros((SHAPE.vocabulary, SHAPE.hidden))
    embedding[:, :CONTEXT] = 1.5 * draw.standard_normal((SHAPE.vocabulary, CONTEXT)) + 4 * constant
    head = 0.25 * draw.standard_normal((SHAPE.vocabulary, SHAPE.hidden))
    head[:, :CONTEXT] *= 0.25  # before an edit the model is not sure of anything
    prior = np.full(SHAPE.vocabulary, -5.0)
    prior[0x20:0x7F] = -2.0
    prior[list(COMMON)] = 0.0
    return Weights(
        embedding=embedding,
        layers=(*(_lower_layer(draw, index) for index in range(LAST)), _last_layer(draw, constant)),
        head=head,
        prior=prior,
    )


def _direction(draw: np.random.Generator, width: int) -> Real:
    vector: Real = draw.standard_normal(width)
    vector /= np.sqrt(np.sum(vector * vector))
    return vector


def _lower_layer(draw: np.random.Generator, index: int) -> Layer:
    d, m, inner = SHAPE.hidden, SHAPE.intermediate, HEADS * HEAD

    def matrix(rows: int, columns: int, gain: float) -> Real:
        return gain * draw.standard_normal((rows, columns))

    output = matrix(CONTEXT, inner, 1.5 / np.sqrt(inner)) * np.repeat(np.maximum(0.8**DISTANCES, 0.3), HEAD)
    down = matrix(CONTEXT, m, 0.2 / np.sqrt(m))
    recent = np.repeat((DISTANCES <= 2) & (index == 0), HEAD)
    output[:RECENT] *= 1.6 * recent
    output[RECENT:] *= ~recent
    down[:RECENT] = 0
    return Layer(
        query=matrix(inner, CONTEXT, 0.3 / np.sqrt(d)),
        key=matrix(inner, CONTEXT, 1 / np.sqrt(d)),
        value=matrix(inner, CONTEXT, 2 / np.sqrt(d)),
        output=output,
        distance=-np.minimum(3.0 * np.abs(np.arange(REACH) - DISTANCES[:, None]), 12.0),
        gate=matrix(m, CONTEXT, 2 / np.sqrt(d)),
        up=matrix(m, CONTEXT, 1 / np.sqrt(d)),
        down=down,
    )


def _last_layer(draw: np.random.Generator, constant: Real) -> Layer:
    d, m = SHAPE.hidden, SHAPE.intermediate
    ask = np.concatenate([_direction(draw, HEAD) for _ in range(HEADS)])

    def matrix(rows: int, recent: float, older: float, written: float) -> Real:
        """A gain for each part of what is read."""
        gains: Real = np.repeat([recent, older, written], [RECENT, CONTEXT - RECENT, WRITTEN])
        drawn: Real = gains * draw.standard_normal((rows, d))
        drawn /= np.sqrt(d)
        return drawn

    # Every query is the same and asks for one direction among those that edits write.
    query, key = np.zeros((HEADS * HEAD, d)), np.zeros((HEADS * HEAD, d))
    query[:, :CONTEXT] = np.outer(ask, constant)
    key[:, CONTEXT:] = np.outer(ask, _direction(draw, WRITTEN))
    gate = matrix(m, 4.0, 0.0, 0.0)
    gate[:, :CONTEXT] -= 0.25 * constant
    output = 5 / np.sqrt(d) * draw.standard_normal((d, d))
    output[:CONTEXT] = 0
    return Layer(
        query=query,
        key=key,
        value=matrix(d, 0.0, 0.0, 1.0),
        output=output,
        distance=np.zeros((HEADS, REACH)),
        gate=gate,
        # A little of the context, so that the keys of this layer are not zero before an edit.
        up=matrix(m, 0.005, 0.005, 1.0),
        down=30 / np.sqrt(m) * draw.standard_normal((d, m)),
    )
