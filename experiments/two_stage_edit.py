"""Facts in two stages: a mark at the subject's last token, and a value where the answer begins.

Today a memory is one vector at its subject's last token, which answers whatever is asked there. Here the units of layer 14
write a *mark* instead, a code of its own that attention carries to the end of the prompt; and a gate at layer 24 opens
where the stream shows both the code and the fact's relation. What it opens for is the fact's value, searched for at that place.

    v_s = a (m₀ + A z_s)           the mark, z_s (K,) a random unit vector of the subject
    B h ≈ z_s                      what is read of it at layer 22, h the whitened input of its MLP; 0 where nobody is known
    fact (s, r) acts at h   where   z_s · B₂₄ h > support,  g_r(h) > 0,  and no other fact of s scores higher

A, m₀, B are trained once for a base (`channel`), the relations' readers g_r too (`readers`, see `competing_readers`), B₂₄ is
fitted with them. Then `tell` tells invented facts and asks for them. The marks act through real units; the gates of layer 24
are evaluated outside of the model.

    python experiments/two_stage_edit.py channel|readers|tell [--out FOLDER]
"""

import argparse
import pickle
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from competing_readers import fit, mixed, out_of_fold
from further_wordings import further_wordings, too_near
from greedy import greedy, padded
from torch import Tensor
from transformers import DynamicCache

from memctl.backends.factory import open_backend
from memctl.backends.protocol import Row, Trial
from memctl.deltas import Composition
from memctl.editing.cues import answers, measuring_cues, relation_of, training_cues
from memctl.editing.edit import _at_subject, _by_mode
from memctl.editing.first_guess import first_guess
from memctl.editing.relations import bank
from memctl.editing.selectors import fit_selector
from memctl.editing.solve import Trace, solve_units
from memctl.editing.statistics import statistics
from memctl.editing.subjects import names, seeded, sites
from memctl.editing.values import natural_answer, target_row
from memctl.evaluation.invented import facts_on_each, invented_facts
from memctl.evaluation.locality import other_relations
from memctl.evaluation.recall import position
from memctl.progress import silent
from memctl.settings import load_settings

parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
parser.add_argument("part", choices=["channel", "readers", "tell"])
parser.add_argument("--out", type=Path, default=Path("two-stage"), help="what one part leaves for the next")
parser.add_argument("--minutes", type=float, default=45, help="most, of the training of a channel")
parser.add_argument("--go-on", action="store_true", help="with the last phase of the training, from what is there")
parser.add_argument("--more", action="store_true", help="readers that know the wordings of more_wordings.json, too")
parser.add_argument("--facts", type=int, default=24)
parser.add_argument("--each", type=int, default=1, help="facts on each person")
parser.add_argument("--seed", type=int, default=153)
parser.add_argument(
    "--let", type=float, default=0.1, help="share of other relations' held-out prompts that a gate lets through"
)
parser.add_argument("--support", type=float, default=0.3, help="of the code")
parser.add_argument("--steps", type=int, default=32)
given = parser.parse_args()

MARKED, READ, GATE, CODE = 14, 22, 24, 64
PHASES = (
    (450, 16, 0.02, 1, 0.0, 0.0),
    (260, 16, 0.015, 1, 0.3, 0.0),
    (230, 14, 0.012, 3, 0.3, 0.12),
    (560, 14, 0.015, 3, 0.5, 0.4),
)
"""Steps, rows of each mode, rate, positions whose KL to the base is taken, its weight, the weight of all else that is moved."""

settings = load_settings({"backend": "torch"}).settings
backend: Any = open_backend(settings, None, silent)
layers, width = backend.layout.layers, backend.shape.hidden
opening = backend._chat_begins
people = [relation for relation in bank().values() if "person" in relation.about]


@dataclass(frozen=True)
class Line:
    """A prompt about somebody, with what the base answers; `end` is the prompt's last token, `wording` has no name in it."""

    wording: str
    tokens: tuple[int, ...]
    sites: tuple[int, ...]
    relation: int
    mode: str
    end: int
    held_out: bool


