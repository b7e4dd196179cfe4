"""Passes that several things share are trusted only as long as each thing comes out as it does alone."""

from collections.abc import Sequence

import pytest

from memctl.backends.torch_shared import CHECKED, SharedPasses


class Engine:
    """Doubles numbers; in a pass with more than `honest` of them, one of them comes out wrong. Keeps a list of its passes."""

    def __init__(self, honest: int = 1000, wrong: int = 0) -> None:
        self.honest, self.wrong = honest, wrong
        self.passes: list[int] = []

    def run(self, items: Sequence[int]) -> list[int]:
        self.passes.append(len(items))
        found = [2 * item for item in items]
        if len(items) > self.honest:
            found[self.wrong] += 1
        return found


def passes() -> SharedPasses[int, int]:
    return SharedPasses(int.__eq__)


def test_a_pass_is_shared_and_looked_at_once() -> None:
    engine, shared = Engine(), passes()
    for _ in range(3):
        assert shared.run(range(3), 30, engine.run) == [0, 2, 4]
    assert engine.passes == [3, 1, 1, 1, 3, 3]


def test_a_much_larger_one_is_looked_at_again() -> None:
    engine, shared = Engine(), passes()
    for tokens in (40, 45, 60):
        shared.run(range(2), tokens, engine.run)
    assert engine.passes == [2, 1, 1, 2, 2, 1, 1]


@pytest.mark.parametrize("wrong", [0, 2])
def test_where_one_differs_all_are_run_alone_from_then_on(wrong: int) -> None:
    engine, shared = Engine(honest=3, wrong=wrong), passes()
    assert shared.run(range(3), 30, engine.run) == [0, 2, 4]
    assert shared.run(range(4), 60, engine.run) == [0, 2, 4, 6]
    assert not shared.trusted
    engine.passes.clear()
    assert shared.run(range(3), 30, engine.run) == [0, 2, 4]
    assert engine.passes == [1, 1, 1]


def test_those_that_were_not_looked_at_are_run_alone_too_when_one_differs() -> None:
    count = CHECKED + 3
    engine = Engine(honest=3)
    assert passes().run(range(count), 100, engine.run) == [2 * k for k in range(count)]
    assert engine.passes == [count] + [1] * count


def test_one_alone_and_none_need_no_look() -> None:
    engine, shared = Engine(), passes()
    assert shared.run([4], 9, engine.run) == [8]
    assert shared.run([], 0, engine.run) == []
    assert engine.passes == [1]


def test_without_trust_everything_is_run_alone() -> None:
    engine, shared = Engine(), SharedPasses[int, int](int.__eq__, trusted=False)
    assert shared.run(range(2), 20, engine.run) == [0, 2]
    assert engine.passes == [1, 1]
