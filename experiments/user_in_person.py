"""The user in person ("I live in Porto", "Where do I live?"): can a memory act where the answer to a question begins?

Two readers at the last token of a chat prompt, and a value that acts there if both agree. States x are inputs of a layer's
MLP of length √d. The relation's readers are linear and compete: the mean state of the user's own questions in it, against the
mean of all his questions, in the metric of what wordings move within a class of question (LDA with shrinkage), less the soft
maximum of all relations' scores. The other reader knows whom a question is about: the user, somebody else, the model, nobody
(multinomial logistic regression).

    memory (r, v) acts at x   where   s_r(x) − (1/τ) log Σ_q exp(τ s_q(x)) > θ,  log p(user | x) > φ

θ and φ are taken from the training wordings, five folds of them, by the shares of other questions that they let through. The
wordings are the bank's of the first person, those of the third person put into the first by rule, and the same asked about
the model. The gates are evaluated outside of the model.

    python experiments/user_in_person.py readers|tell [--layers 14,20,24] [--seed 401]
"""

import argparse
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from competing_readers import linear_readers, log_sum, metric_within
from first_person_wordings import of_the_model
from scipy.optimize import minimize
from transformers import DynamicCache
from user_questions import RELATIVES, Question, general, questions

from memctl.backends.factory import open_backend
from memctl.backends.protocol import Row, Trial
from memctl.editing.relations import bank
from memctl.editing.subjects import names, seeded
from memctl.evaluation.recall import position
from memctl.progress import silent
from memctl.settings import load_settings

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("part", choices=["readers", "tell"])
parser.add_argument("--layers", default="24", help="to read; `tell` takes the last")
parser.add_argument("--out", type=Path, default=Path("user-in-person"), help="where states are kept, layer by layer")
parser.add_argument("--seed", type=int, default=401)
parser.add_argument("--facts", type=int, default=20)
parser.add_argument("--let", type=float, default=0.005, help="share of the user's other questions that a relation lets through")
parser.add_argument("--others", type=float, default=0.05, help="share of all others' questions that the person's reader does")
parser.add_argument("--steps", type=int, default=32)
given = parser.parse_args()
layers = [int(layer) for layer in given.layers.split(",")]

RIDGE, FOLDS = 1e-4, 5
ABOUT = ("user", "other", "model", "nobody")

backend: Any = open_backend(load_settings({"backend": "torch"}).settings, None, silent)


def states_of(asked: list[Question], layer: int) -> np.ndarray:
    """(n, d) float64 states at the last tokens, as kept from an earlier run with the same questions."""
    given.out.mkdir(parents=True, exist_ok=True)
    kept, key = given.out / f"{layer}.npz", msgspec.json.encode(asked)
    if kept.exists() and (found := np.load(kept))["key"].tobytes() == key:
        states = found["states"]
    else:
        tokens = [backend.encode(one.text, "chat").tokens for one in asked]
        states = backend.activations(tokens, layer, [(len(one) - 1,) for one in tokens]).inputs
        np.savez(kept, states=states, key=np.frombuffer(key, np.uint8))
    return of_one_length(states)


def of_one_length(states: np.ndarray) -> np.ndarray:
    states = states.astype(np.float64)
    return states / np.sqrt((states**2).mean(-1, keepdims=True))


