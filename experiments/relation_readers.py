"""How well is the relation that is asked about known where the answer begins?

A linear reader for each relation: the mean state of its wordings against that of all others, in the metric of what wordings
and names move (LDA with shrinkage). Trained on the bank's wordings, with and without the further ones of `wordings.json` (and
of `more_wordings.json` with `--more`), on one set of names; tested on the bank's held-out wordings with other names. No memory
is attached. Prints, for people's relations, the share of a relation's unseen wordings that a threshold keeps which lets 1, 2,
5 or 10 % of the other relations' unseen wordings through: each reader's score by itself (a cosine, or linear in the state),
and competing, less the soft maximum of all relations' scores (see `competing_readers`).

    python experiments/relation_readers.py [--layers 14,24] [--more]
"""

import argparse

import numpy as np
from competing_readers import linear_readers, log_sum, metric_within
from further_wordings import further_wordings, too_near

from memctl.backends.factory import open_backend
from memctl.editing.relations import bank
from memctl.editing.subjects import names, seeded
from memctl.facts import Mode
from memctl.settings import load_settings

TESTED_WITH = 3
"""Names that each held-out wording is asked with."""

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("--layers", default="14,24")
parser.add_argument("--more", action="store_true")
given = parser.parse_args()
layers = [int(layer) for layer in given.layers.split(",")]
further = further_wordings(more=given.more)
backend = open_backend(load_settings({"backend": "torch"}).settings, None, lambda *_: None)
random = seeded("relation readers")


def person() -> str:
    return f"{random.choice(names().first)} {random.choice(names().last)}"


relations = [one for one in bank().values() if "person" in one.about]
others = [one for one in further.values() if one["id"] not in bank() and "person" in one["about"]]
rows: list[tuple[int, Mode, str, str]] = []  # relation, mode, which set, prompt
for k, one in enumerate(relations):
    held: dict[Mode, list[str]] = {"raw": list(one.held_out.raw), "chat": list(one.held_out.questions)}
    own: dict[Mode, list[str]] = {"raw": list(one.raw), "chat": list(one.questions)}
    more = further.get(one.id, {"raw": [], "questions": []})
    for mode, key in (("raw", "raw"), ("chat", "questions")):
        rows += [(k, mode, "bank", form.replace("{s}", person())) for form in own[mode]]
        added = [form for form in more[key] if not too_near(form, held[mode])]
        rows += [(k, mode, "further", form.replace("{s}", person())) for form in added]
        rows += [(k, mode, "test", form.replace("{s}", person())) for form in held[mode] for _ in range(TESTED_WITH)]
for k, other in enumerate(others, len(relations)):
    for mode, key in (("raw", "raw"), ("chat", "questions")):
        rows += [(k, mode, "further", form.replace("{s}", person())) for form in other[key]]

relation, kind = np.array([row[0] for row in rows]), np.array([row[2] for row in rows])
chat = np.array([row[1] == "chat" for row in rows])
sequences = [backend.encode(prompt, mode).tokens for _, mode, _, prompt in rows]
ends = [(len(tokens) - 1,) for tokens in sequences]


def kept(X: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict[str, list[float]]:
    """By the kind of score, shares of own wordings over the thresholds that let .01, .02, .05 and .10 of the others through."""
    known = np.unique(relation[train])
    of = np.searchsorted(known, relation[train])
    metric = metric_within(X[train], of)
    mean, ways = linear_readers(X[train], of, len(known), metric)
    T = X[test] - mean
    linear = T @ ways
    cosine = linear / np.sqrt(((T @ metric) * T).sum(1, keepdims=True))
    own = relation[test][:, None] == known[None]
    asked = known[None] < len(relations)
    return {
        kind: [float((scores[own] > np.quantile(scores[~own & asked], 1 - share)).mean()) for share in (0.01, 0.02, 0.05, 0.1)]
        for kind, scores in (("cosine", cosine), ("linear", linear), ("competing", linear - log_sum(linear)))
    }


print("layer, mode, wordings, score: kept at .01 / .02 / .05 / .10 of others let through")
for layer in layers:
    states = backend.stream(sequences, layer, ends).astype(np.float64)
    states /= np.sqrt((states**2).mean(1, keepdims=True))
    for mode in ("chat", "raw"):
        here = chat == (mode == "chat")
        for name, sets in (("bank's", ["bank"]), ("bank's and further", ["bank", "further"])):
            for score, shares in kept(states, here & np.isin(kind, sets), here & (kind == "test")).items():
                print(f"{layer}, {mode}, {name}, {score}: " + " / ".join(f"{share:.2f}" for share in shares), flush=True)
