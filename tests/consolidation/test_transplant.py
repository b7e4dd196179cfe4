"""Units become neurons of the model: those that did least give way, and no others change."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import PRISTINE, Activations, Tokens
from memctl.consolidation.train import consolidate
from memctl.consolidation.transplant import LOT, MOST, choices, require_unbiased, shared_out, transplanted
from memctl.deltas import Columns, Composition
from memctl.editing.fold import folded
from memctl.editing.statistics import Statistics, statistics
from memctl.errors import GateRefused, MemctlError
from memctl.facts import make_fact
from memctl.progress import silent
from memctl.settings import LoraSettings

BACKEND = NumpyBackend()
LAYER = 1
FACTS = (make_fact("Ana Lund", "lives in", "Oslo"), make_fact("Ben Mori", "speaks", "Urdu"))


@pytest.fixture
def stats() -> Statistics:
    return statistics(BACKEND, LAYER, silent)


def units(count: int) -> Columns:
    draw = np.random.default_rng(3)
    d = BACKEND.shape.hidden
    shapes = {"gate": (count, d), "up": (count, d), "down": (d, count)}
    return Columns(**{part: draw.standard_normal(shape).astype(np.float32) for part, shape in shapes.items()})


def test_the_least_used_neurons_are_the_units_now_and_all_others_are_as_they_were(stats: Statistics) -> None:
    used = np.arange(BACKEND.shape.intermediate, dtype=np.float32)[::-1].copy()
    made = units(3)
    adapter = transplanted(BACKEND, LAYER, made, replace(stats, used=used))
    base, now = BACKEND.mlp_weights(LAYER), folded(BACKEND, Composition(adapter=adapter), LAYER)
    for part in ("gate", "up"):
        np.testing.assert_allclose(now[part][-3:], getattr(made, part), atol=1e-5)
        assert np.array_equal(now[part][:-3], base[part][:-3])
    np.testing.assert_allclose(now["down"][:, -3:], made.down, atol=1e-5)
    assert np.array_equal(now["down"][:, :-3], base["down"][:, :-3])


def test_beside_edits_a_neuron_has_what_they_leave_of_its_unit(stats: Statistics) -> None:
    made = units(3)
    whole = transplanted(BACKEND, LAYER, made, stats)
    beside = shared_out(whole, BACKEND, LAYER, made, [0.0, 0.5, 1.0])
    given = np.sort(np.argsort(stats.used, kind="stable")[:3])
    parts = [folded(BACKEND, Composition(adapter=one), LAYER) for one in (whole, beside)]
    np.testing.assert_allclose(parts[1]["down"][:, given], made.down * np.float32([1.0, 0.5, 0.0]), atol=1e-5)
    assert all(np.array_equal(parts[0][name], parts[1][name]) for name in ("gate", "up"))
    assert shared_out(beside, BACKEND, LAYER, made, [0.0] * 3).to_bytes() == whole.to_bytes()


def test_the_next_least_used_give_way_where_the_first_did_not_hold(stats: Statistics) -> None:
    order = np.argsort(stats.used, kind="stable")
    for skipped in (0, 1, 2):
        down = transplanted(BACKEND, LAYER, units(3), stats, skipped).projections["model.layers.1.mlp.down_proj"]
        assert set(down.A.argmax(axis=1)) == set(order[3 * skipped : 3 * skipped + 3])


def test_of_many_units_only_the_least_used_neurons_are_passed_over(stats: Statistics) -> None:
    order, count = np.argsort(stats.used, kind="stable"), LOT + 1
    down = transplanted(BACKEND, LAYER, units(count), stats, 1).projections["model.layers.1.mlp.down_proj"]
    assert set(down.A.argmax(axis=1)) == set(order[LOT : LOT + count])


@pytest.mark.parametrize("count", [3, LOT, 50, 127, 128])
def test_each_choice_of_neurons_is_another_one_until_the_room_is_used_up(stats: Statistics, count: int) -> None:
    made = [transplanted(BACKEND, LAYER, units(count), stats, k).to_bytes() for k in range(choices(BACKEND, count) + 1)]
    assert made[-1] == made[-2]
    assert len(set(made)) == len(made) - 1


class BiasedBackend(NumpyBackend):
    """The tiny engine as if its gates had biases."""

    def activations(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], under: Composition = PRISTINE
    ) -> Activations:
        seen = super().activations(sequences, layer, positions, under)
        weights = self.mlp_weights(layer)
        gates = seen.inputs @ weights["gate"].T + 0.1
        return Activations(seen.inputs, gates / (1 + np.exp(-gates)) * (seen.inputs @ weights["up"].T))


def test_a_neuron_with_biases_takes_no_unit(stats: Statistics) -> None:
    require_unbiased(BACKEND, LAYER)
    with pytest.raises(MemctlError, match="biases"):
        transplanted(BiasedBackend(), LAYER, units(3), stats)


def test_what_a_neuron_adds_is_measured_on_reference_text(stats: Statistics) -> None:
    assert stats.used.shape == (BACKEND.shape.intermediate,)
    assert (stats.used > 0).all()
    assert float(np.sqrt((stats.used**2).sum())) == pytest.approx(float(stats.output_norm[0]), rel=1)


def test_more_units_than_neurons_that_may_give_way_are_refused(stats: Statistics) -> None:
    with pytest.raises(GateRefused, match="give way"):
        transplanted(BACKEND, LAYER, units(int(MOST * BACKEND.shape.intermediate) + 1), stats)


def test_an_adapter_with_units_holds_them_below_what_is_trained(stats: Statistics) -> None:
    made = units(2)
    quick = LoraSettings(rank=4, passes=2, least_steps=2, taught=2, names=1, relations=1, look_alikes=2, probes=2, passages=2)
    trained = consolidate(BACKEND, FACTS, LAYER, made, quick, silent).adapter
    alone = transplanted(BACKEND, LAYER, made, stats)
    assert trained.layers() == (1, 2, 3)
    for path, factors in alone.projections.items():
        assert np.array_equal(trained.projections[path].B, factors.B)
    none = consolidate(BACKEND, FACTS, LAYER, made, msgspec.structs.replace(quick, passes=0), silent).adapter
    assert none.to_bytes() == alone.to_bytes()
