"""A refresh in the null space of what is healthy: some memories get other values, and all others say what they said.

The change is projected off the span of the held keys K_H, hard, in the metric C in which the solve minimises:

    ΔW = argmin tr(ΔW C ΔWᵀ)   with   ΔW K_H = 0,   ΔW K_S = T        T: what the outputs at the refreshed keys K_S lack

In whitened coordinates k̃ = L⁻¹k, C = L Lᵀ, with P the projection off span(K̃_H), that is `ΔW = T Zᵀ`, `Zᵀ = (P K̃_S)⁺ L⁻¹`.
What counts as a direction of the healthy keys is relative to their own energy: an absolute threshold calls most directions of a
small model free. The promise is measured, memory by memory, on the deltas as they will be stored.

Everything is float64 and in canonical order, as in `solve`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from memctl.deltas import Columns, Delta, LowRank
from memctl.editing.selectors import activation, firing
from memctl.editing.solve import Double, Trace, collisions, shared_output

HELD = 1e-16
"""Share of the held keys' energy, each key of length 1, under which a direction of theirs is noise and left free. A held key
then changes by some 1e-8 of what the refreshed ones do."""

REACHABLE = 1e-2
"""Share of a key's energy that must lie outside the held span for a direction to be used. The change has to be 1 / √share times
as large as that of a key of its own, and everything that nobody holds feels it."""


@dataclass(frozen=True)
class Refresh:
    """What a refresh came to.

    Attributes:
        deltas: All deltas, in the order given; those that need no change are the very ones given.
        changed: By held subject, the largest change of what all edits add at one of its keys, relative to what they add.
        missed: By refreshed subject, the largest distance of what all edits add at one of its keys from its value, relative
            to the value. Keys in the span of the held ones cannot be reached: there the memory stays what it was.
    """

    deltas: list[Delta]
    changed: dict[str, float]
    missed: dict[str, float]


def refresh_units(traces: Sequence[Trace], deltas: Sequence[Delta], refreshed: Collection[str], act: str) -> Refresh:
    """Gives memories with units of their own new values, by changing the units' outputs.

    Memories whose units do not fire on those of the refreshed ones keep their bytes.

    Args:
        traces: All live memories in canonical order, the refreshed ones with their new values.
        deltas: What they are now; scales are left out of account.
        refreshed: Subjects with new values. All others are held.
    """
    changes = [_columns(delta) for delta in deltas]
    gate, up = (np.concatenate([getattr(change, part) for change in changes]) for part in ("gate", "up"))
    K = firing(act, gate, up, _keys(traces).T, [len(change.gate) for change in changes]).T.astype(np.float64)
    key_of, values = _values(traces)
    down = np.stack([change.down[:, 0] for change in changes], axis=1).astype(np.float64)
    after = list(deltas)
    for group in collisions(K, key_of):
        wanted = np.isin(key_of, [k for k in group if traces[k].subject in refreshed])
        if not wanted.any():
            continue
        held = np.isin(key_of, group) & ~wanted
        Z = free_directions(K[group][:, held], K[group][:, wanted])
        new = down[:, group] + (values[:, wanted] - down @ K[:, wanted]) @ Z.T
        for k, output in zip(group, new.T, strict=True):
            change = replace(changes[k], down=shared_output(output, len(changes[k].gate)))
            after[k] = _with(deltas[k], traces[k], change)
    stored = np.stack([_columns(delta).down[:, 0] for delta in after], axis=1).astype(np.float64)
    return _measured(traces, after, refreshed, down @ K, stored @ K)


def refresh_plain(traces: Sequence[Trace], deltas: Sequence[Delta], refreshed: Collection[str], covariance: Double) -> Refresh:
    """The same for plain edits: refreshed memories get further columns in U and V, and all others keep their bytes.

    Args:
        covariance: (m, m) C = E[kkᵀ] over reference text.
    """
    K = _keys(traces).astype(np.float64)
    key_of, values = _values(traces)
    wanted = np.isin(key_of, [k for k, trace in enumerate(traces) if trace.subject in refreshed])
    before = _outputs(deltas, K)
    Z = free_directions(K[:, ~wanted], K[:, wanted], covariance)
    T = (values - before)[:, wanted]
    after = list(deltas)
    for k, trace in enumerate(traces):
        if trace.subject in refreshed:
            change, own = _low_rank(deltas[k]), key_of[wanted] == k
            U = np.concatenate([change.U, T[:, own].astype(np.float32)], axis=1)
            V = np.concatenate([change.V, Z[:, own].astype(np.float32)], axis=1)
            after[k] = _with(deltas[k], trace, LowRank(U, V))
    return _measured(traces, after, refreshed, before, _outputs(after, K))


def changed_outputs(traces: Sequence[Trace], before: Sequence[Delta], after: Sequence[Delta], act: str) -> dict[str, float]:
    """By subject, the largest change of what all edits add at one of its keys, relative to what they added.

    Args:
        traces: The memories whose keys are looked at; `before` and `after` are all deltas, of the same or of other memories.
    """
    K = _keys(traces)
    old, new = _added(before, K, act), _added(after, K, act)
    key_of, _ = _values(traces)
    change = _lengths(new - old) / _lengths(old)
    return {trace.subject: float(change[key_of == k].max()) for k, trace in enumerate(traces)}


def _added(deltas: Sequence[Delta], K: NDArray[np.float32], act: str) -> Double:
    """(d, keys) what all edits add at keys; edits of one kind."""
    if not isinstance(deltas[0].edits[0].change, Columns):
        return _outputs(deltas, K.astype(np.float64))
    parts = [_columns(delta) for delta in deltas]
    gate, up = (np.concatenate([getattr(part, name) for part in parts]) for name in ("gate", "up"))
    down = np.concatenate([part.down for part in parts], axis=1).astype(np.float64)
    return np.asarray(down @ activation(act, gate, up, K.T).T.astype(np.float64))


def free_directions(held: Double, keys: Double, metric: Double | None = None) -> Double:
    """(w, r) Z of the change `T Zᵀ` that moves the outputs at keys (w, r) by T (d, r), and none at held keys (w, h).

    Directions of the keys that are not REACHABLE are left out; along them the outputs stay.

    Args:
        metric: (w, w) C; the identity if none is given.
    """
    if metric is not None:
        ridge = 1e-6 * np.trace(metric) / len(metric) * np.eye(len(metric))
        L = np.linalg.cholesky(metric + ridge)
        held, keys = solve_triangular(L, held, lower=True), solve_triangular(L, keys, lower=True)
    lengths = _lengths(keys)
    free = keys / lengths
    if held.size:
        basis, size, _ = np.linalg.svd(held / _lengths(held), full_matrices=False)
        basis = basis[:, size**2 > HELD * (size**2).sum()]
        for _ in range(2):  # the second time takes out what rounding left
            free = free - basis @ (basis.T @ free)
    left, size, right = np.linalg.svd(free, full_matrices=False)
    used = size**2 >= REACHABLE
    Z: Double = (left[:, used] / size[used]) @ right[used] / lengths
    return Z if metric is None else np.asarray(solve_triangular(L, Z, lower=True, trans="T"))


def _measured(traces: Sequence[Trace], deltas: list[Delta], refreshed: Collection[str], old: Double, new: Double) -> Refresh:
    """Compares what all edits add at the keys, (d, keys), before and after."""
    key_of, values = _values(traces)
    change = _lengths(new - old) / _lengths(old)
    distance = _lengths(new - values) / _lengths(values)
    changed = {trace.subject: float(change[key_of == k].max()) for k, trace in enumerate(traces)}
    missed = {trace.subject: float(distance[key_of == k].max()) for k, trace in enumerate(traces)}
    return Refresh(
        deltas,
        {subject: share for subject, share in changed.items() if subject not in refreshed},
        {subject: share for subject, share in missed.items() if subject in refreshed},
    )


def _keys(traces: Sequence[Trace]) -> NDArray[np.float32]:
    return np.concatenate([trace.key for trace in traces], axis=1)


def _values(traces: Sequence[Trace]) -> tuple[NDArray[np.int64], Double]:
    """(keys,) whose key each is, by number, and (d, keys) the value wanted there."""
    owner = np.repeat(np.arange(len(traces)), [trace.key.shape[1] for trace in traces])
    return owner, np.concatenate([trace.residual for trace in traces], axis=1)[:, owner].astype(np.float64)


def _outputs(deltas: Sequence[Delta], K: Double) -> Double:
    """(d, keys) what all plain edits add at keys."""
    U, V = (np.concatenate([getattr(_low_rank(delta), part) for delta in deltas], axis=1) for part in ("U", "V"))
    added: Double = U.astype(np.float64) @ (V.T.astype(np.float64) @ K)
    return added


def _lengths(columns: Double) -> Double:
    """(n,) norms of columns, never zero."""
    lengths: Double = np.linalg.norm(columns, axis=0)
    return np.maximum(lengths, np.finfo(np.float64).tiny)


def _with(delta: Delta, trace: Trace, change: Columns | LowRank) -> Delta:
    """The delta with another change, made for the trace's value."""
    (edit,) = delta.edits
    return Delta((replace(edit, change=change, residual=trace.residual),))


def _columns(delta: Delta) -> Columns:
    (edit,) = delta.edits
    assert isinstance(edit.change, Columns)
    return edit.change


def _low_rank(delta: Delta) -> LowRank:
    (edit,) = delta.edits
    assert isinstance(edit.change, LowRank)
    return edit.change
