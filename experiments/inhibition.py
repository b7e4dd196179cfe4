"""A memory taken back where something else is asked: a second unit, at the prompt's last token.

What a memory says at its subject's last token reaches the end of the prompt whatever is asked. There, at layer 22, each fact
gets a unit for each mode, gate and up, that says *my memory acts, and my relation is not what is asked*:

    a(x) = step(g·x) (u·x)      h = h + a(x) v      x the input of the MLP at the prompt's last token, and nowhere else

g is from a squared hinge (see `Gates.unit`), u from LDA: this memory's prompts against other memories'. v is searched, on
training wordings of other relations, to bring the answers back to those of the base. A gate has to know how prompts' ends
move with the relation and the wording; so forty memories, one of each relation, are asked about everything (`others`). Then
`tell` tells invented facts, and asks for them and for other relations, without the units and with all of them.

The gates are evaluated outside of the model, at the prompt's last token alone.

    python experiments/inhibition.py others|tell [--out FOLDER] [--seed 154]
"""

import argparse
import dataclasses
import pickle
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from competing_readers import shrunk
from further_wordings import further_wordings, too_near
from greedy import greedy, padded
from numpy.typing import NDArray

from memctl.backends.factory import open_backend
from memctl.backends.protocol import PRISTINE, Row, Trial
from memctl.deltas import Composition
from memctl.editing.cues import all_cues, measuring_cues, probes, relation_of
from memctl.editing.edit import find_traces, solve
from memctl.editing.relations import bank
from memctl.editing.subjects import seeded
from memctl.editing.values import Subject
from memctl.evaluation.invented import SIX, invented_facts
from memctl.evaluation.recall import position
from memctl.facts import Fact, Mode
from memctl.progress import silent
from memctl.settings import load_settings

Array = NDArray[Any]

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("part", choices=["others", "tell"])
parser.add_argument("--out", type=Path, default=Path("inhibition"), help="what one part leaves for the other")
parser.add_argument("--memories", type=int, default=40, help="of the others")
parser.add_argument("--facts", type=int, default=24)
parser.add_argument("--seed", type=int, default=154)
parser.add_argument("--threshold", type=float, default=0.5, help="of a gate's score, 1 where it should open, 0 elsewhere")
parser.add_argument("--scale", type=float, default=1.2, help="of what a unit writes")
given = parser.parse_args()

LAYER, STEPS, BOUND, ROWS, OTHERS_SEED = 22, 25, 10.0, 4, 171
MODES: tuple[Mode, ...] = ("raw", "chat")
LONGEST: dict[Mode, int] = {"raw": 12, "chat": 20}

settings = load_settings({"backend": "torch"}).settings
backend: Any = open_backend(settings, None, silent)
people = [relation for relation in bank().values() if "person" in relation.about]
number = {relation.id: k for k, relation in enumerate(people)}


@dataclasses.dataclass(frozen=True)
class Asked:
    """A prompt about a fact's subject: what is asked (a number in `people`), and what for it is here."""

    fact: int
    relation: int
    mode: Mode
    prompt: str
    kind: str

    @property
    def tokens(self) -> tuple[int, ...]:
        found: tuple[int, ...] = backend.encode(self.prompt, self.mode).tokens
        return found


def memories(facts: Sequence[Fact]) -> Composition:
    started = time.monotonic()
    found = find_traces(backend, [Subject(fact.subject, (fact,)) for fact in facts], settings.edit, silent)
    deltas = solve(backend, [one.trace for one in found], settings.edit, silent)
    print(f"{len(facts)} memories: {time.monotonic() - started:.0f} s", flush=True)
    return Composition(tuple((delta, 1.0) for delta in deltas))


def ends(asked: Sequence[Asked], memory: Composition) -> Array:
    """(n, d) inputs of layer LAYER's MLP at the prompts' last tokens."""
    tokens = [one.tokens for one in asked]
    found = []
    for begin in range(0, len(tokens), 256):
        part = tokens[begin : begin + 256]
        found.append(backend.activations(part, LAYER, [(len(one) - 1,) for one in part], memory).inputs)
    return np.concatenate(found)


