"""Training of the adapter over all facts that it is to carry: from their edits on the edited layer, from the base above it.

    L = mean over taught lessons  − log p(target)
      + w · mean over kept lessons  KL(p_base ‖ p)

by AdamW on the factors alone. Every step takes lessons of as many facts as it has room for, each fact as often as any other.
How far it has come on wordings that were left out is told every few steps.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from memctl.adapters import Adapter, Factors, layer_of
from memctl.backends.protocol import Backend, Float
from memctl.consolidation.lessons import Curriculum, curriculum
from memctl.consolidation.transplant import transplanted
from memctl.deltas import Columns, Composition
from memctl.editing.statistics import statistics
from memctl.editing.subjects import seeded
from memctl.errors import MemctlError
from memctl.facts import Fact
from memctl.progress import Progress
from memctl.settings import LoraSettings

BETA1, BETA2, EPSILON = 0.9, 0.98, 1e-8
DECAY = 0.01
WARM_UP = 0.05
"""Share of the steps in which the learning rate rises."""


@dataclass(frozen=True)
class Check:
    """How far a training is.

    Attributes:
        step: Steps made.
        loss: Mean loss of the taught lessons since the last check, in nats.
        learned: Share of the wordings left out whose whole target is the likeliest, teacher-forced.
        divergence: Mean KL to the base of the kept lessons since the last check, in nats, by kind.
    """

    step: int
    loss: float
    learned: float
    divergence: dict[str, float]


@dataclass(frozen=True)
class Training:
    """An adapter, and how it came about.

    Attributes:
        steps: How many were made.
        checks: What was seen on the way, every few steps.
    """

    adapter: Adapter
    steps: int
    checks: tuple[Check, ...]


def consolidate(
    backend: Backend,
    facts: Sequence[Fact],
    layer: int,
    units: Columns | None,
    settings: LoraSettings,
    progress: Progress,
    skipped: int = 0,
) -> Training:
    """Takes edits into an adapter, and trains it on the layers above. Equal facts in any order give equal adapters.

    Args:
        facts: All that the adapter is to carry.
        layer: The edited layer.
        units: The edits of these facts; None for edits without units, whose facts are trained from nothing.
        skipped: See `transplanted`.

    Raises:
        MemctlError: There is no layer above the edited one; see `transplanted`, too.
    """
    facts = sorted(facts, key=lambda fact: fact.id)
    adapter = untrained(backend, layer + 1, settings)
    taken = None if units is None else transplanted(backend, layer, units, statistics(backend, layer, progress), skipped)
    if taken is not None and not settings.passes:
        return Training(taken, 0, ())
    lessons = curriculum(backend, facts, settings, progress)
    problem = backend.adapter_problem(lessons.lessons, layer + 1, Composition(adapter=taken))
    total = max(settings.least_steps, -(-settings.passes * len(facts) // settings.taught))
    random = seeded("training", *(fact.id for fact in facts))
    rounds = Rounds(lessons, random)
    adam = AdamW(adapter)
    seen: dict[str, list[float]] = {}
    checks: list[Check] = []
    step = 0
    while step < total:
        chosen, weights, kinds = rounds.draw(settings)
        found = problem.evaluate(chosen, weights, adam.adapter())
        for kind, loss in zip(kinds, found.losses, strict=True):
            seen.setdefault(kind, []).append(float(loss))
        adam.step(found.gradient, _rate(step, total, settings.learning_rate))
        step += 1
        if step % settings.check_every == 0 or step == total:
            means = {kind: float(np.mean(losses)) for kind, losses in seen.items()}
            learned = problem.evaluate(np.concatenate(lessons.checked), None, adam.adapter()).hits.mean()
            checks.append(Check(step, means.pop("taught"), float(learned), means))
            seen = {}
        progress("training the adapter", step, total)
    learned_above = adam.adapter().projections
    whole = Adapter({**taken.projections, **learned_above} if taken is not None else learned_above)
    return Training(whole, step, tuple(checks))


def untrained(backend: Backend, layer: int, settings: LoraSettings) -> Adapter:
    """An adapter on a layer and all above it that changes nothing yet: A as peft draws it, B zero."""
    made = {}
    for path, (inward, outward) in backend.projections().items():
        if layer_of(path) >= layer and (settings.projections == "all" or inward == backend.shape.intermediate):
            A = seeded("adapter", path, settings.rank).uniform(-1, 1, (settings.rank, inward)) / np.sqrt(inward)
            made[path] = Factors(A.astype(np.float32), np.zeros((outward, settings.rank), np.float32))
    if not made:
        raise MemctlError(f"there is no layer from {layer} on that an adapter could change", "choose a lower edit.layer")
    return Adapter(made)


def _rate(step: int, total: int, rate: float) -> float:
    """Linear warm-up, then a cosine down to a tenth."""
    if step < WARM_UP * total:
        return rate * (step + 1) / (WARM_UP * total + 1)
    return rate * (0.1 + 0.45 * (1 + float(np.cos(np.pi * step / total))))


class Rounds:
    """Draws lessons: facts in rounds and each fact's lessons in rounds, kept lessons kind by kind in rounds."""

    def __init__(self, lessons: Curriculum, random: np.random.Generator) -> None:
        self._random = random
        self._facts: list[int] = []
        self._taught = [list(own) for own in lessons.taught]
        self._kept = {kind: list(own) for kind, own in lessons.kept.items() if own}
        self._left: dict[object, list[int]] = {}

    def draw(self, settings: LoraSettings) -> tuple[NDArray[np.int64], Float, list[str]]:
        """Numbers, weights and kinds of a step's lessons."""
        facts = [self._next("facts", range(len(self._taught))) for _ in range(settings.taught)]
        taught = [self._next(fact, self._taught[fact]) for fact in facts]
        shares = {"names": settings.names, "relations": settings.relations, "text": settings.texts}
        kinds = [kind for kind in self._kept for _ in range(shares[kind])]
        kept = [self._next(kind, self._kept[kind]) for kind in kinds]
        weights = [1 / len(taught)] * len(taught) + [settings.kept_weight / shares[kind] for kind in kinds]
        return np.array([*taught, *kept]), np.array(weights, np.float32), ["taught"] * len(taught) + kinds

    def _next(self, name: object, items: Sequence[int]) -> int:
        left = self._left.setdefault(name, [])
        if not left:
            left += self._random.permutation(list(items)).tolist()
        return left.pop()


