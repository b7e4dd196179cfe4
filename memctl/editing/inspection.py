"""What a stored memory says of itself, without a model: how large it is, which others are near, how much text it acts on.

Where the base's statistics are in the cache, likeness is measured in whitened coordinates, where ordinary text is alike in no
direction; else it is the plain cosine, which is high for any two names.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memctl.backends.protocol import Activations, Float
from memctl.deltas import Delta, Edit
from memctl.editing.attribution import strengths
from memctl.editing.selectors import TOUCHED
from memctl.editing.statistics import cached_moment, cached_reference

ACTIVATION = "silu"
"""Stands for the base's own activation function, which a store does not know: a gate is so sharp that all are the same step."""

NEAREST = 5
CHUNK = 8192


@dataclass(frozen=True)
class Rival:
    """Another memory and how close it is.

    Attributes:
        cosine: Of the two memories' mean keys.
        here: Highest strength of the other memory at this one's keys (see `attribution`).
        there: Highest strength of this memory at the other one's keys.
    """

    subject: str
    cosine: float
    here: float
    there: float


@dataclass(frozen=True)
class Inspection:
    """A memory seen from outside.

    Attributes:
        units: Added MLP units; 0 for a plain edit.
        norm: Length of the value δ.
        whitened: Whether the cosines are whitened.
        rivals: The nearest other memories, nearest first.
        highest: Highest strength on reference text, by amount; None where it is not cached, and for plain edits.
        touched: Share of the reference tokens with a strength of at least TOUCHED; None likewise.
    """

    layer: int
    units: int
    norm: float
    whitened: bool
    rivals: tuple[Rival, ...]
    highest: float | None
    touched: float | None


def inspect(subject: str, memories: Mapping[str, Delta], fingerprint: str) -> Inspection:
    """Inspects one memory among all of its composition.

    Args:
        fingerprint: Of the base model, by which its statistics are cached.
    """
    edit = memories[subject].edits[0]
    others = {name: delta.edits[0] for name, delta in memories.items() if name != subject}
    units = edit.units
    moment = cached_moment(fingerprint, edit.layer, "inputs" if units else "keys")
    reference = cached_reference(fingerprint, edit.layer) if units else None
    acting = None if reference is None else _acting(edit, reference)
    return Inspection(
        layer=edit.layer,
        units=units,
        norm=float(np.linalg.norm(edit.residual.mean(axis=1))),
        whitened=moment is not None,
        rivals=_rivals(edit, others, moment)[:NEAREST],
        highest=None if acting is None else float(np.abs(acting).max()),
        touched=None if acting is None else float((np.abs(acting) >= TOUCHED).mean()),
    )


def _rivals(edit: Edit, others: Mapping[str, Edit], moment: NDArray[np.float64] | None) -> tuple[Rival, ...]:
    if not others:
        return ()
    edits = list(others.values())
    keys = np.stack([other.key.mean(axis=1) for other in edits], axis=1)
    cosines = cosine(edit.key.mean(axis=1, keepdims=True), keys, moment)[0]
    here = strengths(edits, _at(edit.key), ACTIVATION).max(axis=0)
    there = strengths([edit], _at(np.concatenate([other.key for other in edits], axis=1)), ACTIVATION)[:, 0]
    begins = np.cumsum([0, *(other.key.shape[1] for other in edits)])[:-1]
    found = [
        Rival(name, float(a), float(b), float(c))
        for name, a, b, c in zip(others, cosines, here, np.maximum.reduceat(there, begins), strict=True)
    ]
    return tuple(sorted(found, key=lambda rival: (-rival.cosine, rival.subject)))


def cosine(a: Float, b: Float, moment: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """(p, q) cosines of the columns of a (w, p) and b (w, q), by the metric C⁻¹ where a second moment C (w, w) is given."""
    a64, b64 = a.astype(np.float64), b.astype(np.float64)
    if moment is None:
        a_metric, b_metric = a64, b64
    else:
        ridge = 1e-6 * np.trace(moment) / len(moment) * np.eye(len(moment))
        both = np.linalg.solve(moment + ridge, np.concatenate([a64, b64], axis=1))
        a_metric, b_metric = both[:, : a.shape[1]], both[:, a.shape[1] :]
    lengths = np.sqrt(np.outer((a64 * a_metric).sum(0), (b64 * b_metric).sum(0)))
    cosines: NDArray[np.float64] = a64.T @ b_metric / np.maximum(lengths, np.finfo(np.float32).tiny)
    return cosines


def _acting(edit: Edit, reference: NDArray[np.float16]) -> Float:
    """(T,) strength of an edit with units on reference tokens."""
    parts = [reference[begin : begin + CHUNK].astype(np.float32) for begin in range(0, len(reference), CHUNK)]
    return np.concatenate([strengths([edit], _at(part.T), ACTIVATION)[:, 0] for part in parts])


def _at(keys: Float) -> Activations:
    """Keys (w, n) as what a layer sees: the MLP's inputs for units, those of `down_proj` for plain edits."""
    return Activations(keys.T, keys.T)
