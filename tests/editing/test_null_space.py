"""A refresh moves what it is asked to move, and nothing that is held; on synthetic keys, in float64."""

from dataclasses import replace

import numpy as np
import pytest
from editing_examples import D, plain_trace, second_moment, unit_trace
from hypothesis import given, settings
from hypothesis import strategies as st

from memctl.deltas import Delta
from memctl.editing.null_space import REACHABLE, free_directions, refresh_plain, refresh_units
from memctl.editing.solve import Trace, solve_plain, solve_units

QUICK = settings(max_examples=60, deadline=None)


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.random.Generator]:
    """Held keys, refreshed keys and a metric; held keys of any length, some of them as good as equal."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    width = draw(st.integers(12, 60))
    refreshed = draw(st.integers(1, 3))
    held = random.standard_normal((width, draw(st.integers(0, width // 3))))
    if held.size:
        near = draw(st.sampled_from([0.0, 1e-9, 1e-4, 0.1]))
        twins = held + near * random.standard_normal(held.shape)
        held = np.concatenate([held, twins], axis=1) * random.uniform(1e-3, 1e3, 2 * held.shape[1])
    keys = random.standard_normal((width, refreshed)) * random.uniform(1e-3, 1e3, refreshed)
    metric = second_moment(random, width) if draw(st.booleans()) else None
    return held, keys, metric, random


@given(problems())
@QUICK
def test_held_outputs_stay_and_refreshed_keys_reach_their_targets(problem: tuple) -> None:
    held, keys, metric, random = problem
    W, other = random.standard_normal((2, D, len(keys)))
    T = other @ keys  # as large as what the weights make of the keys
    change = T @ free_directions(held, keys, metric).T
    moved = np.linalg.norm(change @ held, axis=0)
    assert (moved <= 1e-6 * np.linalg.norm(W @ held, axis=0)).all()
    left = np.linalg.svd(_free(held, keys, metric), compute_uv=False) ** 2
    if left.min() > REACHABLE:
        assert (np.linalg.norm(change @ keys - T, axis=0) <= 1e-6 * np.linalg.norm(T, axis=0)).all()


def _free(held: np.ndarray, keys: np.ndarray, metric: np.ndarray | None) -> np.ndarray:
    """Keys of length 1 less their least-squares fit by the held ones, in the metric: by another way than the code's."""
    root = np.eye(len(keys)) if metric is None else np.linalg.inv(np.linalg.cholesky(metric))
    a, b = root @ held, root @ keys
    a, b = a / np.linalg.norm(a, axis=0), b / np.linalg.norm(b, axis=0)
    return b - a @ np.linalg.lstsq(a, b, rcond=1e-8)[0] if a.size else b


@given(problems(), st.floats(0, 0.05))
@QUICK
def test_a_key_in_the_span_of_the_held_ones_is_left_alone_rather_than_moved_at_any_price(problem: tuple, off: float) -> None:
    held, keys, metric, random = problem
    if not held.size:
        return
    inside = (held / np.linalg.norm(held, axis=0)) @ random.standard_normal((held.shape[1], 1))
    outside = keys[:, :1] / np.linalg.norm(keys[:, :1])
    key = inside + off * np.linalg.norm(inside) * outside
    Z = free_directions(held, key, metric)
    lowest = 1.0 if metric is None else np.sqrt(np.linalg.eigvalsh(metric)[0])
    highest = 1.0 if metric is None else np.sqrt(np.linalg.eigvalsh(metric)[-1])
    # no change is larger, in the metric, than 1 / √REACHABLE times that of the key alone
    assert np.linalg.norm(Z) * lowest * np.linalg.norm(key) / highest <= 1.01 / np.sqrt(REACHABLE)


@given(problems())
@QUICK
def test_of_all_such_changes_it_is_the_smallest_in_the_metric(problem: tuple) -> None:
    held, keys, metric, random = problem
    C = np.eye(len(keys)) if metric is None else metric
    z = free_directions(held, keys, metric)[:, 0]
    # another one differs by what both keys and held keys do not see, and what they do not see cannot be taken off it
    both = np.concatenate([held / np.linalg.norm(held, axis=0), keys / np.linalg.norm(keys, axis=0)], axis=1)
    basis, size, _ = np.linalg.svd(both)
    unseen = basis[:, int((size > 1e-5 * size[0]).sum()) :]
    other = z + unseen @ random.standard_normal(unseen.shape[1]) * np.linalg.norm(z)
    assert z @ C @ z <= other @ C @ other * (1 + 1e-6)


def with_value(trace: Trace, seed: int) -> Trace:
    return replace(trace, residual=np.random.default_rng(seed).standard_normal((D, 1)).astype(np.float32))


def test_plain_memories_are_refreshed_and_the_others_keep_their_bytes() -> None:
    random = np.random.default_rng(1)
    C = second_moment(random)
    traces = [plain_trace(name, random) for name in "abcd"]
    deltas = solve_plain(traces, C, 0.5)
    wanted = [with_value(traces[0], 9), *traces[1:3], with_value(traces[3], 10)]
    found = refresh_plain(wanted, deltas, {"a", "d"}, C)
    assert [found.deltas[k] is deltas[k] for k in range(4)] == [False, True, True, False]
    assert found.changed.keys() == {"b", "c"}
    assert max(found.changed.values()) < 1e-5  # float32 as stored
    assert max(found.missed.values()) < 1e-5
    again = Delta.from_bytes(found.deltas[0].to_bytes())
    np.testing.assert_array_equal(again.edits[0].residual, wanted[0].residual)


def test_units_are_refreshed_through_their_outputs_alone() -> None:
    traces = [unit_trace("a", 0), unit_trace("b", 1), unit_trace("c", 2)]
    deltas = solve_units(traces, "silu", 0.1)
    wanted = [traces[0], with_value(traces[1], 9), traces[2]]
    found = refresh_units(wanted, deltas, {"b"}, "silu")
    assert [found.deltas[k] is deltas[k] for k in range(3)] == [True, False, True]
    assert found.changed == pytest.approx({"a": 0, "c": 0}, abs=1e-6)
    assert found.missed["b"] < 1e-5


def test_a_unit_that_fires_on_the_refreshed_subject_is_taken_into_account() -> None:
    a, b = unit_trace("a", 0), unit_trace("b", 1, towards=np.eye(D)[0])  # b's unit fires on a
    deltas = solve_units([a, b], "silu", 0.1)
    for wanted, name, other in (([with_value(a, 9), b], "a", "b"), ([a, with_value(b, 9)], "b", "a")):
        found = refresh_units(wanted, deltas, {name}, "silu")
        assert found.missed[name] < 1e-5
        assert found.changed[other] < 1e-5


def test_what_cannot_be_reached_stays_and_is_said() -> None:
    random = np.random.default_rng(2)
    C = second_moment(random)
    a = plain_trace("a", random)
    b = plain_trace("b", random, key=a.key + 1e-3 * random.standard_normal(a.key.shape))
    deltas = solve_plain([a, b], C, 0.5)
    found = refresh_plain([a, with_value(b, 9)], deltas, {"b"}, C)
    assert found.missed["b"] > 0.5
    assert found.changed["a"] < 1e-5
