import pytest

from memctl.bench.intervals import estimate


def test_the_interval_is_students() -> None:
    found = estimate([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.high == pytest.approx(2.0 + 4.302653 / 3**0.5, abs=1e-5)  # t(.975, 2) from a printed table
    assert found.low == pytest.approx(4.0 - found.high)
    assert found.seeds == 3


def test_one_seed_says_nothing_about_the_spread() -> None:
    assert (estimate([0.5]).low, estimate([0.5]).high) == (None, None)


def test_the_interval_of_a_share_ends_where_shares_do() -> None:
    found = estimate([0.9, 1.0], 0.0, 1.0)
    assert found.high == 1.0
    assert estimate([0.1, 0.9], 0.0, 1.0).low == 0.0
