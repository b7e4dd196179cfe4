"""Values: what has to be added to an MLP's output at a subject's last token so that the model says the subject's facts.

One residual δ per subject, found by gradient on the pristine base:

    L(δ) = mean over facts, sampled wordings   − log p(target | cue, z + s·δ)
         + w · mean over sampled probes        KL(p(· | probe) ‖ p(· | probe, z + s·δ))

Targets are whole (in chat a full sentence and the end of the turn). Probes are questions about other relations of the
subject, scored at the place of the object only: without them one vector says "Jakarta" to whatever is asked. The scale s is
drawn anew in each step, so that the value holds where a unit fires a little weaker.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memctl.backends.protocol import Backend, Float, Row
from memctl.deltas import Composition
from memctl.editing.cues import Probe, answers, probes, training_cues
from memctl.editing.subjects import last_tokens, seeded
from memctl.facts import Cue, Fact
from memctl.settings import EditSettings

SCALES = (0.8, 1.1)
LEARNED = 0.05
"""Mean loss in nats, over one step's cues, under which a value counts as learned in that step."""

PATIENCE = 3
"""A value is done after so many learned steps on end."""

PROBED = 12
"""Other relations that a subject is held to the base on, drawn by its name; each raw and in chat."""

FINAL_RATE = 0.5
BETA1, BETA2, EPSILON = 0.9, 0.95, 1e-8


@dataclass(frozen=True)
class Subject:
    """A subject with all its live facts, in the order of their ids."""

    name: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Value:
    """The residual (d,) of a subject, the cues it was trained on, the mean loss of its last step, and the steps it took."""

    residual: Float
    cues: tuple[Cue, ...]
    loss: float
    steps: int


@dataclass
class _Plan:
    """The rows of one subject, by what they are for, and where its randomness stands."""

    cues: tuple[Cue, ...]
    targets: list[list[int]]
    probes: list[int]
    random: np.random.Generator
    learned: int = 0
    steps: int = 0
    loss: float = 0.0
    done: bool = False


def find_values(
    backend: Backend,
    layer: int,
    subjects: Sequence[Subject],
    output_norm: float,
    settings: EditSettings,
) -> list[Value]:
    """Optimises the values of several subjects in one batch; each is as if it were alone, up to rounding.

    Args:
        output_norm: Norm of the layer's MLP output on ordinary text: the unit of the learning rate and the bound.
    """
    rows: list[Row] = []
    plans = [_plan(backend, subject, group, rows, settings) for group, subject in enumerate(subjects)]
    problem = backend.value_problem(rows, layer)
    residuals = np.zeros((len(subjects), backend.shape.hidden), np.float32)
    adam = _Adam(residuals.shape, settings.learning_rate * output_norm / np.sqrt(backend.shape.hidden))
    for step in range(settings.steps):
        open_groups = [group for group, plan in enumerate(plans) if not plan.done]
        if not open_groups:
            break
        chosen, weights, scales, owner = _sample(plans, open_groups, settings)
        found = problem.evaluate(chosen, residuals, weights, scales)
        change = adam.step(found.gradient, open_groups) * _annealed(step, settings.steps)
        residuals[open_groups] -= change[open_groups]
        _bound(residuals, settings.norm_bound * output_norm)
        for group in open_groups:
            mine = (owner == group) & np.array([not rows[row].to_base for row in chosen])
            _judge(plans[group], float(found.losses[mine].mean()), bool(found.hits[mine].all()))
    return [Value(residual, plan.cues, plan.loss, plan.steps) for residual, plan in zip(residuals, plans, strict=True)]


def _plan(backend: Backend, subject: Subject, group: int, rows: list[Row], settings: EditSettings) -> _Plan:
    cues: list[Cue] = []
    targets: list[list[int]] = []
    for fact in subject.facts:
        own = training_cues(fact, natural_answer(backend, fact))
        targets.append(list(range(len(rows), len(rows) + len(own))))
        rows += [target_row(backend, cue, subject.name, group) for cue in own]
        cues += own
    others = []
    if settings.probes and settings.probe_weight:
        for probe in probes(subject.name, subject.facts, PROBED):
            others.append(len(rows))
            rows.append(probe_row(backend, probe, subject.name, group))
    return _Plan(tuple(cues), targets, others, seeded("value", subject.name, *(fact.id for fact in subject.facts)))


def natural_answer(backend: Backend, fact: Fact) -> str:
    """The sentence that the base itself finds likeliest but for the object: what is easily said need not be learned."""
    asked = [cue.prompt for cue in training_cues(fact) if cue.mode == "chat"][:2]
    burden: dict[str, float] = {}
    for answer in answers(fact):
        rows = [target_row(backend, Cue("chat", prompt, (0, 0), answer, "train"), fact.subject, 0) for prompt in asked]
        with backend.attached(Composition()):
            nll = np.split(backend.score([row.tokens for row in rows]).nll, [len(rows[0].tokens) - 1])
        said = [_before_object(backend, prompt, answer, fact.object) for prompt in asked]
        burden[answer] = sum(
            float(scores[[k for k in row.predict if k < end]].sum()) for scores, row, end in zip(nll, rows, said, strict=True)
        )
    return min(burden, key=lambda answer: burden[answer])