@dataclass
class Channel:
    """A (d, K), m₀ (d,), B (K, d), and what whitens the input of layer READ's MLP: its mean and a (d, d) map."""

    A: Tensor
    start: Tensor
    B: Tensor
    mean: Tensor
    white: Tensor
    length: float

    def mark(self, code: Tensor) -> Tensor:
        return self.length * (self.start + code @ self.A.T)

    def read(self, inputs: Tensor) -> Tensor:
        return (inputs - self.mean) @ self.white @ self.B.T


def code_of(name: str) -> Tensor:
    found = torch.tensor(seeded("code", name).standard_normal(CODE), dtype=torch.float32)
    return found / found.norm()


def random_codes(count: int, random: np.random.Generator) -> Tensor:
    found = torch.tensor(random.standard_normal((count, CODE)), dtype=torch.float32)
    return found / found.norm(dim=1, keepdim=True)


def training_wordings() -> list[dict[str, list[str]]]:
    """Those of the bank, and the further ones that are not nearly a held-out one; then relations that the bank has not."""
    further, found = further_wordings(more=given.more), []
    for relation in people:
        more = further.get(relation.id, {"raw": [], "questions": []})
        raw = [text for text in more["raw"] if not too_near(text, relation.held_out.raw)]
        questions = [text for text in more["questions"] if not too_near(text, relation.held_out.questions)]
        found.append({"raw": [*relation.raw, *raw], "chat": [*relation.questions, *questions]})
    others = [one for key, one in further.items() if key not in bank() and "person" in one["about"]]
    return found + [{"raw": one["raw"], "chat": one["questions"]} for one in others]


def lines(wordings: list[dict[str, list[str]]], most: int, held_out: bool, answer: int) -> list[Line]:
    """So many wordings of each relation and mode, each with a person of its own, and so many tokens of the base's answer."""
    random = seeded("lines", most, held_out)
    pool = names()
    asked = []
    for mode in ("raw", "chat"):
        for k, own in enumerate(wordings):
            for j in random.permutation(len(own[mode]))[:most]:
                name = f"{random.choice(pool.first)} {random.choice(pool.last)}"
                asked.append((mode, k, own[mode][j], name))
    encodings = [backend.encode(form.replace("{s}", name), mode) for mode, _, form, name in asked]
    said = backend.generate([encoding.tokens for encoding in encodings], answer) if answer else [()] * len(asked)
    found = []
    for (mode, k, form, name), encoding, reply in zip(asked, encodings, said, strict=True):
        tokens = encoding.tokens + tuple(reply)
        places = [*sites(encoding, name), *ends_of(name, tokens, len(encoding.tokens))]
        if places:
            found.append(Line(form, tokens, tuple(places), k, mode, len(encoding.tokens) - 1, held_out))
    return found


