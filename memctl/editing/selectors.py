"""Pattern separation: MLP units that answer to one subject and are silent on everything else.

A unit adds `down · act(g·x) (u·x)` to the MLP's output, with x the MLP's input. Its selector w is fitted so that `s = w·x`
is about 1 at the subject's last token in any context and about 0 elsewhere, and is used in the form in which it is fitted:
without a bias, for which a constant direction c (c·x ≈ 1 on ordinary tokens) stands in.

    g = β (w − θ c)      u = ((1 + γ) c − γ w) / (β (1 − θ))      γ = FLAT / (1 − θ)

With act(z) ≈ z for z ≫ 0 the activation is a(s) ≈ (s − θ)(1 + γ − γ s) / (1 − θ): 1 at s = 1, near 1 on a stretch below it, and
e^{-βθ}-small at 0.

The names that come nearest are asked for again in contexts that nobody ran: a context moves all names much alike, so a
look-alike moved as other names were is as good as a forward pass. What passes the gate all the same is brought to its
activation, 1 at home and 0 elsewhere, by a least-squares correction of u.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from memctl.backends.protocol import Backend, Float
from memctl.editing.statistics import Statistics, all_contexts, look_alike_inputs
from memctl.editing.subjects import in_contexts, seeded
from memctl.facts import Mode
from memctl.settings import EditSettings

OWN, OTHERS = 0.92, 0.15
"""Scores that the fit asks for: at least the first in the subject's own contexts, at most the second elsewhere."""

HARDEST = 4000
ROUNDS = 3
ITERATIONS = 40
VIRTUAL = 400
OWN_SHARE = 0.5
"""Share of the subject's weight that is on the cues of its facts, half raw and half in chat. As 20 of 450 equal ones, those at
the start of a raw text were given up where a namesake looked alike there: one subject in 60 was silent when asked for bare."""
NEAREST, MOVE = 80, 0.7
"""So many of the look-alikes' tokens are moved, and how far: they were in a context already. Nineteen in twenty of the unseen
people who fire a unit have the subject's last name; moved look-alikes make them a third as many."""

MOVED_KEPT = 1500
FLAT = 1.6
"""1 would be flat at s = 1 exactly; with more, a subject that scores .8 still fires .9."""

RIDGE = 1e-3
UP_RIDGE = 0.1
"""Of the correction of u, relative to the squared gate at score 1: where the gate hardly opens at home, none is made."""

SILENT = 1e-6
UP_OTHERS = 0.03
"""Weight of each other token's squared activation beside the subject's mean."""

HIGH_SCALE = 100.0
"""The others' excess is summed, not averaged: few of thousands exceed, and each of them counts."""


TOUCHED = 0.1
"""Activation from which a unit counts as acting on a token of ordinary text (1 at its subject)."""


@dataclass(frozen=True)
class Selector:
    """A unit without its output: gate and up are (d,); `own` (n, d) are the subject's inputs it was fitted to."""

    gate: Float
    up: Float
    own: Float


def fit_selector(
    backend: Backend,
    layer: int,
    subject: str,
    own: Float,
    modes: Sequence[Mode],
    stats: Statistics,
    settings: EditSettings,
) -> Selector:
    """Fits the unit of a subject.

    Args:
        own: (n, d) MLP inputs at the subject's last token in the cues of its facts.
        modes: The n cues' modes.
    """
    generic, parts = _generic(backend, layer, subject)
    alike = look_alike_inputs(backend, layer, subject, settings.look_alikes)
    contexts = np.concatenate([own, generic])
    random = seeded("selector", subject)
    moved = stats.deviations[random.permutation(len(stats.deviations))[:VIRTUAL]]
    positives = np.concatenate([contexts, contexts.mean(0) + moved])
    fixed = np.concatenate([stats.bystanders, alike, parts, stats.first])
    shares = _shares(modes, len(positives))
    w = _fit(positives, shares, fixed, stats, settings.threshold)
    if not settings.moves:
        return Selector(*_unit(w, stats.constant, settings), own=contexts)
    others = np.concatenate([fixed, _moved(alike, w, stats, settings.moves, random)])
    w = _fit(positives, shares, others, stats, settings.threshold)
    gate, up = _unit(w, stats.constant, settings)
    ordinary = stats.reference[np.argsort(-(stats.reference @ gate), kind="stable")[:HARDEST]]
    others = np.concatenate([others, ordinary])
    ridge = UP_RIDGE * (settings.sharpness * (1 - settings.threshold)) ** 2
    up = _corrected(up, gate, backend.activation, positives, shares, others, stats.whitening, ridge)
    return Selector(gate, up, own=contexts)


def _moved(alike: Float, w: Float, stats: Statistics, moves: int, random: np.random.Generator) -> Float:
    """(n, d) the look-alikes that score highest, in further contexts; of those the ones that score highest."""
    nearest = alike[np.argsort(-(alike @ w), kind="stable")[:NEAREST]]
    deviations = stats.deviations[random.integers(len(stats.deviations), size=moves * len(nearest))]
    moved: Float = np.repeat(nearest, moves, axis=0) + np.float32(MOVE) * deviations
    return moved[np.argsort(-(moved @ w), kind="stable")[:MOVED_KEPT]]


