"""Whether a chat prompt asks about the user in person, and in which relation: read where its answer begins.

"Where do I live?" names nobody, so the memory of where the user lives can act only where the whole question has been read: at
the prompt's last token. Inputs x of an MLP there are read by lines fitted to questions that people ask (`user_questions.py`):
for each relation r (LDA with shrinkage: class means against their mean, in the metric of what wordings move), and for the user
(logistic regression against questions about somebody else, about the model, about nobody)

    s_r(x) = w_r·x − m_r    1 on average where r is asked for        ℓ(x) = w·x − m    above 0 where it is the user's

A question asks for one relation only, so what is read of the others counts against r. That takes three layers on end. Units in
the first two write what they read into directions of the stream that hardly ever move otherwise,

    code_user = step(ℓ + ENDS · (level − 1))        code_q = clip(s_q − FLOOR + VETO · (code_user − 1), 0, 1) · level

and a memory's units in the third open where

    s_r(x) − INHIBITION · Σ_{q≠r} code_q + VETO · (code_user − 1) > θ

The level says "a chat prompt ends here", as that of a name's units says that it is the name (see `selectors`): it is 1 there
and 0 on ordinary text and elsewhere in a chat. So nothing is written where the question is not the user's. θ and the ℓ that
counts for 0 are taken from questions that the readers of their fold were not fitted to, by the share of wrong ones that passes.

The three layers are 23 to 25 of 30. `measure` fits all this and keeps it; `report` says what the units do in the model with
held-out questions, beside the same lines evaluated outside of it.

    python experiments/user_units.py measure|report [--out user-units]
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from competing_readers import covariance_within, linear_readers
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from user_questions import Question, with_more

from memctl.backends.factory import open_backend
from memctl.backends.protocol import Activations, Backend, Float, Tokens
from memctl.deltas import Columns, Composition, Delta, Edit
from memctl.editing import selectors
from memctl.editing.reference import reference
from memctl.editing.selectors import firing
from memctl.editing.subjects import seeded
from memctl.evaluation.drift import measure_drift
from memctl.progress import Progress, silent
from memctl.settings import EditSettings, load_settings

LAYER = 23
"""Index of the first of the three layers."""

FLOOR = 0.4
"""Score from which a relation counts against the others."""

INHIBITION = 0.6
USERS_SHARPNESS = 20.0
"""Of the user's step, whose score is 1 and more: in bfloat16 a higher one would not know what is 3 less than itself."""

USERS_SURE = 0.4
"""ℓ from which the user's code is written in full."""

ENDS = 2.0
"""What it is worth to the user's code that a chat prompt ends here, in units of ℓ."""

VETO = 2.5
"""What the user's code is worth: more than a score can be."""

OTHER_RELATIONS = 0.005
OTHER_PEOPLE = 0.05
"""Shares that pass: of the user's questions in other relations, and of those that are not the user's."""

RIDGE = 1e-5
FOLDS = 3
LEVEL_RIDGE = 100.0
"""Weight of the level's second moment everywhere else, beside 1 for its mean square error where a chat prompt ends."""

RELU = 30.0
"""Steepness of a unit's gate in its score, with which silu(z) / RELU is about max(0, score)."""

HEIGHT, USERS_HEIGHT = 12.0, 24.0
"""A code of 1, in standard deviations of what is read in its place where nothing is written."""

SAMPLED = 400
"""Pieces of reference text, and questions, that are looked at token by token."""

TRIED = 32
"""Questions behind which a direction is written to see how the second layer reads it."""

SPARE = 16
"""Quiet directions that are tried, beyond twice as many as are needed."""

ORDINARY = 0.1
"""What ordinary text counts for in the metric of the relations' lines, beside what wordings move: so they are calm there."""

BLIND = 1e4
"""What a code's direction counts for beside the mean variance, so that no other reader sees it."""

CHUNK = 512

Double = NDArray[np.float64]
Elsewhere = tuple[Float, Float]
"""Inputs on ordinary text and in chat prompts before their ends, and at first positions, where a token is like no other."""

ABOUT = ("user", "user, unknown relation", "other", "model", "nobody")
USERS = 2
"""The first so many of these are the user."""


