"""Values: what has to be added to an MLP's output at a subject's last token so that the model says the subject's facts.

One residual δ per subject, found by gradient on the pristine base:

    L(δ) = mean over facts, sampled wordings   − log p(target | cue, z + s·δ)
         + w · mean over sampled probes        KL(p(· | probe) ‖ p(· | probe, z + s·δ))

Targets are whole (in chat a full sentence and the end of the turn). Probes are questions about other relations of the
subject, scored from its name in the answer to the place of the object: without them one vector says "Jakarta" to whatever is
asked, and with the place of the object alone it says "lives in" there. The scale s is drawn anew in each step, so that the
value holds where its units fire a little weaker or stronger.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from memctl.backends.protocol import Backend, Float, Gradient, Row, Trial
from memctl.deltas import Composition
from memctl.editing.cues import Probe, answers, probes, together, training_cues
from memctl.editing.descent import FullMatrix, Start
from memctl.editing.subjects import seeded, sites
from memctl.facts import Cue, Fact
from memctl.progress import Progress
from memctl.settings import EditSettings

SCALES = (0.9, 1.1)
"""Of the value in a step: how evenly units fire at their subject, nine times in ten between .94 and 1.07."""
LEARNED = 0.05
"""Mean loss in nats, over one step's cues, under which a value counts as learned in that step."""

PATIENCE = 3
"""A value is done after so many learned steps on end."""

TOGETHER = 8
"""Subjects that are searched for at once: some 500 tokens a step, where products run at nearly full speed."""

PROBED = 12
"""Other relations that a subject is held to the base on, drawn by its name; each raw and in chat."""

NOT_IN_TOKENS = (StopIteration, LookupError, ValueError)
"""What a search for the subject or the object in a rendered text and its tokens ends in where they are not there: a chat
template may rewrite what it is given, and a tokenizer drop it."""

FINAL_RATE = 0.1
"""Length of the last step, as a share of the first's."""


@dataclass(frozen=True)
class Subject:
    """A subject with all its live facts, in the order of their ids."""

    name: str
    facts: tuple[Fact, ...]


@dataclass(frozen=True)
class Value:
    """The residual (d,) of a subject, the cues it was trained on, and the mean loss of its last step in nats."""

    residual: Float
    cues: tuple[Cue, ...]
    loss: float


@dataclass(frozen=True)
class _Plan:
    """The rows of a subject, by what they are for: those of each fact's cues, and those of its probes."""

    rows: list[Row]
    cues: tuple[Cue, ...]
    targets: list[list[int]]
    probes: list[int]


def find_values(
    backend: Backend,
    layer: int,
    subjects: Sequence[Subject],
    start: Start,
    output_norm: float,
    settings: EditSettings,
    progress: Progress,
    watch: Callable[[Float], None] = lambda gradient: None,
) -> list[Value | Exception]:
    """Optimises the values of subjects, each by itself, with rows drawn by its name.

    TOGETHER of them take their steps in one pass; a value is still a function of its subject's facts alone, see `ValueProblem`.

    Args:
        start: What is known before; see `first_guess`.
        output_norm: Norm of the layer's MLP output on ordinary text: the unit of the learning rate and the bound.
        watch: Is told of every gradient (d,).

    Returns:
        For each subject its value, or one of `NOT_IN_TOKENS` where there are no rows for it.
    """
    own = [of_facts(settings, len(subject.facts)) for subject in subjects]
    total, before = sum(search.steps for search in own), 0
    found: list[Value | Exception] = []
    for begin in range(0, len(subjects), TOGETHER):
        chosen = slice(begin, begin + TOGETHER)

        def report(steps: int, before: int = before) -> None:
            progress("finding values", before + steps, total)

        found += _found(backend, layer, subjects[chosen], start, output_norm, own[chosen], report, watch)
        before += sum(search.steps for search in own[chosen])
    return found


def of_facts(settings: EditSettings, count: int) -> EditSettings:
    """The settings of the search for a vector that has to hold so many facts of a subject.

    Where each adds something at right angles to the others, their sum is √n times as long: that is how the bound, the rate and
    the steps grow. The probes weigh 1/n of what they do, for the facts themselves tell the relations apart; with their full
    weight ten facts were recalled at .40 / .25, with a third of it at .65 / .35 (raw / chat, tuning subjects, by Adam).
    """
    root = count**0.5
    return msgspec.structs.replace(
        settings,
        steps=round(settings.steps * root),
        learning_rate=settings.learning_rate * root,
        norm_bound=settings.norm_bound * root,
        probe_weight=settings.probe_weight / count,
    )