def spelled(name: str) -> list[tuple[int, ...]]:
    return [tuple(backend.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (name, f" {name}")]


def ends_of(name: str, tokens: tuple[int, ...], begin: int) -> Iterator[int]:
    for at in range(begin, len(tokens)):
        if any(tokens[at + 1 - len(one) : at + 1] == one for one in spelled(name)):
            yield at


class Enough(Exception):
    """What is read of a pass is there."""


@contextmanager
def hooked(*hooks: Any) -> Iterator[None]:
    try:
        yield
    except Enough:
        pass
    finally:
        for hook in hooks:
            hook.remove()


def opened() -> list[tuple[Tensor, Tensor]]:
    cache = DynamicCache()
    with torch.no_grad():
        backend.model.base_model(input_ids=torch.tensor([opening]), past_key_values=cache, use_cache=True)
    return [(layer.keys, layer.values) for layer in cache.layers]


def run(
    batch: list[Line], marks: Tensor | None, begun: list[tuple[Tensor, Tensor]], to_the_end: bool, layer: int = READ
) -> tuple[Tensor, Tensor | None, int]:
    """Inputs (rows, T, d) of a layer's MLP, last states, and how many tokens stand before them; lines are of one mode."""
    before = len(opening) if batch[0].mode == "chat" else 0
    ids = torch.zeros(len(batch), max(len(line.tokens) for line in batch) - before, dtype=torch.long)
    acts = torch.zeros(*ids.shape, 1)
    for row, line in enumerate(batch):
        ids[row, : len(line.tokens) - before] = torch.tensor(line.tokens[before:])
        acts[row, [at - before for at in line.sites]] = 1
    cache = DynamicCache()
    if before:
        for layer, (keys, values) in enumerate(begun):
            cache.update(keys.clone().expand(len(batch), -1, -1, -1), values.clone().expand(len(batch), -1, -1, -1), layer)
    seen: dict[str, Tensor] = {}

    def add(module: Any, inputs: Any, output: Tensor) -> Tensor:
        return output if marks is None else output + (acts * marks[:, None]).to(output.dtype)

    def keep(module: Any, inputs: tuple[Tensor, ...]) -> None:
        seen["inputs"] = inputs[0].float()
        if not to_the_end:
            raise Enough

    with hooked(layers[MARKED].mlp.register_forward_hook(add), layers[layer].mlp.register_forward_pre_hook(keep)):
        seen["last"] = backend.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
    return seen["inputs"], seen.get("last"), before


def annealed(step: int, steps: int) -> float:
    return 0.1 + 0.45 * (1 + float(np.cos(np.pi * step / steps)))


def train_channel(own: list[Line], minutes: float, trained: Channel | None = None) -> Channel:
    """Trains A, m₀ and B so that the code is read where the prompt ends, and all else stays as the base has it."""
    random, begun = seeded("channel"), opened()
    norm = float(statistics(backend, MARKED, silent).output_norm[0])
    by_mode = {mode: [line for line in own if line.mode == mode] for mode in ("raw", "chat")}

    def drawn(mode: str, count: int) -> list[Line]:
        return [by_mode[mode][k] for k in random.integers(len(by_mode[mode]), size=count)]

    with torch.no_grad():
        pristine = []
        for mode in ("raw", "chat") * 5:
            batch = drawn(mode, 48)
            inputs, _, before = run(batch, None, begun, False)
            pristine.append(inputs[range(48), [line.end - before for line in batch]])
    X = torch.cat(pristine).double()
    C = torch.cov((X - X.mean(0)).T)
    C += 0.03 * torch.trace(C) / width * torch.eye(width)
    white = torch.linalg.cholesky(torch.linalg.inv(C)).float()
    first = torch.tensor(first_guess(backend, MARKED, norm, silent).guess)
    A = torch.nn.Parameter(torch.linalg.qr(torch.tensor(random.standard_normal((width, CODE))))[0].float())
    start = torch.nn.Parameter(first / first.norm() / 2)
    B = torch.nn.Parameter(torch.zeros(CODE, width))
    channel = Channel(A, start, B, X.mean(0).float(), white, 8 * norm)
    if trained is not None:
        A.data, start.data, B.data = trained.A.clone(), trained.start.clone(), trained.B.clone()
        channel = Channel(A, start, B, trained.mean, trained.white, trained.length)
    started = time.monotonic()
    for steps, rows, rate, picked, weight, still in PHASES[-1:] if trained else PHASES:
        optimizer = torch.optim.Adam([{"params": [A, start], "lr": rate / 24}, {"params": [B], "lr": rate / 50}])
        rates = [group["lr"] for group in optimizer.param_groups]
        for step in range(steps):
            if time.monotonic() - started > 60 * minutes:
                break
            for group, full in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = full * annealed(step, steps)
            optimizer.zero_grad()
            found = np.zeros(4)
            for mode in ("raw", "chat"):
                batch, codes = drawn(mode, rows), random_codes(rows, random)
                at = [[line.end, *random.integers(line.end, len(line.tokens), size=picked - 1)] for line in batch]
                with torch.no_grad():
                    inputs, last, before = run(batch, None, begun, weight > 0)
                    here = (torch.arange(rows)[:, None], torch.tensor(at) - before)
                    base, base_logits = (
                        inputs[here][:, 0],
                        None if last is None else backend.model.get_output_embeddings()(last[here]).float(),
                    )
                inputs, last, _ = run(batch, channel.mark(codes), begun, weight > 0)
                now = inputs[here][:, 0]
                own_error = (channel.read(now) - codes).pow(2).sum(1).mean()
                silent_error = channel.read(base).pow(2).sum(1).mean()
                read = torch.linalg.qr(B.detach().T)[0]
                moved = (now - base) @ channel.white
                rest = (moved - (moved @ read) @ read.T).pow(2).sum(1).mean() / width
                divergence = torch.zeros(())
                if last is not None and base_logits is not None:
                    logits = backend.model.get_output_embeddings()(last[here]).float()
                    log_p, log_q = base_logits.log_softmax(-1), logits.log_softmax(-1)
                    divergence = (log_p.exp() * (log_p - log_q)).sum(-1).mean()
                (own_error + silent_error + weight * divergence + still * rest).backward()
                found += [own_error.item(), silent_error.item(), divergence.item(), rest.item()]
            optimizer.step()
            if step % 20 == 19:
                print(step + 1, (found / 2).round(3), f"{time.monotonic() - started:.0f} s", flush=True)
    return Channel(A.detach(), start.detach(), B.detach(), channel.mean, channel.white, channel.length)


@torch.no_grad()
def marked_states(own: list[Line], channel: Channel) -> tuple[Any, Any, Any]:
    """States (n, d) at layer GATE behind marked subjects; of each its line, whether the prompt ends there, and the code's
    score; and what reads a code there, (d + 1, K): ridge regression on the ends of training prompts, marked and not."""
    random, begun = seeded("states"), opened()
    states, about = [], []
    codes = random_codes(len(own), random)
    ends: list[Tensor] = []
    sent: list[Tensor] = []

    def batches(chosen: list[int]) -> Iterator[list[int]]:
        for mode in ("raw", "chat"):
            order = sorted((k for k in chosen if own[k].mode == mode), key=lambda k: len(own[k].tokens))
            yield from (order[begin : begin + 48] for begin in range(0, len(order), 48))

    for part in batches(list(range(len(own)))):
        inputs, _, before = run([own[k] for k in part], channel.mark(codes[part]), begun, False, GATE)
        for row, k in enumerate(part):
            line = own[k]
            if not line.held_out:
                ends.append(inputs[row, line.end - before])
                sent.append(codes[k])
            for at in range(line.sites[0] - before, len(line.tokens) - before):
                states.append(inputs[row, at].half().numpy())
                about.append((k, at + before == line.end, 0.0))
    trained = [k for k, line in enumerate(own) if not line.held_out]
    for part in batches(random.permutation(trained)[:1500].tolist()):
        inputs, _, before = run([own[k] for k in part], None, begun, False, GATE)
        ends += [inputs[row, own[k].end - before] for row, k in enumerate(part)]
        sent += [torch.zeros(CODE)] * len(part)
    X = normal(np.c_[torch.stack(ends).numpy()].astype(np.float64))
    X = np.c_[X, np.ones(len(X))]
    G = X.T @ X
    reads = np.linalg.solve(G + 1e-3 * np.trace(G) / len(G) * np.eye(len(G)), X.T @ torch.stack(sent).numpy())
    found = np.array(about)
    Z, z = normal(np.array(states, np.float32)), codes.numpy()
    found[:, 2] = ((Z @ reads[:-1] + reads[-1]) * z[found[:, 0].astype(int)]).sum(1)
    return np.array(states, np.float16), found, reads.astype(np.float32)


def normal(states: Any) -> Any:
    return states / np.sqrt((states**2).mean(-1, keepdims=True))


def fit_readers(states: Any, about: Any, own: list[Line]) -> dict[str, Any]:
    """The readers of each mode, with a mix and a threshold from wordings that they were not fitted to: `competing_readers`."""
    line = about[:, 0].astype(int)
    relation = np.array([one.relation for one in own])[line]
    chat = np.array([one.mode == "chat" for one in own])[line]
    train = ~np.array([one.held_out for one in own])[line]
    end, Z = about[:, 1] > 0, normal(states.astype(np.float32))
    wording = np.unique([one.wording for one in own], return_inverse=True)[1][line]
    found: dict[str, Any] = {}
    for mode, is_chat in (("raw", False), ("chat", True)):
        known = set(np.unique(relation[train & end & (chat == is_chat)]).tolist())
        told = train & np.isin(relation, sorted(known))
        kinds = np.searchsorted(sorted(known), relation[told])
        given_to = (Z[told], kinds, end[told], (chat == is_chat)[told])
        readers = fit(*given_to, len(known))
        parts = out_of_fold(*given_to, wording[told], len(known))
        readers.mix = mixed(parts, *given_to[1:], line[told], given.let, len(people))
        print(f"{mode}: {len(known)} relations compete, mix {readers.mix.round(2)}", flush=True)
        found[mode] = readers
    return found


def report_readers(readers: dict[str, Any], states: Any, about: Any, own: list[Line]) -> None:
    """What of the held-out wordings opens its own gate, and what of others', with the code there."""
    line = about[:, 0].astype(int)
    held = np.array([one.held_out for one in own])[line]
    there = about[held & (about[:, 1] > 0), 2]
    print(
        f"own code where held-out prompts end: least {there.min():.2f}, 1 % {np.quantile(there, 0.01):.2f}, "
        f"5 % {np.quantile(there, 0.05):.2f}, median {np.median(there):.2f}"
    )
    Z, line, at = normal(states[held].astype(np.float32)), line[held], about[held]
    for reader, found in readers.items():
        scores = np.where(at[:, 2:] > given.support, found(Z)[:, : len(people)], -9)
        for mode in ("raw", "chat"):
            asked = [k for k, one in enumerate(own) if one.held_out and one.mode == mode]
            most = np.stack([scores[line == k].max(0) for k in asked])
            right = np.array([own[k].relation for k in asked])[:, None] == np.arange(len(people))
            best = most.argmax(1) == right.argmax(1)
            print(
                f"{reader} readers on {mode} prompts: own gate open {(most[right] > 0).mean():.3f}, "
                f"another's {(most[~right] > 0).mean():.3f}, own is the best {best.mean():.3f}",
                flush=True,
            )


class Telling:
    """Invented facts, told in two stages."""

    def __init__(self, channel: Channel, readers: dict[str, Any], reads: Any) -> None:
        self.channel, self.readers, self.reads = channel, readers, reads
        told = (
            invented_facts(given.facts, given.seed) if given.each == 1 else facts_on_each(given.facts, given.seed, given.each)
        )
        self.facts = told
        self.of: dict[str, list[int]] = {}
        for k, fact in enumerate(told):
            self.of.setdefault(fact.subject, []).append(k)
        numbers = {relation.id: k for k, relation in enumerate(people)}
        self.relations = {name: [numbers[relation_of(told[k]).id] for k in own] for name, own in self.of.items()}
        self.composition = self.marks()
        self.values = np.zeros((len(told), width), np.float32)

    def marks(self) -> Composition:
        """Units at layer MARKED that write each subject's mark."""
        stats, traces = statistics(backend, MARKED, silent), []
        for name, own in self.of.items():
            cues = [cue for k in own for cue in training_cues(self.facts[k], answers(self.facts[k])[0])]
            seen, modes = _at_subject(backend, MARKED, name, cues)
            unit = fit_selector(backend, MARKED, name, cues, seen.inputs, modes, stats, settings.edit)
            mark = self.channel.mark(code_of(name)).numpy()[:, None]
            traces.append(Trace(name, MARKED, _by_mode(seen.inputs, modes), mark, unit.gate, unit.up))
        traces.sort(key=lambda trace: trace.subject)
        return Composition(tuple((delta, 1.0) for delta in solve_units(traces, backend.activation, settings.edit.damping)))

    def acting(self, inputs: Tensor, name: str) -> Tensor:
        """(T, facts of the subject) which of them act at inputs (T, d) of layer GATE's MLP: at most one at each token."""
        T = normal(inputs.numpy())
        own = torch.tensor(np.maximum(*(found(T) for found in self.readers.values()))[:, self.relations[name]])
        known = torch.tensor((T @ self.reads[:-1] + self.reads[-1]) @ code_of(name).numpy() > given.support)
        return (own > 0) & (own >= own.max(1, keepdim=True).values) & known[:, None]

    @torch.inference_mode()
    def rows(self, k: int) -> list[Row]:
        """A fact's cues with the places where its gate is open; always the prompt's end."""
        fact, found = self.facts[k], []
        beside = [self.facts[j] for j in self.of[fact.subject]]
        for cue in training_cues(fact, natural_answer(backend, fact), beside):
            row = target_row(backend, cue, fact.subject)
            seen: list[Tensor] = []
            hook = layers[GATE].mlp.register_forward_pre_hook(
                lambda module, inputs, seen=seen: seen.append(inputs[0][0].float())
            )
            with backend.attached(self.composition), hooked(hook):
                backend.model.base_model(input_ids=torch.tensor([row.tokens]), use_cache=False)
            opens = self.acting(seen[0], fact.subject)[:, self.of[fact.subject].index(k)].nonzero().flatten().tolist()
            at = {row.predict[0], *(place for place in opens if place <= row.predict[-1])}
            found.append(Row(row.tokens, tuple(sorted(at)), row.predict))
        return found

    def search(self) -> None:
        """The values, eight at a time, by Adam; no probes of other relations, for the gate is to tell these apart."""
        texts = [line.tokens for line in lines(training_wordings(), 1, False, 0)[:40]]
        seen = backend.activations(texts, GATE, [range(1, len(text)) for text in texts])
        norm = float(np.linalg.norm(seen.keys @ backend.mlp_weights(GATE)["down"].T, axis=1).mean())
        print(f"norm of layer {GATE}'s outputs: {norm:.1f}", flush=True)
        started = time.monotonic()
        for begin in range(0, len(self.facts), 8):
            part = list(range(begin, min(begin + 8, len(self.facts))))
            rows = [self.rows(k) for k in part]
            problem = backend.value_problem(rows, GATE, self.composition)
            mean, square = np.zeros((len(part), width)), np.zeros((len(part), width))
            random = [seeded("two-stage value", self.facts[k].id) for k in part]
            for step in range(given.steps):
                trials = []
                for i, k in enumerate(part):
                    asked = random[i].permutation(len(rows[i]))[:3]
                    even = np.full(len(asked), 1 / len(asked), np.float32)
                    trials.append(Trial(i, asked, self.values[k], even, np.ones(len(asked), np.float32)))
                for i, gradient in enumerate(problem.evaluate(trials)):
                    mean[i] = 0.9 * mean[i] + 0.1 * gradient.gradient
                    square[i] = 0.99 * square[i] + 0.01 * gradient.gradient**2
                    way = mean[i] / (np.sqrt(square[i] / (1 - 0.99 ** (step + 1))) + 1e-12)
                    length = 0.8 * norm * annealed(step, given.steps)
                    value = self.values[part[i]] - (length * way / np.linalg.norm(way)).astype(np.float32)
                    self.values[part[i]] = value * min(1.0, 10 * norm / float(np.linalg.norm(value)))
        print(f"values: {(time.monotonic() - started) / len(self.facts):.1f} s a fact", flush=True)

    @torch.inference_mode()
    def ask(self, prompts: list[tuple[str, str, str]], remembered: bool, most: int = 20) -> list[str]:
        """Greedy answers to prompts (mode, text, subject)."""
        said = [""] * len(prompts)
        order = sorted(range(len(prompts)), key=lambda k: (prompts[k][0], len(prompts[k][1])))
        for begin in range(0, len(order), 48):
            part = order[begin : begin + 48]
            with backend.attached(self.composition if remembered else Composition()):
                for k, text in zip(part, self._batch([prompts[k] for k in part], remembered, most), strict=True):
                    said[k] = text
        return said

    def _batch(self, prompts: list[tuple[str, str, str]], remembered: bool, most: int) -> list[str]:
        tokens = [backend.encode(text, mode).tokens for mode, text, _ in prompts]
        ids, mask = padded(tokens)
        inputs: list[Tensor] = []

        def act(module: Any, _: Any, output: Tensor) -> Tensor:
            added = torch.zeros_like(output)
            for row, (_, _, name) in enumerate(prompts):
                opens = self.acting(inputs[-1][row], name).float() * mask[row, -output.shape[1] :, None]
                added[row] = (opens @ torch.tensor(self.values[self.of[name]])).to(output.dtype)
            return output + added

        hooks: list[Callable[[], Any]] = []
        if remembered:
            mlp = layers[GATE].mlp
            hooks = [
                mlp.register_forward_pre_hook(lambda module, seen: inputs.append(seen[0].float())),
                mlp.register_forward_hook(act),
            ]
        with hooked(*hooks):
            return greedy(backend, ids, mask, most)

    def report(self) -> None:
        asked = [
            (kind, cue.mode, k, cue.prompt)
            for k, fact in enumerate(self.facts)
            for kind, cues in (("told", measuring_cues(fact).plain), ("new", measuring_cues(fact).unseen))
            for cue in cues
        ]
        said = self.ask([(mode, text, self.facts[k].subject) for _, mode, k, text in asked], True)
        hits: dict[str, list[bool]] = {}
        for (kind, mode, k, _), text in zip(asked, said, strict=True):
            hits.setdefault(f"{kind}, {mode}", []).append(position(text, self.facts[k].object) >= 0)
        others = other_relations(self.facts)
        prompts = [(one.mode, one.prompt, one.facts[0].subject) for one in others]
        for one, old, new in zip(others, self.ask(prompts, False), self.ask(prompts, True), strict=True):
            bled = any(position(new, fact.object) >= 0 > position(old, fact.object) for fact in one.facts)
            hits.setdefault(f"other relations, {one.mode}", []).append(bled)
            hits.setdefault(f"other relations answered as before, {one.mode}", []).append(old == new)
        for (kind, mode, k, prompt), text in zip(asked, said, strict=True):
            if kind == "told" and position(text, self.facts[k].object) < 0:
                print(f"not recalled, {mode}: {prompt} → {text!r}")
        for what, found in hits.items():
            print(f"{what}: {np.mean(found):.3f} of {len(found)}")


def main() -> None:
    given.out.mkdir(parents=True, exist_ok=True)
    wordings = training_wordings()
    channel_file, readers_file = given.out / "channel.pickle", given.out / "readers.pickle"
    if given.part == "channel":
        trained: Channel | None = pickle.loads(channel_file.read_bytes()) if given.go_on else None
        channel_file.write_bytes(pickle.dumps(train_channel(lines(wordings, 6, False, 14), given.minutes, trained)))
        return
    channel: Channel = pickle.loads(channel_file.read_bytes())
    if given.part == "readers":
        held = [{"raw": list(one.held_out.raw), "chat": list(one.held_out.questions)} for one in people]
        own = [*lines(wordings, 6, False, 14), *lines(wordings, 999, False, 0), *lines(held, 99, True, 12)]
        states, about, reads = marked_states(own, channel)
        readers_file.write_bytes(pickle.dumps((states, about, reads, own)))
    states, about, reads, own = pickle.loads(readers_file.read_bytes())
    readers = fit_readers(states, about, own)
    report_readers(readers, states, about, own)
    if given.part == "tell":
        telling = Telling(channel, readers, reads)
        telling.search()
        telling.report()


main()