def about_everything(facts: Sequence[Fact]) -> list[Asked]:
    """All training wordings of each fact's own relation, the further ones too, and two of each other relation."""
    further, random, found = further_wordings(more=True), seeded("inhibition"), []
    for k, fact in enumerate(facts):
        own = number[relation_of(fact).id]
        found += [Asked(k, own, cue.mode, cue.prompt, "own") for cue in all_cues(fact)]
        for q, relation in enumerate(people):
            more = further.get(relation.id, {"raw": [], "questions": []})
            for mode, bank_, others, held in (
                ("raw", relation.raw, more["raw"], relation.held_out.raw),
                ("chat", relation.questions, more["questions"], relation.held_out.questions),
            ):
                forms = [*bank_, *(form for form in others if not too_near(form, held))]
                some = random.permutation(len(forms))[: 12 if q == own else 2]
                found += [Asked(k, q, mode, forms[j].replace("{s}", fact.subject), "other") for j in some]
    return found


def others() -> None:
    facts = invented_facts(given.memories, OTHERS_SEED, relations=[relation.id for relation in people])
    memory, asked = memories(facts), about_everything(facts)
    (given.out / "others.pickle").write_bytes(pickle.dumps((asked, ends(asked, memory), ends(asked, PRISTINE))))
    print(f"{len(asked)} prompts")


def hinge(X: Array, y: Array, weights: Array, ridge: float = 0.03, margin: float = 0.35, rounds: int = 12) -> Array:
    """(d + 1,) a score of at least 1 − margin where y is 1, of at most margin where it is 0; Newton on the squared hinge."""
    Z = np.c_[X, np.ones(len(X))]
    target = np.where(y == 1, 1 - margin, margin)
    score = np.where(y == 1, -np.inf, np.inf)
    R = ridge * np.eye(Z.shape[1])
    R[-1, -1] = 1e-8
    for _ in range(rounds):
        off = np.where(y == 1, score < target, score > target)
        weighted = Z[off] * weights[off, None]
        found: Array = np.linalg.solve(weighted.T @ Z[off] + R, weighted.T @ target[off])
        score = Z @ found
    return found


class Gates:
    """Of one mode: what the other memories tell, and with it the units of a fact."""

    def __init__(self, asked: Sequence[Asked], states: Array, pristine: Array, mode: Mode) -> None:
        here = np.array([one.mode == mode for one in asked])
        self.states, self.pristine = states[here].astype(np.float64), pristine[here].astype(np.float64)
        self.relation = np.array([one.relation for one in asked])[here]
        fact = np.array([one.fact for one in asked])[here]
        self.moves = self.states.copy()
        for k in np.unique(fact):
            self.moves[fact == k] -= self.states[fact == k].mean(0)
        self.mean = np.concatenate([self.states, self.pristine]).mean(0)
        between = self.states - self.mean
        self.metric = np.linalg.inv(shrunk((self.moves.T @ self.moves + between.T @ between) / (2 * len(between))))
        self.centre, self.width = self.states.mean(0), float(self.states.std(0).mean())
        self.random = np.random.default_rng(0)

    def some(self, states: Array, most: int) -> Array:
        found: Array = states[self.random.permutation(len(states))[:most]]
        return found

    def unit(self, own: Array, other: Array, relation: int) -> tuple[Array, Array]:
        """The gate (d + 1,) and the up (d,) of a fact, from its states where it is asked for (n, d), and where others are.

        Both are moved as other memories' states move from wording to wording and from relation to relation.
        """
        middle = other.mean(0)
        asks = self.relation == relation
        kinds = [
            (other, 1, 0.5),
            (middle + self.some(self.moves[~asks], 1500), 1, 0.5),
            (own, 0, 4.0),
            (middle + self.moves[asks], 0, 4.0),
            (np.concatenate([self.some(self.states, 2500), self.some(self.pristine, 1500)]), 0, 40.0),
        ]
        X = np.concatenate([part for part, _, _ in kinds])
        y = np.concatenate([np.full(len(part), wanted) for part, wanted, _ in kinds])
        weights = np.concatenate([np.full(len(part), weight / len(part)) for part, _, weight in kinds])
        up = self.metric @ (middle - self.mean)
        return hinge((X - self.centre) / self.width, y, weights), up / (up @ (middle - self.mean))

    def act(self, states: Array, gates: Array, ups: Array) -> Array:
        """(n, facts) activations, of gates (d + 1, facts) and ups (d, facts)."""
        scores = np.c_[(states - self.centre) / self.width, np.ones(len(states))] @ gates
        who = np.clip(1.1 * (states - self.mean) @ ups - 0.1, -0.2, 1.2)
        found: Array = np.clip((scores - given.threshold) / 0.15, 0, 1) * who
        return found


