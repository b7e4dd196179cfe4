"""Units fitted in a made-up world, where what an MLP sees at a name is the sum of its parts and of the context.

The world's look-alikes are handed to the fit in two contexts each, as `look_alike_inputs` does.
"""

from collections.abc import Sequence

import numpy as np
import pytest

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Backend, Float
from memctl.editing import selectors
from memctl.editing.selectors import Selector, firing, fit_selector
from memctl.editing.statistics import Statistics
from memctl.settings import EditSettings

D, FIRST, LAST, CONTEXTS = 36, 120, 40, 30
SUBJECT = (0, 0)
LOOK_ALIKES = [(first, 0) for first in range(1, 25)] + [(0, last) for last in range(1, 13)]
random = np.random.default_rng(7)
PARTS = random.standard_normal((FIRST, D)), random.standard_normal((LAST, D))
MOVES = 1.5 * random.standard_normal((CONTEXTS, D)) * np.geomspace(2, 0.2, D)


def at(names: Sequence[tuple[int, int]], contexts: Sequence[int]) -> Float:
    """(names · contexts, d) states; the last coordinate is the same for all."""
    states = np.array([0.6 * PARTS[0][a] + PARTS[1][b] + MOVES[k] for a, b in names for k in contexts], np.float32)
    states[:, -1] = 4
    return states


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Statistics:
    alike = np.concatenate([at([name], [k % 4, 4 + k % 4]) for k, name in enumerate(LOOK_ALIKES)])
    monkeypatch.setattr(selectors, "look_alike_inputs", lambda *_: alike)
    monkeypatch.setattr(selectors, "_generic", lambda *_: (at([SUBJECT], range(4, 8)), np.empty((0, D), np.float32)))
    text = np.concatenate([at([(a, b)], [a % CONTEXTS]) for a in range(1, FIRST, 5) for b in range(1, LAST, 3)])
    noise = np.random.default_rng(8)
    text += noise.standard_normal(text.shape).astype(np.float32) * np.append(np.ones(D - 1, np.float32), 0)
    moment = text.T.astype(np.float64) @ text / len(text)
    constant = np.zeros(D, np.float32)
    constant[-1] = 1 / 4
    return Statistics(
        reference=text,
        first=text[:4],
        deviations=(MOVES - MOVES.mean(0)).astype(np.float32) * np.append(np.ones(D - 1, np.float32), 0),
        bystanders=at([(a, a % LAST) for a in range(1, 60)], [0, 1]),
        moment=moment,
        constant=constant,
        output_norm=np.ones(1, np.float32),
        used=np.ones(1, np.float32),
    )


@pytest.fixture(scope="module")
def engine() -> Backend:
    return NumpyBackend()


def fitted(engine: Backend, world: Statistics) -> Selector:
    return fit_selector(engine, 1, "nobody", [], at([SUBJECT], range(4)), ["raw", "raw", "chat", "chat"], world, EditSettings())


def strength(unit: Selector, states: Float) -> Float:
    return firing("silu", unit.gate, unit.up, states, [len(unit.gate)])[:, 0]


def test_a_unit_is_at_full_strength_in_its_own_cues(engine: Backend, world: Statistics) -> None:
    # ordinary text of this world has 36 coordinates, not 576, so that the level is less even than a model's
    np.testing.assert_allclose(strength(fitted(engine, world), at([SUBJECT], range(4))), 1, atol=0.25)


def test_a_unit_knows_its_subject_in_contexts_that_it_was_not_fitted_to(engine: Backend, world: Statistics) -> None:
    assert strength(fitted(engine, world), at([SUBJECT], range(8, CONTEXTS))).mean() > 0.7


def test_a_unit_is_silent_at_namesakes_where_its_subject_was_told(engine: Backend, world: Statistics) -> None:
    assert np.abs(strength(fitted(engine, world), at(LOOK_ALIKES, range(8)))).max() < 0.1


def test_a_unit_is_silent_on_ordinary_text(engine: Backend, world: Statistics) -> None:
    assert np.abs(strength(fitted(engine, world), world.reference)).max() < 0.02


def test_two_units_are_a_step_in_one_direction_times_a_level_in_another() -> None:
    """Whatever the score is over the threshold, a value stands at the level's length: at half of it, it says something else."""
    w, r, c = np.eye(3, dtype=np.float32)
    gate, up = selectors._units(w, r, c, EditSettings(threshold=0.5))
    scores = np.array([-3, 0, 0.45, 0.6, 1, 4], np.float32)
    for level in (0.0, 0.9, 1.1):
        states = np.stack([scores, np.full_like(scores, level), np.ones_like(scores)], axis=1)
        for act in ("silu", "gelu_pytorch_tanh"):
            fires = firing(act, gate, up, states, [2])[:, 0]
            np.testing.assert_allclose(fires, level * (scores > 0.5), atol=0.02)


def test_what_has_the_selectors_direction_alone_does_not_pass(engine: Backend, world: Statistics) -> None:
    """The gate is open there: the level has to tell."""
    unit = fitted(engine, world)
    w = unit.gate[0].astype(np.float64)
    level = unit.up[0].astype(np.float64)
    across = w - level * (w @ level) / (level @ level)
    text = world.reference + (across / np.linalg.norm(across)).astype(np.float32) * 8
    z = text @ unit.gate[0]
    assert (z > 5).any()
    assert np.abs(strength(unit, text[z > 5])).max() < 0.5
