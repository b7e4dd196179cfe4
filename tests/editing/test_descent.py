"""Descent by the full matrix: no axis is special, a step is as long as asked, and what is known before helps."""

import numpy as np
import pytest

from memctl.editing.descent import WINDOW, FullMatrix, Start, start

SIZE = 24
TURNED = np.linalg.qr(np.random.default_rng(5).normal(size=(SIZE, SIZE)))[0]
CURVATURE = np.geomspace(1, 1e-4, SIZE)
VALLEY = TURNED @ np.diag(CURVATURE) @ TURNED.T
"""A narrow valley, at right angles to no axis."""

GOAL = TURNED @ np.ones(SIZE)
UNKNOWN = start(np.zeros(SIZE, np.float32), ())


def height(at: np.ndarray) -> float:
    return float((at - GOAL) @ VALLEY @ (at - GOAL))


def descended(known: Start, steps: int, gradients: list[np.ndarray] | None = None) -> float:
    descent, at = FullMatrix(known), known.guess.copy()
    for step in range(steps):
        gradient = (VALLEY @ (at - GOAL)).astype(np.float32)
        if gradients is not None:
            gradients.append(gradient)
        at = at - descent.step(gradient, 0.6 * (1 - step / steps))
    return height(at)


def along_the_mean_gradient(steps: int) -> float:
    """As far as momentum alone comes, in steps of the same lengths."""
    at, mean = np.zeros(SIZE), np.zeros(SIZE)
    for step in range(steps):
        mean = 0.8 * mean + 0.2 * VALLEY @ (at - GOAL)
        at -= 0.6 * (1 - step / steps) * mean / np.linalg.norm(mean)
    return height(at)


def test_it_comes_further_down_a_turned_valley_than_momentum_alone() -> None:
    assert descended(UNKNOWN, 30) < along_the_mean_gradient(30) / 2


def test_gradients_of_earlier_searches_help() -> None:
    seen: list[np.ndarray] = []
    alone = descended(UNKNOWN, 30, seen)
    assert descended(start(UNKNOWN.guess, seen), 30) < alone


@pytest.mark.parametrize("known", [UNKNOWN, start(UNKNOWN.guess, list(TURNED[:5].astype(np.float32)))])
def test_a_step_is_as_long_as_asked_and_leads_downhill(known: Start) -> None:
    descent = FullMatrix(known)
    random = np.random.default_rng(3)
    for _ in range(WINDOW + 5):
        gradient = random.normal(size=SIZE).astype(np.float32)
        change = descent.step(gradient, 0.25)
        assert np.linalg.norm(change) == pytest.approx(0.25, rel=1e-5)
    first = FullMatrix(known).step(gradient, 0.25)
    assert first @ gradient > 0


def test_no_gradient_is_no_step() -> None:
    assert not FullMatrix(UNKNOWN).step(np.zeros(SIZE, np.float32), 1.0).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_ends_in_a_value_that_is_not(bad: float) -> None:
    descent = FullMatrix(UNKNOWN)
    descent.step(np.ones(SIZE, np.float32), 1.0)
    assert np.isnan(descent.step(np.full(SIZE, bad, np.float32), 1.0)).all()


def test_directions_that_gradients_share_are_weighed_less() -> None:
    known = start(UNKNOWN.guess, [np.eye(SIZE, dtype=np.float32)[0]] * 3 + [np.eye(SIZE, dtype=np.float32)[1]])
    evened = known.evened(np.ones(SIZE))
    assert evened[0] < evened[1] < evened[2] == pytest.approx(evened[3])
