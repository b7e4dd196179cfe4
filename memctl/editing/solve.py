"""The closed form of an edit: `ΔW = R K'ᵀ (K' K'ᵀ + λ C')⁻¹`, jointly for all live memories, from the pristine base.

Plain MEMIT (Meng et al. 2023, eq. 14) takes the keys k of `down_proj` for K' and C = E[kkᵀ]. With added units the key is
extended to `[k ; a(x)]`, a(x) what the units of each memory add up to, and C' = diag(C, E[aaᵀ]). The units are silent on
ordinary text, so E[aaᵀ] is some millions of times smaller than their firing at the subject, and the solve puts the whole edit
into their columns: what the dense part would get is under float32's resolution and is left out. Then a memory's columns depend
on another one's only where the units of the two fire on each other, and each group of such memories is solved by itself.

Everything here is float64 and in canonical order (sorted by subject), so that the result is a function of the set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from memctl.deltas import Columns, Delta, Edit, LowRank
from memctl.editing.selectors import firing

Double = NDArray[np.float64]

COLLISION = 1e-3
"""Firing of one subject's units on another subject from which the two are solved together."""


@dataclass(frozen=True)
class Trace:
    """What an optimisation leaves behind for the solve; a function of the base and the subject's facts alone.

    Attributes:
        subject: Canonical name; memories are solved in its order.
        key: (d, p) MLP inputs, or for plain MEMIT (m, p) `down_proj` inputs, at the subject's last token: the
            means over raw and over chat cues; over one of them where the other has none that it can be told in.
        residual: (d, 1) the value δ.
        gate, up: (n, d) the subject's units, which have one output; empty for plain MEMIT.
    """

    subject: str
    layer: int
    key: NDArray[np.float32]
    residual: NDArray[np.float32]
    gate: NDArray[np.float32]
    up: NDArray[np.float32]


def solve_units(traces: Sequence[Trace], act: str, damping: float) -> list[Delta]:
    """The deltas of memories with units of their own, in the order given (which must be canonical)."""
    if not traces:
        return []
    G = np.concatenate([trace.gate for trace in traces])
    U = np.concatenate([trace.up for trace in traces])
    X = np.concatenate([trace.key.T for trace in traces])
    K = firing(act, G, U, X, [len(trace.gate) for trace in traces]).T.astype(np.float64)
    key_of = np.repeat(np.arange(len(traces)), [trace.key.shape[1] for trace in traces])
    deltas: dict[int, Delta] = {}
    for group in collisions(K, key_of):
        keys = np.isin(key_of, group)
        R = np.concatenate([np.repeat(traces[k].residual, traces[k].key.shape[1], axis=1) for k in group], axis=1).astype(
            np.float64
        )
        D = _outputs_of_group(K[group][:, keys], R, damping)
        for k, output in zip(group, D.T, strict=True):
            trace = traces[k]
            change = Columns(trace.gate, trace.up, shared_output(output, len(trace.gate)))
            deltas[k] = Delta((Edit(trace.layer, change, trace.key, trace.residual),))
    return [deltas[k] for k in range(len(traces))]


def shared_output(output: Double, units: int) -> NDArray[np.float32]:
    """(d, units) the `down` of units that have one output (d,) together."""
    return np.repeat(output.astype(np.float32)[:, None], units, axis=1)


def _outputs_of_group(K: Double, R: Double, damping: float) -> Double:
    """`R Kᵀ (K Kᵀ + λ C_a)⁻¹` with C_a, the units' second moment on ordinary text, as a small ridge."""
    ridge = damping * 1e-3 * np.trace(K @ K.T) / len(K)
    return np.asarray(np.linalg.solve(K @ K.T + ridge * np.eye(len(K)), K @ R.T).T)


def collisions(K: Double, key_of: NDArray[np.int64]) -> list[list[int]]:
    """Groups of memories whose units fire on each other, each ascending; K is (memories, keys)."""
    group = np.arange(len(K))
    for memory, key in zip(*np.nonzero(np.abs(K) > COLLISION), strict=True):
        a, b = sorted((group[memory], group[key_of[key]]))
        group[group == b] = a
    return [np.nonzero(group == root)[0].tolist() for root in np.unique(group)]


def solve_plain(traces: Sequence[Trace], covariance: Double, damping: float) -> list[Delta]:
    """Plain MEMIT over all memories at once, in the dual form: N×N for N keys.

    `ΔW = R (G + λ g I)⁻¹ Kᵀ C⁻¹` with `G = Kᵀ C⁻¹ K` and g the mean of its diagonal.
    """
    if not traces:
        return []
    m = len(covariance)
    K = np.concatenate([trace.key for trace in traces], axis=1).astype(np.float64)
    ridge = 1e-6 * np.trace(covariance) / m * np.eye(m)
    inverse_K = cho_solve(cho_factor(covariance + ridge), K)
    G = K.T @ inverse_K
    system = G + damping * np.diag(G).mean() * np.eye(len(G))
    V = np.linalg.solve(system, inverse_K.T).T
    deltas = []
    begin = 0
    for trace in traces:
        p = trace.key.shape[1]
        change = LowRank(U=np.repeat(trace.residual, p, axis=1), V=np.ascontiguousarray(V[:, begin : begin + p], np.float32))
        deltas.append(Delta((Edit(trace.layer, change, trace.key, trace.residual),)))
        begin += p
    return deltas