def taken_back(asked: Sequence[Asked], facts: Sequence[Fact], memory: Composition) -> Array:
    """(facts, d) what brings the answers to probes back to the base's: 14 probes of a fact where it bleeds, ten others."""
    random, chosen = np.random.default_rng(3), []
    said = answers(asked, memory)
    for k, fact in enumerate(facts):
        of = [j for j, one in enumerate(asked) if one.fact == k]
        bled = [j for j in of if position(said[j], fact.object) >= 0]
        rest = [j for j in of if j not in set(bled)]
        chosen.append([*random.permutation(bled)[:14].astype(int), *random.permutation(rest)[:10].astype(int)])
    flat = [j for own in chosen for j in own]
    most = [14 if asked[j].mode == "chat" else 8 for j in flat]
    with backend.attached(PRISTINE):
        base = dict(zip(flat, backend.generate([asked[j].tokens for j in flat], most), strict=True))

    def row(j: int) -> Row:
        prompt = asked[j].tokens
        tokens, end = prompt + tuple(base[j]), len(prompt) - 1
        return Row(tokens, (end,), tuple(range(end, max(end + 1, len(tokens) - 1))), to_base=True)

    rows = [[row(j) for j in own] for own in chosen]
    pristine, problem = backend.value_problem(rows, LAYER), backend.value_problem(rows, LAYER, memory)
    problem.subjects = [  # held to the base, not to the base with the memory
        [dataclasses.replace(part, base=clean.base) for part, clean in zip(own, held, strict=True)]
        for own, held in zip(problem.subjects, pristine.subjects, strict=True)
    ]
    texts = [asked[j].tokens for j in flat[:60]]
    keys = backend.activations(texts, LAYER, [range(1, len(text)) for text in texts]).keys
    norm = float(np.linalg.norm(keys @ backend.mlp_weights(LAYER)["down"].T, axis=1).mean())
    started = time.monotonic()
    found = np.zeros((len(facts), backend.shape.hidden), np.float32)
    mean, square = np.zeros((2, *found.shape))
    for step in range(STEPS):
        length = 0.8 * norm * (0.1 + 0.45 * (1 + np.cos(np.pi * step / STEPS)))
        for part in np.array_split(np.arange(len(facts)), -(-len(facts) // 8)):
            trials = []
            for k in part:
                some = random.permutation(len(rows[k]))[:ROWS]
                even = np.ones(len(some), np.float32)
                trials.append(Trial(int(k), some, found[k], even / len(some), even))
            for k, gradient in zip(part, problem.evaluate(trials), strict=True):
                mean[k] = 0.9 * mean[k] + 0.1 * gradient.gradient
                square[k] = 0.99 * square[k] + 0.01 * gradient.gradient**2
                way = mean[k] / (np.sqrt(square[k] / (1 - 0.99 ** (step + 1))) + 1e-12)
                value = found[k] - (length * way / np.linalg.norm(way)).astype(np.float32)
                found[k] = value * min(1.0, BOUND * norm / float(np.linalg.norm(value)))
    print(f"what takes back: {(time.monotonic() - started) / len(facts):.1f} s a fact", flush=True)
    return found


def batches(asked: Sequence[Asked]) -> Iterator[list[int]]:
    for mode in MODES:
        order = sorted((k for k, one in enumerate(asked) if one.mode == mode), key=lambda k: len(asked[k].tokens))
        yield from (order[begin : begin + 48] for begin in range(0, len(order), 48))


def answers(asked: Sequence[Asked], memory: Composition, added: Array | None = None) -> list[str]:
    """Greedy answers, with `added` (n, d) to what LAYER's MLP says at each prompt's last token."""
    said = [""] * len(asked)
    for part in batches(asked):
        ids, mask = padded([asked[k].tokens for k in part])

        def act(module: Any, inputs: Any, output: Any, part: list[int] = part) -> Any:
            if added is not None and output.shape[1] > 1:  # the pass over the prompts
                output = output.clone()
                output[:, -1] += torch.tensor(added[part]).to(output.dtype)
            return output

        hook = backend.layout.layers[LAYER].mlp.register_forward_hook(act)
        with backend.attached(memory):
            found = greedy(backend, ids, mask, LONGEST[asked[part[0]].mode])
        hook.remove()
        for k, text in zip(part, found, strict=True):
            said[k] = text
    return said


def tell() -> None:
    told = pickle.loads((given.out / "others.pickle").read_bytes())
    facts = invented_facts(given.facts, given.seed, relations=SIX)
    memory = memories(facts)
    fitted, measured = [], []
    for k, fact in enumerate(facts):
        own, cues = number[relation_of(fact).id], measuring_cues(fact)
        fitted += [Asked(k, own, cue.mode, cue.prompt, "own") for cue in all_cues(fact)]
        fitted += [Asked(k, number[one.relation], one.mode, one.prompt, "other") for one in probes(fact.subject, (fact,), 99)]
        measured += [Asked(k, own, cue.mode, cue.prompt, "told") for cue in cues.plain]
        measured += [Asked(k, own, cue.mode, cue.prompt, "new") for cue in cues.unseen]
        held = probes(fact.subject, (fact,), 12, held_out=True)
        measured += [Asked(k, number[one.relation], one.mode, one.prompt, "bleed") for one in held]
    values = taken_back([one for one in fitted if one.kind == "other"], facts, memory)
    known, seen = ends(fitted, memory), ends(measured, memory)
    acting = np.zeros((len(measured), len(facts)))
    for mode in MODES:
        gates = Gates(*told, mode)
        units = []
        for k, fact in enumerate(facts):
            of = {
                kind: known[[one.fact == k and one.mode == mode and one.kind == kind for one in fitted]]
                for kind in ("own", "other")
            }
            units.append(gates.unit(of["own"], of["other"], number[relation_of(fact).id]))
        here = [one.mode == mode for one in measured]
        acting[here] = gates.act(seen[here], *(np.stack(part, 1) for part in zip(*units, strict=True)))
    before = answers(measured, PRISTINE)
    mine = acting[np.arange(len(measured)), [one.fact for one in measured]]
    for name, added in (("without", None), ("with", (given.scale * acting @ values).astype(np.float32))):
        after = answers(measured, memory, added)
        for mode in MODES:
            for kind in ("told", "new", "bleed"):
                of_kind = [j for j, one in enumerate(measured) if (one.mode, one.kind) == (mode, kind)]
                thing = [facts[measured[j].fact].object for j in of_kind]
                hits = [
                    position(after[j], o) >= 0 and (kind != "bleed" or position(before[j], o) < 0)
                    for j, o in zip(of_kind, thing, strict=True)
                ]
                own_unit, rest = mine[of_kind].mean(), (np.abs(acting[of_kind]).sum(1) - np.abs(mine[of_kind])).mean()
                print(
                    f"{name}: {mode}, {kind} {np.mean(hits):.3f} of {len(hits)}; "
                    f"the fact's own unit {own_unit:.2f}, all others' together {rest:.3f}",
                    flush=True,
                )


given.out.mkdir(parents=True, exist_ok=True)
others() if given.part == "others" else tell()