def _before_object(backend: Backend, prompt: str, answer: str, thing: str) -> int:
    """Position of the last token before the object in an answer."""
    encoding = backend.encode(prompt, "chat", answer)
    place = encoding.text.rindex(answer) + answer.rindex(thing)
    return next(k for k, (_, end) in enumerate(encoding.offsets) if end > place) - 1


def target_row(backend: Backend, cue: Cue, subject: str, group: int) -> Row:
    """The row that trains a cue: the whole target is scored, the residual stands at each mention of the subject.

    Copying the name is scored too: a value that garbles it in the answer keeps its own unit from firing there.
    """
    asked = backend.encode(cue.prompt, cue.mode).tokens
    whole = backend.encode(cue.prompt, cue.mode, cue.target)
    first = next((k for k, (a, b) in enumerate(zip(asked, whole.tokens, strict=False)) if a != b), len(asked))
    return Row(
        tokens=whole.tokens,
        sites=last_tokens(whole, subject),
        predict=tuple(range(first - 1, len(whole.tokens) - 1)),
        group=group,
    )


def probe_row(backend: Backend, probe: Probe, subject: str, group: int) -> Row:
    """The row that holds another relation to the base, at the place of its object."""
    if probe.mode == "raw":
        encoding = backend.encode(probe.prompt, "raw")
        tokens = encoding.tokens
    else:
        encoding = backend.encode(probe.prompt, "chat", probe.begun + " …")
        place = encoding.text.rindex(probe.begun) + len(probe.begun)
        cut = next(k for k, (start, end) in enumerate(encoding.offsets) if end > place and start >= place - 1)
        tokens = encoding.tokens[:cut]
    sites = tuple(at for at in last_tokens(encoding, subject) if at < len(tokens))
    return Row(tokens, sites, (len(tokens) - 1,), group, to_base=True)


def _sample(
    plans: Sequence[_Plan], groups: Sequence[int], settings: EditSettings
) -> tuple[NDArray[np.int64], Float, Float, NDArray[np.int64]]:
    """The rows of one step with their weights and scales, and whose they are."""
    rows: list[int] = []
    weights: list[float] = []
    scales: list[float] = []
    owner: list[int] = []
    for group in groups:
        plan = plans[group]
        per_fact = [
            row for fact in plan.targets for row in plan.random.choice(fact, min(settings.wordings, len(fact)), replace=False)
        ]
        count = min(settings.probes, len(plan.probes))
        others = list(plan.random.choice(plan.probes, count, replace=False)) if count else []
        scale = float(plan.random.uniform(*SCALES))
        rows += [*per_fact, *others]
        weights += [1 / len(per_fact)] * len(per_fact) + [settings.probe_weight / max(1, count)] * count
        scales += [scale] * (len(per_fact) + count)
        owner += [group] * (len(per_fact) + count)
    return np.array(rows), np.array(weights, np.float32), np.array(scales, np.float32), np.array(owner)


def _judge(plan: _Plan, loss: float, right: bool) -> None:
    plan.steps += 1
    plan.loss = loss
    plan.learned = plan.learned + 1 if right and loss < LEARNED else 0
    plan.done = plan.learned >= PATIENCE


def _annealed(step: int, steps: int) -> np.float32:
    """Factor on the learning rate: half a cosine from 1 to FINAL_RATE."""
    return np.float32(FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + np.cos(np.pi * step / steps)))


def _bound(residuals: Float, bound: float) -> None:
    norms = np.linalg.norm(residuals, axis=1, keepdims=True)
    residuals *= np.minimum(1, bound / np.maximum(norms, 1e-12)).astype(np.float32)


class _Adam:
    """Adam (Kingma & Ba 2015) on some of the groups at a time; all groups still open have taken equal steps."""

    def __init__(self, shape: tuple[int, int], rate: float) -> None:
        self.rate = rate
        self.first = np.zeros(shape, np.float64)
        self.second = np.zeros(shape, np.float64)
        self.steps = 0

    def step(self, gradient: Float, groups: Sequence[int]) -> Float:
        """What to take off the residuals of the groups."""
        self.steps += 1
        g = gradient[groups].astype(np.float64)
        self.first[groups] = BETA1 * self.first[groups] + (1 - BETA1) * g
        self.second[groups] = BETA2 * self.second[groups] + (1 - BETA2) * g**2
        mean = self.first / (1 - BETA1**self.steps)
        scale = np.sqrt(self.second / (1 - BETA2**self.steps)) + EPSILON
        return (self.rate * mean / scale).astype(np.float32)
