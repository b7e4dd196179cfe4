import numpy as np
import pytest

from memctl.deltas import Columns, Delta, Edit, LowRank, compose
from memctl.errors import DamagedStore, NonFinite


def array(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def columns(layer: int = 2, seed: int = 0) -> Delta:
    change = Columns(array(1, 8, seed=seed), array(1, 8, seed=seed + 1), array(8, 1, seed=seed + 2))
    return Delta((Edit(layer, change, array(8, 2), array(8, 1)),))


def low_rank(seed: int = 0) -> Delta:
    return Delta((Edit(2, LowRank(array(8, 2, seed=seed), array(16, 2)), array(16, 2), array(8, 1)),))


@pytest.mark.parametrize("delta", [columns(), low_rank()])
def test_a_delta_comes_back_from_its_bytes_and_gives_the_same_bytes(delta: Delta) -> None:
    data = delta.to_bytes()
    again = Delta.from_bytes(data)
    assert again.to_bytes() == data
    assert type(again.edits[0].change) is type(delta.edits[0].change)


def test_a_nan_is_refused_on_the_way_in_and_on_the_way_out() -> None:
    delta = columns()
    delta.edits[0].residual[3] = np.nan
    with pytest.raises(NonFinite, match="residual"):
        delta.to_bytes()
    data = bytearray(columns().to_bytes())
    data[-4:] = np.float32(np.nan).tobytes()
    with pytest.raises(DamagedStore, match="non-finite"):
        Delta.from_bytes(bytes(data))


def test_bytes_that_are_no_delta_are_damage() -> None:
    with pytest.raises(DamagedStore):
        Delta.from_bytes(b"not safetensors at all")


def test_a_composition_joins_units_with_their_scales_and_leaves_out_scale_zero() -> None:
    a, b, c = columns(seed=1), columns(seed=5), columns(seed=9)
    joined = compose([(a, 1.0), (b, 0.0), (c, 0.5)]).columns(2)
    assert joined is not None
    assert joined.gate.shape == (2, 8)
    change = c.edits[0].change
    assert isinstance(change, Columns)
    np.testing.assert_array_equal(joined.down[:, 1:], change.down * np.float32(0.5))