def step_units(w: Float, r: Float, c: Float, threshold: float, sharpness: float) -> tuple[Float, Float]:
    """Gate and up (2, d) of a step in w·x at a threshold, times the level r·x, as a name's units are; c·x is 1."""
    return selectors._units(w, r, c, EditSettings(threshold=threshold, sharpness=sharpness))


@dataclass(frozen=True)
class Line:
    """Lines that are read at a layer: scores `x @ ways − offsets`, of ways (d, n) and offsets (n,)."""

    ways: Float
    offsets: Float

    def __call__(self, x: Float) -> Double:
        scores: Double = x.astype(np.float64) @ self.ways.astype(np.float64) - self.offsets
        return scores


@dataclass(frozen=True)
class Readers:
    """What is read in the three layers, of n relations of the bank and u others.

    Attributes:
        relations: Ids of the n relations.
        user: Of the user, in the first layer.
        second, third: Of the relations in the other two; in the second the u others come behind the n.
        seen: (3, d) each layer's mean input where a chat prompt ends.
        level, constant: (3, d) the level, and a direction that is 1 at all such ends and means nothing elsewhere.
        flag: (d,) what a code of the user adds to the stream in the first layer.
        flag_read: (d,) what reads it from the second layer's inputs.
        written: (d, n + 1) what codes add to the stream in the second: the relations' own, and that of their sum.
        read: (d, n + 2) what reads them from the third layer's inputs, and the user's.
        threshold: θ.
        output_norm: Root mean square norm of the third layer's MLP output where a chat prompt ends.
    """

    relations: tuple[str, ...]
    user: Line
    second: Line
    third: Line
    seen: Float
    level: Float
    constant: Float
    flag: Float
    flag_read: Float
    written: Float
    read: Float
    threshold: float
    output_norm: float

    def delta(self, settings: EditSettings) -> Delta:
        """The units of the first two layers, which all memories of the user have in common."""
        n, flag = len(self.relations), self.flag[:, None]
        score = self.user.ways[:, 0] + ENDS * (self.level[0] - self.constant[0])
        step = step_units(score, self.constant[0], self.constant[0], float(self.user.offsets[0]), USERS_SHARPNESS)
        gate = self.second.ways + VETO * self.flag_read[:, None]
        gate -= np.outer(self.constant[1], self.second.offsets + FLOOR + VETO)
        down = np.repeat(self.written[:, [n]], gate.shape[1], axis=1)
        down[:, :n] += self.written[:, :n]
        low, high = (np.ascontiguousarray(RELU * part.T, np.float32) for part in (gate, gate - self.constant[1][:, None]))
        up = np.tile(self.level[1] / RELU, (len(low), 1))
        codes = Columns(np.concatenate([low, high]), np.concatenate([up, -up]), np.concatenate([down, down], axis=1))
        return Delta(
            (
                Edit(LAYER, Columns(*step, np.repeat(flag, 2, axis=1)), self.seen[0][:, None], flag),
                Edit(LAYER + 1, codes, self.seen[1][:, None], self.written[:, [n]]),
            )
        )

    def units(self, relation: str, settings: EditSettings) -> tuple[Float, Float]:
        """Gate and up (2, d) of a memory's units in the third layer.

        Raises:
            ValueError: The relation is none of those that are read.
        """
        n, k = len(self.relations), self.relations.index(relation)
        score = self.third.ways[:, k] - INHIBITION * (self.read[:, n] - self.read[:, k]) + VETO * self.read[:, n + 1]
        least = self.threshold + VETO + float(self.third.offsets[k])
        return step_units(score, self.level[2], self.constant[2], least, settings.sharpness)


def load(path: Path) -> Readers:
    kept = dict(np.load(path))
    lines = {name: Line(kept.pop(f"{name}.ways"), kept.pop(f"{name}.offsets")) for name in _LINES}
    numbers = {name: kept.pop(name).item() for name in ("threshold", "output_norm")}
    return Readers(relations=tuple(kept.pop("relations").tolist()), **lines, **numbers, **kept)


def keep(path: Path, found: Readers) -> None:
    parts = {name: value for name, value in vars(found).items() if name not in _LINES}
    for name in _LINES:
        parts |= {f"{name}.{part}": value for part, value in vars(getattr(found, name)).items()}
    with path.open("wb") as file:
        np.savez(file, **parts)


_LINES = ("user", "second", "third")


