"""Which relation is asked for where a prompt ends: readers that know each other.

States x are inputs of a layer's MLP, of length √d. For each relation r a linear score (LDA with shrinkage: the mean of its
wordings' last tokens against the mean of all, in the metric of what wordings and names move), and what sets it apart from the
others, its log-softmax over all relations:

    s_r(x) = w_r·(x − m),   c_r(x) = s_r − (1/τ) log Σ_q exp(τ s_q)

A linear reader for "does this prompt end?" tells last tokens from all others behind a subject. A memory's gate is the sum of
the three with weights of their own, a threshold off, which lets a given share of other relations' prompts through *anywhere*.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

Array = NDArray[Any]

SHARPNESS = 40.0
"""τ, where scores are about 1 at a relation's own wordings."""

SHRINKAGE, FOLDS, ROUNDS = 0.1, 4, 4


@dataclass
class Readers:
    """Of one mode: means m (d,), ways w (d, relations), the end's way (d,) and offset, and the mix of the three and a bias."""

    mean: Array
    ways: Array
    ends: Array
    offset: float
    mix: Array

    def parts(self, states: Array) -> tuple[Array, Array, Array]:
        """s and c (n, relations), and the end's score (n,)."""
        centred = states - self.mean
        s = centred @ self.ways
        return s, s - log_sum(s), centred @ self.ends - self.offset

    def __call__(self, states: Array) -> Array:
        """(n, relations) scores; a gate is open over its threshold."""
        s, c, e = self.parts(states)
        scores: Array = self.mix[0] * s + self.mix[1] * c + (self.mix[2] * e + self.mix[3])[:, None]
        return scores


def log_sum(s: Array) -> Array:
    """(n, 1) soft maximum of scores (n, relations)."""
    most = s.max(1, keepdims=True)
    found: Array = most + np.log(np.exp(SHARPNESS * (s - most)).sum(1, keepdims=True)) / SHARPNESS
    return found


def shrunk(C: Array) -> Array:
    """A covariance (d, d) with a share of the even one."""
    return (1 - SHRINKAGE) * C + SHRINKAGE * np.trace(C) / len(C) * np.eye(len(C))


def covariance_within(states: Array, kind: Array) -> Array:
    """(d, d) how states (n, d) move within their kinds (n,), shrunk."""
    means = np.stack([states[kind == k].mean(0, dtype=np.float64) for k in range(kind.max() + 1)])
    within = states - means[kind]
    return shrunk(within.T @ within / len(within))


def metric_within(states: Array, kind: Array) -> Array:
    """(d, d) the inverse of that."""
    return np.linalg.inv(covariance_within(states, kind))


def linear_readers(states: Array, kind: Array, kinds: int, metric: Array) -> tuple[Array, Array]:
    """The mean of all kinds' means (d,), and ways (d, kinds): a score `(x − mean) @ ways` is a length along a kind's mean in
    the metric, in units in which a state's (n, d) own score is 1 on average."""
    means = np.stack([states[kind == k].mean(0, dtype=np.float64) for k in range(kinds)])
    mean = means.mean(0)
    ways = metric @ (means - mean).T
    ways /= np.sqrt(((means - mean) * ways.T).sum(1))
    own = ((states - mean) @ ways)[np.arange(len(states)), kind]
    return mean, ways / own.mean()


def fit(states: Array, relation: Array, end: Array, own_mode: Array, relations: int) -> Readers:
    """Readers without a mix.

    Args:
        states: (n, d) float32, each of length √d.
        relation: (n,) of each state's prompt.
        end: (n,) whether the prompt ends there.
        own_mode: (n,) whether the prompt is of the readers' mode: relations are read at the ends of these only.
    """
    at = end & own_mode
    mean, ways = linear_readers(states[at], relation[at], relations, metric_within(states[at], relation[at]))
    elsewhere = states[~end & own_mode]
    both = [states[at] - states[at].mean(0), elsewhere - elsewhere.mean(0)]
    C = shrunk(sum(part.T @ part / len(part) for part in both) / 2)
    ends = np.linalg.solve(C, states[at].mean(0) - elsewhere.mean(0))
    scores = [(part - mean) @ ends for part in (states[at], elsewhere)]
    low, high = scores[1].mean(), scores[0].mean()
    ends, offset = ends / (high - low), low / (high - low)
    return Readers(*(part.astype(np.float32) for part in (mean, ways, ends)), float(offset), np.zeros(4, np.float32))


def out_of_fold(
    states: Array, relation: Array, end: Array, own_mode: Array, wording: Array, relations: int
) -> tuple[Array, Array, Array]:
    """`parts` of all states, by readers that were not fitted to their wordings (n,)."""
    fold = np.random.default_rng(0).integers(FOLDS, size=wording.max() + 1)[wording]
    s, c = np.zeros((2, len(states), relations), np.float32)
    e = np.zeros(len(states), np.float32)
    for k in range(FOLDS):
        rest, here = fold != k, fold == k
        found = fit(states[rest], relation[rest], end[rest], own_mode[rest], relations).parts(states[here])
        s[here], c[here], e[here] = found
    return s, c, e


def mixed(
    parts: tuple[Array, Array, Array], relation: Array, end: Array, own_mode: Array, prompt: Array, let: float, asked: int
) -> Array:
    """The mix (4,): own prompts' ends against the hardest place of every other relation's prompt, for the first `asked`
    relations; its bias lets `let` of the prompts of the readers' mode through, of all pairs of a prompt and a relation."""
    s, c, e = parts
    at = np.flatnonzero(end & own_mode & (relation < asked))
    own = np.stack([s[at, relation[at]], c[at, relation[at]], e[at], np.ones(len(at))], 1)
    mix = np.array([1.0, 1.0, 1.0, -1.0])
    for _ in range(ROUNDS):
        rows, cols = _hardest(mix[0] * s[:, :asked] + mix[1] * c[:, :asked] + mix[2] * e[:, None], prompt)
        other = relation[rows] != cols
        rows, cols = rows[other], cols[other]
        others = np.stack([s[rows, cols], c[rows, cols], e[rows], np.ones(len(rows))], 1)

        def loss(w: Array, others: Array = others) -> float:
            return float(np.logaddexp(0, -own @ w).mean() + 10 * np.logaddexp(0, others @ w).mean() + 1e-4 * w[:3] @ w[:3])

        mix = minimize(loss, mix, method="L-BFGS-B", bounds=[(0, None)] * 3 + [(None, None)]).x
    ours = own_mode[rows]
    mix[3] = -np.quantile((others[:, :3] @ mix[:3])[ours], 1 - let)
    found: Array = mix.astype(np.float32)
    return found


def _hardest(scores: Array, prompt: Array) -> tuple[Array, Array]:
    """For each prompt and relation the state at which it scores highest: states and relations (prompts · relations,)."""
    order = np.argsort(prompt, kind="stable")
    begins = np.flatnonzero(np.r_[True, np.diff(prompt[order]) > 0])
    rows, cols = [], []
    for part in np.split(order, begins[1:]):
        rows.append(part[scores[part].argmax(0)])
        cols.append(np.arange(scores.shape[1]))
    return np.concatenate(rows), np.concatenate(cols)