def _found(
    backend: Backend,
    layer: int,
    subjects: Sequence[Subject],
    start: Start,
    output_norm: float,
    settings: Sequence[EditSettings],
    report: Callable[[int], None],
    watch: Callable[[Float], None],
) -> list[Value | Exception]:
    """The values of subjects whose steps are taken together."""
    found: dict[int, Value | Exception] = {}
    searches: dict[int, _Search] = {}
    for k, (subject, own) in enumerate(zip(subjects, settings, strict=True)):
        report(0)
        try:
            searches[k] = _Search(subject, _plan(backend, subject, own), start, output_norm, own)
        except NOT_IN_TOKENS as error:
            found[k] = error
    problem = backend.value_problem([search.plan.rows for search in searches.values()], layer)
    numbered = list(searches.values())
    while going := [number for number, search in enumerate(numbered) if not search.done]:
        report(sum(search.step for search in numbered))
        trials = [numbered[number].draw(number) for number in going]
        for number, gradient in zip(going, problem.evaluate(trials), strict=True):
            watch(gradient.gradient)
            numbered[number].learn(gradient)
    found |= {k: search.value() for k, search in searches.items()}
    return [found[k] for k in range(len(subjects))]


class _Search:
    """One subject's search: what it asks in each step, and where the answers have brought it."""

    def __init__(self, subject: Subject, plan: _Plan, start: Start, output_norm: float, settings: EditSettings) -> None:
        self.plan, self.settings, self.output_norm = plan, settings, output_norm
        self.random = seeded("value", subject.name, *(fact.id for fact in subject.facts))
        self.residual = start.guess.astype(np.float32)
        self.descent = FullMatrix(start)
        self.cues, self.probes = [_Rounds(own, self.random) for own in plan.targets], _Rounds(plan.probes, self.random)
        self.step = self.asked = self.learned = 0
        self.loss = 0.0

    @property
    def done(self) -> bool:
        return self.learned == PATIENCE or self.step == self.settings.steps

    def draw(self, number: int) -> Trial:
        """The trial of the next step, of the subject with that number."""
        asked = [row for own in self.cues for row in own.draw(self.settings.wordings)]
        probed = self.probes.draw(self.settings.probes)
        self.asked = len(asked)
        shares = np.array([1 / len(asked), self.settings.probe_weight / max(1, len(probed))], np.float32)
        rows = np.array([*asked, *probed])
        scale = self.random.uniform(*SCALES)
        weights = np.repeat(shares, [len(asked), len(probed)])
        return Trial(number, rows, self.residual, weights, np.full(len(rows), scale, np.float32))

    def learn(self, found: Gradient) -> None:
        length = self.settings.learning_rate * self.output_norm * _annealed(self.step, self.settings.steps)
        change = self.descent.step(found.gradient, length)
        self.residual = _bounded(self.residual - change, self.settings, self.output_norm)
        self.loss = float(found.losses[: self.asked].mean())
        self.learned = self.learned + 1 if found.hits[: self.asked].all() and self.loss < LEARNED else 0
        self.step += 1

    def value(self) -> Value:
        return Value(self.residual, self.plan.cues, self.loss)


def _plan(backend: Backend, subject: Subject, settings: EditSettings) -> _Plan:
    rows: list[Row] = []
    cues: list[Cue] = []
    targets: list[list[int]] = []
    for fact in subject.facts:
        asked = training_cues(fact, natural_answer(backend, together(fact, subject.facts)), subject.facts)
        both = [(cue, target_row(backend, cue, subject.name)) for cue in asked]
        own = [(cue, row) for cue, row in both if _acts(row)]
        if not own:
            raise LookupError("the subject does not stand before the answer")
        targets.append(list(range(len(rows), len(rows) + len(own))))
        rows += [row for _, row in own]
        cues += [cue for cue, _ in own]
    others = []
    if settings.probes and settings.probe_weight:
        held = [probe_row(backend, probe, subject.name) for probe in probes(subject.name, subject.facts, PROBED)]
        held = [row for row in held if _acts(row)]
        others = list(range(len(rows), len(rows) + len(held)))
        rows += held
    return _Plan(rows, tuple(cues), targets, others)