def measure(backend: Backend, progress: Progress) -> Readers:
    """Reads all questions and fits the readers to them."""
    asked = [one for one in with_more() if not one.held_out]
    labels = _labels(asked)
    chats = [backend.encode(one.text, "chat").tokens for one in asked]
    n = len(labels.relations)
    seen = [_at_ends(backend, LAYER + k, chats, progress) for k in range(3)]
    states = [one.inputs for one in seen]
    pieces = _pieces(backend, chats, progress)
    elsewhere = [_elsewhere(backend, LAYER + k, pieces) for k in range(3)]
    within = [covariance_within(one, labels.kind) for one in states]
    sample = chats[:: -(-len(chats) // TRIED)]

    def moved(at: int, to: int, ends: tuple[Double, Double], written: Double) -> Double:
        return _moved(backend, LAYER + at, LAYER + to, sample, ends, written)

    def directions(at: int, ends: tuple[Double, Double], count: int, noise: Double, height: float) -> tuple[Double, Double]:
        tried = _quiet_directions(backend, LAYER + at, chats, min(backend.shape.hidden, 2 * count + SPARE))
        written = height * _most_visible(tried, moved(at, at + 1, ends, tried), noise, count)
        return written, moved(at, at + 1, ends, written)

    first = _levels(states[0], elsewhere[0])
    text = [np.sum([_moment(part - one.mean(0)) for part in far], axis=0) for far, one in zip(elsewhere, states, strict=True)]
    everywhere = [near + ORDINARY * far for near, far in zip(within, text, strict=True)]  # the user's code is 0 on text too
    flag, flag_moved = directions(0, first, 1, everywhere[1], USERS_HEIGHT)
    blind = [_blind(flag_moved, within[1])]
    second = _levels(states[1], elsewhere[1], blind[0])
    written, codes_moved = directions(1, second, n + 1, within[2], HEIGHT)
    both_moved = np.c_[codes_moved, moved(0, 2, first, flag)]
    blind.append(_blind(both_moved, within[2]))
    third = _levels(states[2], elsewhere[2], blind[1])
    calm = [unseen + ORDINARY * far for unseen, far in zip(blind, text[1:], strict=True)]
    threshold, margin = _thresholds(states, elsewhere[0], labels, calm)
    user, of_second, of_third = _fit(states, elsewhere[0], labels, calm)
    level, constant = (np.stack(parts).astype(np.float32) for parts in zip(first, second, third, strict=True))
    found = Readers(
        relations=labels.relations,
        user=_scaled(user, margin, states[0][labels.group == 0]),
        second=of_second,
        third=of_third,
        seen=np.stack([one.mean(0) for one in states]),
        level=level,
        constant=constant,
        flag=flag[:, 0].astype(np.float32),
        flag_read=_reading(flag_moved, (states[1], *elsewhere[1]), everywhere[1])[:, 0],
        written=written.astype(np.float32),
        read=np.c_[
            _reading(both_moved, (states[2],), within[2])[:, :-1],
            _reading(both_moved, (states[2], *elsewhere[2]), everywhere[2])[:, -1],
        ],
        threshold=threshold,
        output_norm=float(np.sqrt(((seen[2].keys @ backend.mlp_weights(LAYER + 2)["down"].T) ** 2).sum(1).mean())),
    )
    return _calibrated(backend, found, [chat for chat, group in zip(chats, labels.group, strict=True) if group == 0][::12])


def _calibrated(backend: Backend, found: Readers, own: Sequence[Tokens]) -> Readers:
    """The readers with 1 on average for what is read of the user's code at the user's questions: a long code moves less."""
    last, settings = [(len(chat) - 1,) for chat in own], EditSettings()
    firing_at = found.user(backend.activations(own, LAYER, last).inputs)[:, 0] > USERS_SURE

    def read(at: int, reader: Float) -> float:
        under = Composition(((found.delta(settings), 1.0),))
        return float((backend.activations(own, LAYER + at, last, under).inputs @ reader)[firing_at].mean())

    found = replace(found, flag_read=found.flag_read / np.float32(read(1, found.flag_read)))
    users = found.read[:, -1:] / np.float32(read(2, found.read[:, -1]))
    return replace(found, read=np.concatenate([found.read[:, :-1], users], axis=1))


@dataclass(frozen=True)
class _Labels:
    """What questions are about.

    Attributes:
        relations: The n relations of the bank.
        kind: (N,) class of each question: the n relations of the user's, then u others of the user's, then all else.
        own: How many classes are the user's, n + u.
        group: (N,) 0 for the user's, then one for each other whom it may be about.
    """

    relations: tuple[str, ...]
    kind: NDArray[np.int64]
    own: int
    group: NDArray[np.int64]


def _labels(asked: Sequence[Question]) -> _Labels:
    order = {about: k for k, about in enumerate(ABOUT)}
    kinds = sorted({(order[one.about], one.relation) for one in asked})
    number = {kind: k for k, kind in enumerate(kinds)}
    return _Labels(
        relations=tuple(relation for about, relation in kinds if about == 0),
        kind=np.array([number[order[one.about], one.relation] for one in asked]),
        own=sum(about < USERS for about, _ in kinds),
        group=np.array([max(0, order[one.about] - USERS + 1) for one in asked]),
    )


def _at_ends(backend: Backend, layer: int, chats: Sequence[Tokens], progress: Progress) -> Activations:
    """What a layer's MLP sees where chat prompts end."""
    found: list[Activations] = []
    for begin in range(0, len(chats), CHUNK):
        part = chats[begin : begin + CHUNK]
        found.append(backend.activations(part, layer, [(len(chat) - 1,) for chat in part]))
        progress("reading questions about the user", begin + len(part), len(chats))
    return Activations(np.concatenate([one.inputs for one in found]), np.concatenate([one.keys for one in found]))


def _pieces(backend: Backend, chats: Sequence[Tokens], progress: Progress) -> list[Tokens]:
    """Ordinary text, and chat prompts without their ends."""
    texts = reference(backend, progress)
    return [*texts[:: -(-len(texts) // SAMPLED)], *(chat[:-1] for chat in chats[:: -(-len(chats) // SAMPLED)])]


def _elsewhere(backend: Backend, layer: int, pieces: Sequence[Tokens]) -> Elsewhere:
    seen = backend.activations(pieces, layer, [range(len(text)) for text in pieces]).inputs
    starts = np.cumsum([0, *map(len, pieces)])[:-1]
    return np.delete(seen, starts, axis=0), seen[starts]


def _levels(ends: Float, elsewhere: Elsewhere, blind: Double | float = 0.0) -> tuple[Double, Double]:
    """The level (d,) and the constant direction (d,), both 1 on average where a chat prompt ends; the latter at first positions
    too, where a gate has to know its threshold."""
    mean, here = ends.mean(0, dtype=np.float64), _moment(ends)
    ridge = 1e-6 * np.trace(here) / len(here) * np.eye(len(here)) + blind
    text, first = map(_moment, elsewhere)
    level = np.linalg.solve(here + LEVEL_RIDGE * (text + first) + ridge, mean)
    means = [part.mean(0, dtype=np.float64) for part in elsewhere]
    constant = np.linalg.solve(here + ORDINARY * text + first + ridge, mean + ORDINARY * means[0] + means[1])
    return level / (mean @ level), constant / (mean @ constant)


def _moment(x: Float) -> Double:
    """(d, d) second moment."""
    rows = x.astype(np.float64)
    found: Double = rows.T @ rows / len(rows)
    return found


def _quiet_directions(backend: Backend, layer: int, chats: Sequence[Tokens], count: int) -> Double:
    """(d, count) orthonormal directions in which the stream behind a layer moves least where a chat prompt ends."""
    sample = chats[:: -(-len(chats) // (4 * backend.shape.hidden))]
    stream = backend.stream(sample, layer, [(len(chat) - 1,) for chat in sample]).astype(np.float64)
    _, vectors = np.linalg.eigh(np.cov(stream.T))
    quiet: Double = vectors[:, :count]
    return quiet


def _moved(
    backend: Backend, layer: int, above: int, chats: Sequence[Tokens], ends: tuple[Double, Double], written: Double
) -> Double:
    """(d, c) how inputs of a layer above move with each direction (d, c) that is written where chat prompts end."""
    (level, constant), last = ends, [(len(chat) - 1,) for chat in chats]
    gate, up = (part[None].astype(np.float32) for part in (RELU * constant, level / RELU))
    before = backend.activations(chats, above, last).inputs
    found = []
    for way in written.T.astype(np.float32):
        edit = Edit(layer, Columns(gate, up, way[:, None]), gate.T, way[:, None])
        after = backend.activations(chats, above, last, Composition(((Delta((edit,)), 1.0),))).inputs
        found.append((after - before).mean(0, dtype=np.float64))
    return np.stack(found, axis=1)


def _most_visible(tried: Double, moved: Double, noise: Double, count: int) -> Double:
    """(d, count) of what directions (d, c) span, those that are read best, for a moment (d, d) of what else is there: so long
    that each is read as large as that."""
    signal, vectors = np.linalg.eigh(moved.T @ np.linalg.solve(noise, moved))
    chosen = vectors[:, -count:] / np.sqrt(signal[-count:])
    return np.asarray(tried @ chosen)


def _blind(moved: Double, within: Double) -> Double:
    """(d, d) what is added to a covariance so that what moves with codes (d, c) is not looked at."""
    basis, _ = np.linalg.qr(moved)
    found: Double = BLIND * np.trace(within) / len(within) * basis @ basis.T
    return found


def _reading(moved: Double, silent: Sequence[Float], noise: Double) -> Float:
    """(d, c) directions that read codes from what they move (d, c): 1 of their own, none of the others', 0 on average at inputs
    where nothing is written, and with the least moment (d, d) of the rest."""
    seen = np.c_[moved, np.stack([inputs.mean(0, dtype=np.float64) for inputs in silent], axis=1)]
    read = np.linalg.solve(noise, seen)
    read = read @ np.linalg.inv(seen.T @ read)
    return read[:, : moved.shape[1]].astype(np.float32)


def _relation_lines(states: Float, labels: _Labels, within: Double) -> Line:
    """Of all relations of the user's, for inputs (N, d); see the top."""
    mine = labels.kind < labels.own
    mean, ways = linear_readers(states[mine], labels.kind[mine], labels.own, np.linalg.inv(within))
    return Line(ways.astype(np.float32), (mean @ ways).astype(np.float32))


def _user_line(ends: Float, elsewhere: Elsewhere, labels: _Labels, within: Double) -> Line:
    """Logistic regression of the user's questions against all others and ordinary text, of which each group counts for as
    much."""
    states, last = np.concatenate([ends, *elsewhere]), int(labels.group.max())
    group = np.concatenate([labels.group, *(np.full(len(part), last + k) for k, part in enumerate(elsewhere, 1))])
    white = np.linalg.cholesky(np.linalg.inv(within)) / np.sqrt(len(within))
    center = states.mean(0, dtype=np.float64)
    X = np.c_[(states - center) @ white, np.ones(len(states))]
    sign, count = np.where(group == 0, 1.0, -1.0), np.bincount(group)
    weight = np.where(group == 0, 0.5, 0.5 / np.count_nonzero(count[1:])) / count[group]

    def loss(v: Double) -> tuple[float, Double]:
        z = sign * (X @ v)
        gradient = 2 * RIDGE * v - X.T @ (weight * sign * expit(-z))
        return float(weight @ np.logaddexp(0, -z) + RIDGE * v @ v), gradient

    v = minimize(loss, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    way = white @ v[:-1]
    return Line(way[:, None].astype(np.float32), np.array([center @ way - v[-1]], np.float32))


def _scaled(user: Line, margin: float, own: Float) -> Line:
    """The user's line with its threshold at 0, and 1 on average at the user's own questions (n, d)."""
    scale = float(user(own).mean()) - margin
    return Line(user.ways / np.float32(scale), (user.offsets + np.float32(margin)) / np.float32(scale))


def _fit(states: Sequence[Float], elsewhere: Elsewhere, labels: _Labels, calm: Sequence[Double]) -> tuple[Line, Line, Line]:
    """The user's line in the first layer, the relations' in the other two."""
    within = [covariance_within(one, labels.kind) for one in states]
    third, n = _relation_lines(states[2], labels, within[2] + calm[1]), len(labels.relations)
    return (
        _user_line(states[0], elsewhere, labels, within[0]),
        _relation_lines(states[1], labels, within[1] + calm[0]),
        Line(third.ways[:, :n], third.offsets[:n]),
    )


def _thresholds(states: Sequence[Float], elsewhere: Elsewhere, labels: _Labels, calm: Sequence[Double]) -> tuple[float, float]:
    """θ, and the ℓ that counts for 0, from questions that the readers of their fold were not fitted to."""
    fold = seeded("user readers").integers(FOLDS, size=len(labels.kind))
    n = len(labels.relations)
    wrong, strangers = [], []
    for k in range(FOLDS):
        rest, here = fold != k, fold == k
        part = _Labels(labels.relations, labels.kind[rest], labels.own, labels.group[rest])
        user, second, third = _fit([one[rest] for one in states], elsewhere, part, calm)
        codes = np.maximum(second(states[1][here]) - FLOOR, 0)
        score = third(states[2][here]) - INHIBITION * (codes.sum(1, keepdims=True) - codes[:, :n])
        mine, kind = labels.group[here] == 0, labels.kind[here]
        wrong.append(score[mine][kind[mine, None] != np.arange(n)])
        strangers.append(user(states[0][here])[~mine, 0])
    shares = (np.concatenate(wrong), 1 - OTHER_RELATIONS), (np.concatenate(strangers), 1 - OTHER_PEOPLE)
    theta, margin = (float(np.quantile(*share)) for share in shares)
    return theta, margin


def report(backend: Backend, found: Readers) -> None:
    """Shares of held-out questions at which units are open, of 20 relations told, and what the common ones do to all else."""
    settings = EditSettings()
    under = Composition(((found.delta(settings), 1.0),))
    asked = [one for one in with_more() if one.held_out]
    chats = [backend.encode(one.text, "chat").tokens for one in asked]
    last, n = [(len(chat) - 1,) for chat in chats], len(found.relations)
    states = [backend.activations(chats, LAYER + k, last).inputs for k in range(3)]
    seen = backend.activations(chats, LAYER + 2, last, under).inputs
    codes = np.clip(found.second(states[1]) - FLOOR, 0, 1)
    score = found.third(states[2]) - INHIBITION * (codes.sum(1, keepdims=True) - codes[:, :n])
    outside = (score > found.threshold) & (found.user(states[0]) > 0)
    units = [found.units(relation, settings) for relation in found.relations]
    gate, up = (np.concatenate(part) for part in zip(*units, strict=True))
    inside = firing(backend.activation, gate, up, seen, [2] * n) > 0.5
    for name, acts in (("outside of the model", outside), ("in the model", inside)):
        print(f"{name}: " + ", ".join(f"{what} {share:.3f}" for what, share in _shares(found, asked, acts).items()))
    rest = [chat for chat, one in zip(chats, asked, strict=True) if one.about in ("nobody", "other", "model")][::3]
    said = []
    for composition in (Composition(), under):
        with backend.attached(composition):
            said.append(backend.generate(rest, 24))
    same = np.mean([a == b for a, b in zip(*said, strict=True)])
    drift = measure_drift(backend, under, silent)
    what = f"{len(rest)} questions that are not the user's: same with the common units"
    print(f"{what} {same:.2f}; drift {drift.perplexity:+.2%}")


def _shares(found: Readers, asked: Sequence[Question], acts: NDArray[np.bool_]) -> dict[str, float]:
    """Of the user's questions in told relations those that open their own units, and no others; of all others those that open
    any; means over eight draws of 20 relations."""
    number = {relation: k for k, relation in enumerate(found.relations)}
    shares: dict[str, list[float]] = {}
    for draw in range(8):
        told = seeded("told", draw).permutation(len(number))[:20]
        for about in ABOUT:
            rows = [k for k, one in enumerate(asked) if one.about == about]
            if about == "user":
                mine = [k for k in rows if number[asked[k].relation] in told]
                own = np.array([acts[k, number[asked[k].relation]] for k in mine])
                shares.setdefault("own", []).append(own.mean())
                shares.setdefault("own alone", []).append((own & (acts[mine][:, told].sum(1) == 1)).mean())
                rows = [k for k in rows if k not in mine]
            shares.setdefault(f"any: {about}", []).append(acts[rows][:, told].any(1).mean())
    return {what: float(np.mean(found)) for what, found in shares.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=["measure", "report"])
    parser.add_argument("--out", type=Path, default=Path("user-units"))
    given = parser.parse_args()
    engine = open_backend(load_settings({"backend": "torch"}).settings, None, silent)
    if given.part == "measure":
        keep(given.out, measure(engine, silent))
    else:
        report(engine, load(given.out))
