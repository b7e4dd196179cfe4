"""Pattern separation: MLP units that answer to one subject and are silent on everything else.

A unit adds `down · act(g·x) (u·x)` to the MLP's output, with x the MLP's input. A subject has two of them with one output,
which together are a step in one direction w times a level in another one, r:

    a(x) = [act(z) − act(z − h c·x)] (r·x) / h      z = β (w − θ c)·x

For act(z) ≈ z at z ≫ 0 the bracket is 0 under θ and h over θ + h/β. The selector w is fitted so that w·x is about 1 at the
subject's last token in any context and about 0 elsewhere, at names that look like it above all; c is a constant direction
(c·x ≈ 1 on ordinary tokens) that stands in for a bias. What is asked of w at look-alikes makes it a poor judge of all other
text: of 400,000 tokens of documents and code that no fit had seen, one in 12,000 passed it. The level r knows nothing of
look-alikes. It is the ridge regression of 1 on the subject's contexts, with ordinary text's second moment for the ridge:
1 ± .05 at the subject in contexts that no fit has seen, and 0 ± .05 on ordinary text. A token has to pass both.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import erf
from threadpoolctl import threadpool_limits

from memctl.backends.protocol import Backend, Float
from memctl.editing.statistics import Statistics, all_contexts, bank_wordings, behind_text, look_alike_inputs
from memctl.editing.subjects import in_contexts, seeded, told_apart
from memctl.errors import ModelUnavailable
from memctl.facts import Cue, Mode
from memctl.settings import EditSettings

OWN, OTHERS = 0.92, 0.05
"""Scores that the fit asks for: at least the first in the subject's own contexts, at most the second elsewhere."""

UNITS = 2
"""How many a subject has."""

STEP = 3.0
"""h, the height of the gate's step: over so much of the activation's argument the gate opens."""

HARDEST = 4000
ROUNDS = 3
ITERATIONS = 40
VIRTUAL = 400
OWN_SHARE = 0.5
"""Share of the subject's weight that is on the cues of its facts, half raw and half in chat. As 20 of 450 equal ones, those at
the start of a raw text were given up where a namesake looked alike there: one subject in 60 was silent when asked for bare."""
RIDGE = 0.1
"""Weight of the scores' variance on ordinary text."""

LEVEL_RIDGE = 10.0
"""Weight of the level's second moment on ordinary text, beside 1 for its mean square error at the subject."""
HIGH_SCALE = 100.0
"""The others' excess is summed, not averaged: few of thousands exceed, and each of them counts."""


TOUCHED = 0.1
"""Firing, by amount, from which a memory counts as acting on a token of ordinary text (1 at its subject)."""


@dataclass(frozen=True)
class Selector:
    """A subject's units without their output: gate and up are (2, d)."""

    gate: Float
    up: Float


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
    """Fits the units of a subject.

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
    shares = _shares(modes, len(positives))
    w = _fit(positives, shares, fixed, stats, settings.threshold)
    return Selector(*_units(w, _level(positives, shares, stats), stats.constant, settings))


def _generic(backend: Backend, layer: int, subject: str) -> tuple[Float, Float]:
    """Inputs in what may be written about it otherwise: at the subject's last token, and at its other tokens."""
    contexts = [*all_contexts()[::2], *bank_wordings()[::3], *behind_text(backend)]
    met = [(tokens, told_apart(found)) for tokens, found in in_contexts(backend, [subject], contexts)]
    sequences, places = zip(*((tokens, found) for tokens, found in met if found), strict=True)
    wanted, begun = [[k for mention in found for k in mention] for found in places], [found[0][0] for found in places]
    seen = backend.activations_behind(sequences, layer, wanted, begun).inputs
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
    """Own scores (n,) between OWN and 2 − OWN, the others' under their limits; |v|² is their variance on ordinary text."""

    def loss(v: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        v32 = v.astype(np.float32)
        s = P @ v32
        low, over = np.maximum(OWN - s, 0), np.maximum(s - (2 - OWN), 0)
        high = np.maximum(N @ v32 - limits, 0)
        value = float((shares * (low**2 + over**2)).sum() + (high**2).sum() / HIGH_SCALE)
        value += RIDGE * float(v @ v)
        gradient = 2 * (shares * (over - low)) @ P + 2 / HIGH_SCALE * (high @ N) + 2 * RIDGE * v
        return value, gradient.astype(np.float64)

    with threadpool_limits(1, user_api="blas"):  # 576 coordinates: handing parts to other threads costs as much again
        found = minimize(loss, start.astype(np.float64), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    return np.asarray(found.x, np.float32)


def _level(positives: Float, shares: Float, stats: Statistics) -> Float:
    """(d,) r of mean 1 at the subject: `(E[xxᵀ] at the subject + λ E[xxᵀ] on ordinary text)⁻¹ E[x] at the subject`."""
    P, weights = positives.astype(np.float64), shares.astype(np.float64)
    mean = weights @ P
    ridge = 1e-6 * np.trace(stats.moment) / len(mean) * np.eye(len(mean))  # an input may always be zero
    r = np.linalg.solve((P * weights[:, None]).T @ P + LEVEL_RIDGE * stats.moment + ridge, mean)
    return (r / (mean @ r)).astype(np.float32)


def _units(w: Float, r: Float, c: Float, settings: EditSettings) -> tuple[Float, Float]:
    """Gate and up (2, d) of the two units."""
    gate = settings.sharpness * (w - settings.threshold * c)
    up = r / STEP
    return np.stack([gate, gate - STEP * c]).astype(np.float32), np.stack([up, -up]).astype(np.float32)


def activation(name: str, gate: Float, up: Float, x: Float) -> Float:
    """Activations (n, units) of units at inputs x (n, d): `act(x gateᵀ) ⊙ (x upᵀ)`.

    Raises:
        ModelUnavailable: It is none of those that are known here.
    """
    z = (x @ gate.T).astype(np.float64)
    if name in ("silu", "swish"):
        act = z / (1 + np.exp(-np.clip(z, -700, 700)))
    elif name == "gelu":
        act = 0.5 * z * (1 + erf(z / np.sqrt(2)))
    elif name.startswith("gelu_"):
        act = 0.5 * z * (1 + np.tanh(np.sqrt(2 / np.pi) * (z + 0.044715 * z**3)))
    else:
        raise ModelUnavailable(f"units cannot share the activation {name!r} of this model", "use one with silu or gelu")
    activations: Float = (act * (x @ up.T)).astype(np.float32)
    return activations


def firing(name: str, gate: Float, up: Float, x: Float, counts: Sequence[int]) -> Float:
    """(n, memories) what the units of each memory add up to at inputs x (n, d); `counts` of them each has, at least one."""
    begins = np.cumsum([0, *counts])[:-1]
    found: Float = np.add.reduceat(activation(name, gate, up, x), begins, axis=1)
    return found
