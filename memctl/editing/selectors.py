"""Pattern separation: MLP units that answer to one subject and are silent on everything else.

A unit adds `down · act(g·x) (u·x)` to the MLP's output, with x the MLP's input. Its selector w is fitted so that `s = w·x`
is about 1 at the subject's last token in any context and about 0 elsewhere, and is used in the form in which it is fitted:
without a bias, for which a constant direction c (c·x ≈ 1 on ordinary tokens) stands in.

    g = β (w − θ c)      u = ((1 + γ) c − γ w) / (β (1 − θ))      γ = 1 / (1 − θ)

With act(z) ≈ z for z ≫ 0 the activation is a(s) ≈ (s − θ)(1 + γ − γ s) / (1 − θ): 1 and flat at s = 1, e^{-βθ}-small at 0.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits

from memctl.backends.protocol import Backend, Float
from memctl.editing.statistics import Statistics, all_contexts, bank_wordings, behind_text, look_alike_inputs
from memctl.editing.subjects import in_contexts, seeded
from memctl.facts import Cue, Mode
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
RIDGE = 1e-2
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
    cues: Sequence[Cue],
    own: Float,
    modes: Sequence[Mode],
    stats: Statistics,
    settings: EditSettings,
) -> Selector:
    """Fits the unit of a subject.

    Args:
        cues: Those of its facts.
        own: (n, d) MLP inputs at the subject's mentions in the cues and their answers.
        modes: Of the n mentions' cues.
    """
    generic, parts = _generic(backend, layer, subject)
    told = [(cue.mode, cue.prompt[: cue.span[0]] + "{s}" + cue.prompt[cue.span[1] :]) for cue in cues]
    alike = look_alike_inputs(backend, layer, subject, told, settings.look_alikes)
    contexts = np.concatenate([own, generic])
    random = seeded("selector", subject)
    moved = stats.deviations[random.permutation(len(stats.deviations))[:VIRTUAL]]
    positives = np.concatenate([contexts, contexts.mean(0) + moved])
    fixed = np.concatenate([stats.bystanders, alike, parts, stats.first])
    w = _fit(positives, _shares(modes, len(positives)), fixed, stats, settings.threshold)
    return Selector(*_unit(w, stats.constant, settings), own=contexts)


def _generic(backend: Backend, layer: int, subject: str) -> tuple[Float, Float]:
    """Inputs in what may be written about it otherwise: at the subject's last token, and at its other tokens."""
    contexts = [*all_contexts()[::2], *bank_wordings()[::3], *behind_text(backend)]
    sequences, places = zip(*in_contexts(backend, [subject], contexts), strict=True)
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
    gamma = 1 / (1 - theta)
    gate = beta * (w - theta * c)
    up = ((1 + gamma) * c - gamma * w) / (beta * (1 - theta))
    return gate.astype(np.float32), up.astype(np.float32)


def activation(name: str, gate: Float, up: Float, x: Float) -> Float:
    """Activations (n, units) of units at inputs x (n, d): `act(x gateᵀ) ⊙ (x upᵀ)`."""
    z = (x @ gate.T).astype(np.float64)
    if name.startswith("gelu"):
        act = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    else:
        act = z / (1 + np.exp(-np.clip(z, -700, 700)))
    activations: Float = (act * (x @ up.T)).astype(np.float32)
    return activations
