"""What is refused before it is written, and why."""

from dataclasses import replace

import numpy as np
import pytest
from editing_examples import D, plain_trace, unit_trace

from memctl.editing.edit import Found
from memctl.editing.preflight import DAMAGE, UNLEARNED, preflight
from memctl.editing.solve import Trace


def found(trace: Trace, loss: float = 0.02, norm: float = 0.5, touched: float | None = 0.0) -> Found:
    return Found(trace, loss, norm, touched)


def both_ways(name: str, seed: int, other: int) -> Trace:
    """A trace whose unit fires on the subject with the number `other`."""
    return unit_trace(name, seed, towards=np.eye(D)[other])


def test_a_memory_that_was_learned_and_meets_nobody_is_not_refused() -> None:
    [check] = preflight([found(unit_trace("a", 0))], [unit_trace("b", 1)], "silu", None)
    assert (check.subject, check.refused, check.collisions) == ("a", "", ())
    assert (check.loss, check.norm, check.touched) == (0.02, 0.5, 0.0)


@pytest.mark.parametrize("loss", [UNLEARNED * 1.01, float("nan"), float("inf")])
def test_a_value_that_was_not_learned_is_refused(loss: float) -> None:
    [check] = preflight([found(unit_trace("a", 0), loss=loss)], [], "silu", None)
    assert "not learned" in check.refused
    assert check.loss == (loss if np.isfinite(loss) else None)  # JSON has no other word for it
    assert "bound" not in check.refused
    [check] = preflight([found(unit_trace("a", 0), loss=loss, norm=1.0)], [], "silu", None)
    assert "at the norm bound" in check.refused


def test_a_unit_that_acts_on_ordinary_text_is_refused() -> None:
    [check] = preflight([found(unit_trace("a", 0), touched=2 * DAMAGE)], [], "silu", None)
    assert "0.20% of ordinary text" in check.refused


def test_units_that_are_silent_at_their_own_subject_are_refused() -> None:
    weak = unit_trace("a", 0)
    [check] = preflight([found(replace(weak, up=weak.up * np.float32(0.3)))], [], "silu", None)
    assert "do not answer to its name" in check.refused


@pytest.mark.parametrize("new_fires", [True, False])
def test_collisions_are_found_both_ways(new_fires: bool) -> None:
    new = both_ways("new", 0, 1) if new_fires else unit_trace("new", 0)
    stored = unit_trace("old", 1) if new_fires else both_ways("old", 1, 0)
    [check] = preflight([found(new)], [unit_trace("far", 5), stored], "silu", None)
    assert [collision.subject for collision in check.collisions] == ["old"]
    assert "cannot be told apart from 'old'" in check.refused


def test_a_weak_collision_is_named_but_not_refused() -> None:
    new = unit_trace("new", 0, towards=0.75 * np.eye(D)[1])
    [check] = preflight([found(new)], [unit_trace("old", 1)], "silu", None)
    assert 0.1 < check.collisions[0].strength < 0.5
    assert check.refused == ""


def test_of_two_that_are_told_together_the_later_one_is_refused() -> None:
    first, second = preflight([found(unit_trace("z", 1)), found(both_ways("a", 0, 1))], [], "silu", None)
    assert (first.refused, first.collisions) == ("", ())
    assert "'z'" in second.refused


def test_a_collision_with_one_that_is_refused_forbids_nothing() -> None:
    first, second = preflight([found(unit_trace("z", 1), loss=9.0), found(both_ways("a", 0, 1))], [], "silu", None)
    assert first.refused
    assert second.refused == ""
    assert [collision.subject for collision in second.collisions] == ["z"]  # with --force both are there


def test_plain_edits_are_told_apart_by_their_whitened_keys() -> None:
    random = np.random.default_rng(0)
    old = plain_trace("old", random)
    twin = plain_trace("twin", random, old.key + 0.01 * random.standard_normal(old.key.shape))
    kin = plain_trace("kin", random, old.key + 0.7 * random.standard_normal(old.key.shape))
    C = np.eye(len(old.key))
    checks = preflight([found(trace, touched=None) for trace in (twin, kin, plain_trace("far", random))], [old], "silu", C)
    assert "'old'" in checks[0].refused
    assert [collision.subject for collision in checks[1].collisions] == ["old", "twin"]
    assert checks[1].refused == ""
    assert checks[2].collisions == ()


def test_what_all_names_have_in_common_does_not_make_two_of_them_one() -> None:
    random = np.random.default_rng(0)
    common, own, other = (np.zeros((48, 2)) for _ in range(3))
    common[0], own[1], other[2] = 100, 1, 1
    old, new = (plain_trace(name, random, common + key) for name, key in (("old", own), ("new", other)))
    by_plain_cosine = preflight([found(new, touched=None)], [old], "silu", np.eye(48))[0]
    C = np.eye(48)
    C[0, 0] = 1e6
    whitened = preflight([found(new, touched=None)], [old], "silu", C)[0]
    assert (bool(by_plain_cosine.refused), whitened.collisions) == (True, ())