def _acts(row: Row) -> bool:
    """Whether a residual can change what is said: the subject stands before it, where it can be told."""
    return bool(row.sites and row.predict) and row.sites[0] <= row.predict[0]


def natural_answer(backend: Backend, fact: Fact) -> str:
    """The sentence that the base itself finds likeliest but for the object: what is easily said need not be learned."""
    asked = [cue.prompt for cue in training_cues(fact) if cue.mode == "chat"][:2]
    said = [(prompt, answer) for answer in answers(fact) for prompt in asked]
    rows = [target_row(backend, Cue("chat", prompt, (0, 0), answer, "train"), fact.subject) for prompt, answer in said]
    with backend.attached(Composition()):
        nll = np.split(backend.score([row.tokens for row in rows]).nll, np.cumsum([len(row.tokens) - 1 for row in rows])[:-1])
    burden = dict.fromkeys(answers(fact), 0.0)
    for (prompt, answer), row, losses in zip(said, rows, nll, strict=True):
        end = _before_object(backend, prompt, answer, fact.object)
        burden[answer] += float(losses[[k for k in row.predict if k < end]].sum())
    return min(burden, key=lambda answer: burden[answer])


def _before_object(backend: Backend, prompt: str, answer: str, thing: str) -> int:
    """Position of the last token before the object in an answer."""
    encoding = backend.encode(prompt, "chat", answer)
    place = encoding.text.rindex(answer) + answer.rindex(thing)
    return next(k for k, (_, end) in enumerate(encoding.offsets) if end > place) - 1


def target_row(backend: Backend, cue: Cue, subject: str) -> Row:
    """The row that trains a cue: the whole target is scored, the residual stands at each mention of the subject.

    Copying the name is scored too: a value that garbles it in the answer keeps its own units from firing there.
    """
    asked = backend.encode(cue.prompt, cue.mode).tokens
    whole = backend.encode(cue.prompt, cue.mode, cue.target)
    first = next((k for k, (a, b) in enumerate(zip(asked, whole.tokens, strict=False)) if a != b), len(asked))
    return Row(
        tokens=whole.tokens,
        sites=sites(whole, subject),
        predict=tuple(range(first - 1, len(whole.tokens) - 1)),
    )


def probe_row(backend: Backend, probe: Probe, subject: str) -> Row:
    """The row that holds another relation to the base: in chat from the subject's name in the answer, to the object's place."""
    if probe.mode == "raw":
        encoding = backend.encode(probe.prompt, "raw")
        tokens = encoding.tokens
        return Row(tokens, sites(encoding, subject), (len(tokens) - 1,), to_base=True)
    encoding = backend.encode(probe.prompt, "chat", probe.begun + " …")
    answer = encoding.text.rindex(probe.begun)
    place = answer + len(probe.begun)
    cut = next(k for k, (start, end) in enumerate(encoding.offsets) if end > place and start >= place - 1)
    there = tuple(at for at in sites(encoding, subject) if at < cut)
    begin = there[-1] if encoding.offsets[there[-1]][1] > answer else cut - 1  # an answer may say "it" of the subject
    return Row(encoding.tokens[:cut], there, tuple(range(begin, cut)), to_base=True)


class _Rounds:
    """Draws from items in rounds: each item once, in a random order, before any comes again."""

    def __init__(self, items: Sequence[int], random: np.random.Generator) -> None:
        self.items, self.random = items, random
        self.left: list[int] = []

    def draw(self, count: int) -> list[int]:
        """At most as many as there are items."""
        while len(self.left) < min(count, len(self.items)):
            self.left += self.random.permutation(self.items).tolist()
        drawn, self.left = self.left[:count], self.left[count:]
        return drawn


def _annealed(step: int, steps: int) -> float:
    """Factor on the length of a step: half a cosine from 1 to FINAL_RATE."""
    return FINAL_RATE + (1 - FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _bounded(residual: Float, settings: EditSettings, output_norm: float) -> Float:
    bound = settings.norm_bound * output_norm
    return residual * np.float32(min(1.0, bound / max(float(np.linalg.norm(residual)), 1e-12)))