def _generic(backend: Backend, layer: int, subject: str) -> tuple[Float, Float]:
    """Inputs in contexts that know no relation: at the subject's last token, and at its other tokens."""
    sequences, places = zip(*in_contexts(backend, [subject], all_contexts()[::2]), strict=True)
    seen = backend.activations(sequences, layer, [[k for mention in found for k in mention] for found in places]).inputs
    last = np.cumsum([len(mention) for found in places for mention in found]) - 1
    return seen[last], np.delete(seen, last, axis=0)


def _shares(modes: Sequence[Mode], count: int) -> Float:
    """(count,) weights of the positives, of which the first are the facts' own cues; their sum is 1."""
    shares = np.full(count, (1 - OWN_SHARE) / count, np.float32)
    kinds = sorted(set(modes))
    for kind in kinds:
        mine = [k for k, mode in enumerate(modes) if mode == kind]
        shares[mine] += OWN_SHARE / len(kinds) / len(mine)
    return shares


def _fit(positives: Float, shares: Float, fixed: Float, stats: Statistics, theta: float) -> Float:
    """Squared hinges in whitened coordinates; the hardest reference tokens are picked anew in each round."""
    whiten = stats.whitening
    P, F = positives @ whiten, fixed @ whiten
    limits = _limits(fixed, stats.constant, theta)
    hard = stats.reference[:: max(1, len(stats.reference) // HARDEST)]
    center = P.mean(0)
    v = center / (center @ center)
    for _ in range(ROUNDS):
        N = np.concatenate([F, hard @ whiten])
        v = _hinge(v, P, shares, N, np.concatenate([limits, _limits(hard, stats.constant, theta)]))
        scores = stats.reference @ (whiten @ v).astype(np.float32)
        hardest = np.argpartition(-scores, min(HARDEST, len(scores) - 1))[:HARDEST]
        hard = stats.reference[np.sort(hardest)]
    w: Float = (whiten @ v).astype(np.float32)
    return w


def _limits(x: Float, c: Float, theta: float) -> Float:
    """(n,) highest scores that leave the gate as closed as OTHERS does where c·x = 1."""
    limits: Float = theta * (x @ c) - (theta - OTHERS)
    return limits


def _hinge(start: Float, P: Float, shares: Float, N: Float, limits: Float) -> Float:
    """Own scores (n,) between OWN and 2 − OWN, where the activation is flat; the others' under their limits."""

    def loss(v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        v32 = v.astype(np.float32)
        s = P @ v32
        low, over = np.maximum(OWN - s, 0), np.maximum(s - (2 - OWN), 0)
        high = np.maximum(N @ v32 - limits, 0)
        value = float((shares * (low**2 + over**2)).sum() + (high**2).sum() / HIGH_SCALE)
        value += RIDGE * float(v @ v) / len(v)
        gradient = 2 * (shares * (over - low)) @ P + 2 / HIGH_SCALE * (high @ N) + 2 * RIDGE / len(v) * v
        return value, gradient.astype(np.float64)

    with threadpool_limits(1, user_api="blas"):  # 576 coordinates: handing parts to other threads costs as much again
        found = minimize(loss, start.astype(np.float64), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return np.asarray(found.x, np.float32)


def _unit(w: Float, c: Float, settings: EditSettings) -> tuple[Float, Float]:
    theta, beta = settings.threshold, settings.sharpness
    gamma = FLAT / (1 - theta)
    gate = beta * (w - theta * c)
    up = ((1 + gamma) * c - gamma * w) / (beta * (1 - theta))
    return gate.astype(np.float32), up.astype(np.float32)


def _corrected(
    up: Float,
    gate: Float,
    act: str,
    positives: Float,
    shares: Float,
    others: Float,
    whitening: Float,
    ridge: float,
) -> Float:
    """(d,) `u + Δ` that minimises Σ shares (a(x) − 1)² over the positives + Σ a(x)² over the others, in closed form.

    With the gate fixed, `a(x) = act(g·x) (u·x)` is linear in u; Δ is kept small in whitened coordinates.
    """
    F, N = (_act(act, x @ gate)[:, None] * x.astype(np.float64) for x in (positives, others))
    N = N[np.abs(N).max(axis=1) > SILENT]
    V = whitening.astype(np.float64)
    FV, NV = F @ V, N @ V
    H = FV.T @ (shares[:, None] * FV) + UP_OTHERS * NV.T @ NV + ridge * np.eye(len(V))
    lacking = FV.T @ (shares * (1 - F @ up)) - UP_OTHERS * NV.T @ (N @ up)
    corrected: Float = (up + V @ np.linalg.solve(H, lacking)).astype(np.float32)
    return corrected


def _act(name: str, z: Float) -> NDArray[np.float64]:
    wide = z.astype(np.float64)
    if name.startswith("gelu"):
        open_by = 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    else:
        open_by = 1 / (1 + np.exp(-np.clip(wide, -700, 700)))
    acted: NDArray[np.float64] = wide * open_by
    return acted


def activation(name: str, gate: Float, up: Float, x: Float) -> Float:
    """Activations (n, units) of units at inputs x (n, d): `act(x gateᵀ) ⊙ (x upᵀ)`."""
    activations: Float = (_act(name, x @ gate.T) * (x @ up.T)).astype(np.float32)
    return activations