class AdamW:
    """On all factors of an adapter as one vector; weight decay draws them, A too, towards zero, where the base is."""

    def __init__(self, adapter: Adapter) -> None:
        self._shapes = [(path, own.A.shape, own.B.shape) for path, own in adapter.projections.items()]
        self._values = self._flat(adapter.projections)
        self._first, self._second = np.zeros_like(self._values), np.zeros_like(self._values)
        self._steps = 0

    def adapter(self) -> Adapter:
        """The factors as they are now."""
        found, at = {}, 0
        for path, a, b in self._shapes:
            ends = at + a[0] * a[1], at + a[0] * a[1] + b[0] * b[1]
            found[path] = Factors(
                self._values[at : ends[0]].reshape(a).copy(), self._values[ends[0] : ends[1]].reshape(b).copy()
            )
            at = ends[1]
        return Adapter(found)

    def step(self, gradient: Mapping[str, Factors], rate: float) -> None:
        """One step against the gradient, which is first cut to length 1."""
        grad = self._flat(gradient)
        grad *= min(1.0, 1.0 / (float(np.sqrt(np.dot(grad, grad))) + 1e-12))
        self._steps += 1
        self._first += (1 - BETA1) * (grad - self._first)
        self._second += (1 - BETA2) * (grad * grad - self._second)
        scale = np.sqrt(self._second / (1 - BETA2**self._steps)) + EPSILON
        self._values *= np.float32(1 - rate * DECAY)
        self._values -= (rate / (1 - BETA1**self._steps)) * self._first / scale

    def _flat(self, projections: Mapping[str, Factors]) -> Float:
        return np.concatenate([part.ravel() for path, _, _ in self._shapes for part in vars(projections[path]).values()])
