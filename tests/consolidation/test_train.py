"""Training of the adapter on the tiny engine: what it says of the facts, and of others."""

import numpy as np
import pytest

from memctl.adapters import layer_of
from memctl.backends.numpy_backend import NumpyBackend
from memctl.consolidation.train import consolidate
from memctl.deltas import Composition
from memctl.errors import MemctlError
from memctl.evaluation.recall import recall
from memctl.facts import make_fact
from memctl.progress import silent
from memctl.settings import LoraSettings

BACKEND = NumpyBackend()
LAYER = 1
FACTS = (make_fact("Ana Lund", "lives in", "Oslo"), make_fact("Ben Mori", "speaks", "Urdu"))
QUICK = LoraSettings(
    rank=4, passes=3, least_steps=3, taught=2, names=2, relations=2, texts=1, look_alikes=3, strangers=1, probes=2, passages=4
)


def test_equal_facts_in_any_order_give_equal_adapters() -> None:
    one, other = (consolidate(BACKEND, facts, LAYER, None, QUICK, silent) for facts in (FACTS, FACTS[::-1]))
    assert one.adapter.to_bytes() == other.adapter.to_bytes()
    assert one.steps == 3
    fewer = consolidate(BACKEND, FACTS[:1], LAYER, None, QUICK, silent)
    assert fewer.adapter.to_bytes() != one.adapter.to_bytes()


def test_only_layers_above_the_edited_one_change_so_its_inputs_stay_to_the_bit() -> None:
    adapter = consolidate(BACKEND, FACTS, LAYER, None, QUICK, silent).adapter
    assert {layer_of(path) for path in adapter.projections} == {2, 3}
    prompt = BACKEND.encode("Ana Lund lives in", "raw").tokens
    there = ([prompt], LAYER, [range(len(prompt))])
    plain, beside = BACKEND.activations(*there), BACKEND.activations(*there, Composition(adapter=adapter))
    assert np.array_equal(plain.inputs, beside.inputs)
    with pytest.raises(MemctlError, match="no layer from 4 on"):
        consolidate(BACKEND, FACTS, 3, None, QUICK, silent)


def test_the_adapter_alone_says_what_it_was_taught() -> None:
    settings = LoraSettings(
        rank=4,
        passes=160,
        taught=4,
        names=2,
        relations=2,
        texts=1,
        look_alikes=3,
        strangers=1,
        probes=2,
        passages=4,
        kept_weight=1.0,
        learning_rate=1e-3,
        least_steps=10,
    )
    found = consolidate(BACKEND, FACTS, LAYER, None, settings, silent)
    with BACKEND.attached(Composition(adapter=found.adapter)):
        scores = recall(BACKEND, FACTS, silent)
    assert [(score.raw, score.chat) for score in scores] == [(1.0, 1.0)] * 2
    assert found.checks[-1].step == found.steps == 80
    assert found.checks[0].loss > found.checks[-1].loss