class Readers:
    """The readers of all relations, and the one of whom a question is about, fitted to states (n, d) and their questions."""

    def __init__(self, states: np.ndarray, asked: list[Question]) -> None:
        classes, of = np.unique([f"{one.about}|{one.relation}" for one in asked], return_inverse=True)
        metric = metric_within(states, of)
        own = np.flatnonzero(np.char.startswith(classes, "user"))
        mine = np.isin(of, own)
        self.mean, self.ways = linear_readers(states[mine], np.searchsorted(own, of[mine]), len(own), metric)
        names = [str(name) for name in classes[own]]
        self.relations = {name.removeprefix("user|"): k for k, name in enumerate(names) if name.startswith("user|")}
        self.white, self.center = np.linalg.cholesky(metric) / np.sqrt(len(metric)), states.mean(0)
        whom = whom_of(asked)
        even = np.array([0.25 / (whom == k).sum() for k in range(len(ABOUT))])[whom]
        self.whom = _logistic(self._whitened(states), whom, even)

    def _whitened(self, states: np.ndarray) -> np.ndarray:
        return np.c_[(states - self.center) @ self.white, np.ones(len(states))]

    def __call__(self, states: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Each relation's scores (n,), and the log probabilities (n,) that the user is asked about."""
        s = (states - self.mean) @ self.ways
        s -= log_sum(s)
        whom = self._whitened(states) @ self.whom
        return {key: s[:, k] for key, k in self.relations.items()}, whom[:, 0] - np.logaddexp.reduce(whom, axis=1)


def of_user(asked: list[Question]) -> np.ndarray:
    return np.array([one.about.startswith("user") for one in asked])


def whom_of(asked: list[Question]) -> np.ndarray:
    return np.array([ABOUT.index(one.about.partition(",")[0]) for one in asked])


def _logistic(X: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(d, classes) weights of a multinomial logistic regression."""
    one_hot = np.eye(y.max() + 1)[y]

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        V = w.reshape(X.shape[1], -1)
        log_p = X @ V
        log_p -= np.logaddexp.reduce(log_p, axis=1)[:, None]
        value = -float((weights * log_p[np.arange(len(y)), y]).sum()) + RIDGE * float(w @ w)
        return value, (X.T @ (weights[:, None] * (np.exp(log_p) - one_hot)) + 2 * RIDGE * V).ravel()

    start = np.zeros(X.shape[1] * one_hot.shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return found.x.reshape(X.shape[1], -1)


def thresholds(states: np.ndarray, asked: list[Question], let: float, others: float) -> tuple[float, float]:
    """θ and φ that let these shares through, of questions that the readers of their fold were not trained on."""
    fold, user = seeded("folds").integers(FOLDS, size=len(asked)), of_user(asked)
    relation = np.array([one.relation for one in asked])
    own, not_user = [], []
    for k in range(FOLDS):
        rest, here = fold != k, fold == k
        scores, person = Readers(states[rest], [one for one, stays in zip(asked, rest, strict=True) if stays])(states[here])
        own += [scores[key][user[here] & (relation[here] != key)] for key in scores]
        not_user.append(person[~user[here]])
    return float(np.quantile(np.concatenate(own), 1 - let)), float(np.quantile(np.concatenate(not_user), 1 - others))


def report_readers() -> None:
    asked = questions()
    own = sum(one.about == "user" for one in asked)
    print(f"{len(asked)} questions, {own} of the user's about himself in {len(relations_in(asked))} relations")
    print("layer, let through: kept / the user's other relations / unknown / others, same / others, other / nobody / the model")
    for layer in layers:
        states, held = states_of(asked, layer), np.array([one.held_out for one in asked])
        trained = [one for one in asked if not one.held_out]
        scores, person = Readers(states[~held], trained)(states[held])
        tested = [one for one in asked if one.held_out]
        relation, about = np.array([one.relation for one in tested]), np.array([one.about for one in tested])
        for let, others in ((0.002, 0.05), (0.005, 0.05), (0.01, 0.05), (0.005, 0.02)):
            cut, cut_person = thresholds(states[~held], trained, let, others)
            masks: dict[str, list[np.ndarray]] = {}
            for key, score in scores.items():
                acts, same = (score > cut) & (person > cut_person), relation == key
                for what, where in (
                    ("kept", same & (about == "user")),
                    ("other", ~same & (about == "user")),
                    ("unknown", about == "user, unknown relation"),
                    ("same of others", same & (about == "other")),
                    ("others", ~same & (about == "other")),
                    ("nobody", about == "nobody"),
                    ("model", about == "model"),
                ):
                    masks.setdefault(what, []).append(acts[where])
            shares = [f"{np.concatenate(found).mean():.3f}" for found in masks.values()]
            print(f"{layer}, {let}, {others}: " + " / ".join(shares), flush=True)


def relations_in(asked: list[Question]) -> list[str]:
    return sorted({one.relation for one in asked if one.about == "user"})


def _held_out(relation: str) -> tuple[str, ...]:
    user = bank()[relation].first_person
    return user.held_out.questions if user else ()


class Telling:
    """Invented facts of the user's, a value for each, and gates that are evaluated while the model answers."""

    def __init__(self) -> None:
        asked, self.layer = questions(), layers[-1]
        states, trained = states_of(asked, self.layer), [not one.held_out for one in asked]
        own = [one for one in asked if not one.held_out]
        self.readers = Readers(states[trained], own)
        self.cuts = thresholds(states[trained], own, given.let, given.others)
        draw = seeded("the user's facts", given.seed)
        known = relations_in(asked)
        self.facts = [
            (known[k], str(draw.choice(bank()[known[k]].objects))) for k in draw.permutation(len(known))[: given.facts]
        ]
        self.wordings = {key: [one.text for one in own if one.relation == key and one.about == "user"] for key, _ in self.facts}
        texts = [backend.encode(one.text, "chat").tokens for one in own[:40]]
        seen = backend.activations(texts, self.layer, [range(1, len(text)) for text in texts])
        self.norm = float(np.linalg.norm(seen.keys @ backend.mlp_weights(self.layer)["down"].T, axis=1).mean())
        self.values = np.zeros((len(self.facts), backend.shape.hidden), np.float32)

    def rows(self, relation: str, thing: str) -> list[Row]:
        """The bank's questions and eight others, with the answer that the base finds likeliest but for its tokens' number."""
        user = bank()[relation].first_person
        assert user is not None
        more = self.wordings[relation][len(user.questions) :]
        texts = [*user.questions, *(more[k] for k in seeded("cues", relation).permutation(len(more))[:8])]
        found = []
        for form in user.answer:
            rows = []
            for text in texts:
                asked = backend.encode(text, "chat").tokens
                whole = backend.encode(text, "chat", form.replace("{o}", thing)).tokens
                end = next((k for k, (a, b) in enumerate(zip(asked, whole, strict=False)) if a != b), len(asked)) - 1
                rows.append(Row(whole, (end,), tuple(range(end, len(whole) - 1))))
            found.append((float(backend.score([rows[0].tokens]).nll[-len(rows[0].predict) :].mean()), rows))
        return min(found, key=lambda one: one[0])[1]

    def search(self) -> None:
        """The values, ten at a time, by Adam."""
        started = time.monotonic()
        for begin in range(0, len(self.facts), 10):
            part = range(begin, min(begin + 10, len(self.facts)))
            rows = [self.rows(*self.facts[k]) for k in part]
            problem = backend.value_problem(rows, self.layer)
            mean, square = np.zeros((2, len(part), backend.shape.hidden))
            draws = [seeded("the user's value", given.seed, k) for k in part]
            for step in range(given.steps):
                trials = []
                for i, k in enumerate(part):
                    drawn = draws[i].permutation(len(rows[i]))[:3]
                    trials.append(Trial(i, drawn, self.values[k], np.full(3, 1 / 3, np.float32), np.ones(3, np.float32)))
                for i, found in enumerate(problem.evaluate(trials)):
                    mean[i] = 0.9 * mean[i] + 0.1 * found.gradient
                    square[i] = 0.99 * square[i] + 0.01 * found.gradient**2
                    way = mean[i] / (np.sqrt(square[i] / (1 - 0.99 ** (step + 1))) + 1e-12)
                    length = 0.8 * self.norm * (0.1 + 0.45 * (1 + np.cos(np.pi * step / given.steps)))
                    value = self.values[part[i]] - (length * way / np.linalg.norm(way)).astype(np.float32)
                    self.values[part[i]] = value * min(1.0, 10 * self.norm / float(np.linalg.norm(value)))
        print(f"values: {(time.monotonic() - started) / len(self.facts):.1f} s a fact", flush=True)

    def acting(self, inputs: np.ndarray, how: str) -> list[int]:
        """Which facts act at an input (d,) of the layer's MLP: all whose gates are open, or the best of them."""
        scores, person = self.readers(of_one_length(inputs[None]))
        own = np.array([scores[relation][0] for relation, _ in self.facts])
        is_open = (own > self.cuts[0]) & (person[0] > self.cuts[1])
        if how == "best" and is_open.any():
            is_open &= own == own[is_open].max()
        return np.flatnonzero(is_open).tolist()

    @torch.inference_mode()
    def ask(self, text: str, how: str | list[int]) -> tuple[str, list[int]]:
        """The greedy answer, and which facts acted; `how` may name these."""
        mlp, opened, seen = backend.layout.layers[self.layer].mlp, [], []

        def act(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
            if seen:
                return output
            seen.append(True)
            opened.extend(self.acting(inputs[0][0, -1].float().numpy(), how) if isinstance(how, str) else how)
            output = output.clone()
            output[0, -1] += torch.tensor(self.values[opened].sum(0)).to(output.dtype)
            return output

        hook, cache, reply = mlp.register_forward_hook(act), DynamicCache(), []
        current = torch.tensor([backend.encode(text, "chat").tokens])
        try:
            for _ in range(18):
                last = backend.model.base_model(input_ids=current, cache=cache, use_cache=True).last_hidden_state[:, -1]
                token = int(backend.model.get_output_embeddings()(last).argmax(-1))
                if token in backend._ends:
                    break
                reply.append(token)
                current = torch.tensor([[token]])
        finally:
            hook.remove()
        return backend.decode(reply), opened

    def report(self) -> None:
        hits: dict[str, list[bool]] = {}

        def note(kind: str, **found: bool) -> None:
            for what, hit in found.items():
                hits.setdefault(f"{kind}: {what.replace('_', ' ')}", []).append(bool(hit))

        for k, (relation, thing) in enumerate(self.facts):
            user = bank()[relation].first_person
            assert user is not None
            for kind, texts in (("told", user.questions[:1]), ("new", user.held_out.questions)):
                for text in texts:
                    said, opened = self.ask(text, "all")
                    note(
                        kind,
                        own_gate_open=k in opened,
                        another_open=bool({*opened} - {k}),
                        all_open_act=position(said, thing) >= 0,
                    )
                    best, _ = self.ask(text, "best")
                    note(kind, best_acts=position(best, thing) >= 0, by_hand=position(self.ask(text, [k])[0], thing) >= 0)
                    if position(best, thing) < 0:
                        print(f"missed ({thing}): {text} → {best!r}")
        chosen = {relation for relation, _ in self.facts}
        draw = seeded("others", given.seed)
        asked = [("the user's other relations", text) for key in bank() if key not in chosen for text in _held_out(key)]
        for relation, _ in self.facts:
            for text in bank()[relation].held_out.questions[:2]:
                pool = names()
                name, relative = f"{draw.choice(pool.first)} {draw.choice(pool.last)}", f"my {draw.choice(RELATIVES)}"
                who = name if draw.integers(2) else relative
                asked.append(("others, same relations", text.replace("{s}", who)))
        asked += [("general", text) for text in general()]
        asked += [("the model", of_the_model(text)) for key, _ in self.facts for text in _held_out(key)]
        for kind, text in asked:
            tokens = backend.encode(text, "chat").tokens
            inputs = backend.activations([tokens], self.layer, [(len(tokens) - 1,)]).inputs[0]
            base = self.ask(text, [])[0] if self.acting(inputs, "all") else ""
            for how in ("all", "best"):
                said = self.ask(text, how)[0] if base else ""  # where no gate is open, the base answers
                bled = any(position(said, thing) >= 0 > position(base, thing) for _, thing in self.facts)
                note(kind, **{f"stored_object,_{how}": bled, f"same,_{how}": said == base})
                if bled and how == "best":
                    print(f"{kind}: {text} → {said!r}")
        for what, found in hits.items():
            print(f"{what}: {np.mean(found):.3f} of {len(found)}")


if __name__ == "__main__":
    if given.part == "readers":
        report_readers()
    else:
        telling = Telling()
        telling.search()
        telling.report()
