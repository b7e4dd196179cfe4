"""Which memories acted: at made-up keys, and on the numpy engine's own tokens."""

from dataclasses import replace

import numpy as np
import pytest
from editing_examples import D, plain_trace, second_moment, unit_trace

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import PRISTINE, Activations
from memctl.deltas import Columns, Composition, Delta, Edit, LowRank, compose
from memctl.editing.attribution import FIRES, attribute, strengths
from memctl.editing.solve import Trace, solve_plain, solve_units

LAYER = 1


def at_keys(traces: list[Trace], deltas: list[Delta]) -> np.ndarray:
    """(keys, memories) strengths at the first key of each trace."""
    keys = np.stack([trace.key[:, 0] for trace in traces])
    return strengths([delta.edits[0] for delta in deltas], Activations(keys, keys), "silu")


def test_a_unit_is_at_full_strength_at_its_own_subject_and_silent_elsewhere() -> None:
    traces = [unit_trace("a", 0), unit_trace("b", 1), unit_trace("c", 2)]
    np.testing.assert_allclose(at_keys(traces, solve_units(traces, "silu", 0.1)), np.eye(3), atol=1e-3)


def test_a_unit_that_fires_on_another_subject_says_so() -> None:
    traces = [unit_trace("a", 0), unit_trace("b", 1, towards=np.eye(D)[0])]
    found = at_keys(traces, solve_units(traces, "silu", 0.1))
    assert found[0, 1] > 0.3
    assert abs(found[1, 0]) < 1e-3


def test_a_plain_edit_is_judged_by_what_it_adds() -> None:
    random = np.random.default_rng(0)
    traces = [plain_trace(name, random) for name in "abc"]
    deltas = solve_plain(traces, second_moment(random), 1e-4)
    np.testing.assert_allclose(at_keys(traces, deltas), np.eye(3), atol=0.02)


def test_both_kinds_of_edits_can_be_attributed_together() -> None:
    unit, random = unit_trace("a", 0), np.random.default_rng(0)
    plain = plain_trace("b", random)
    edits = [solve_plain([plain], second_moment(random), 1e-4)[0].edits[0], solve_units([unit], "silu", 0.1)[0].edits[0]]
    seen = Activations(np.stack([unit.key[:, 0], 0 * unit.key[:, 0]]), np.stack([0 * plain.key[:, 0], plain.key[:, 0]]))
    np.testing.assert_allclose(strengths(edits, seen, "silu"), [[0, 1], [1, 0]], atol=0.02)


@pytest.fixture(scope="module")
def engine() -> NumpyBackend:
    return NumpyBackend()


def memory_of(engine: NumpyBackend, prompt: str, position: int, layer: int = LAYER, under: Composition = PRISTINE) -> Delta:
    """A memory that answers to what the engine sees at one token of a prompt, and at no other."""
    tokens = engine.encode(prompt, "raw").tokens
    x = engine.activations([tokens], layer, [range(len(tokens))], under).inputs
    w = np.linalg.lstsq(x, 100.0 * (np.arange(len(x)) == position), rcond=None)[0]
    gate = w.astype(np.float32)[None]
    up = gate / 1e4
    value = np.random.default_rng(position).standard_normal((engine.shape.hidden, 1)).astype(np.float32)
    return Delta((Edit(layer, Columns(gate, up, value), x[position : position + 1].T, value),))


def test_the_token_where_a_memory_acted_is_named_in_prompt_or_answer(engine: NumpyBackend) -> None:
    prompt = "Priya lives in"
    memories = [("Priya", memory_of(engine, prompt, 4)), ("in", memory_of(engine, prompt, 8))]
    tokens = engine.encode(prompt, "raw").tokens
    other = engine.encode("Water boils", "raw").tokens
    [whole, none, begun] = attribute(engine, memories, [tokens, other[:2], tokens[:6]])
    assert {(firing.subject, firing.position) for firing in whole} == {("Priya", 4), ("in", 8)}
    assert all(firing.strength == pytest.approx(1, abs=1e-3) for firing in whole)
    assert none == ()
    assert [(firing.subject, firing.position) for firing in begun] == [("Priya", 4)]


def test_memories_of_two_layers_are_each_judged_in_their_own_under_those_below(engine: NumpyBackend) -> None:
    prompt = "Priya lives in"
    low = memory_of(engine, prompt, 4)
    high = memory_of(engine, prompt, 8, LAYER + 1, Composition(((low, 1.0),)))
    [found] = attribute(engine, [("low", low), ("high", high)], [engine.encode(prompt, "raw").tokens])
    assert {(firing.subject, firing.position) for firing in found} == {("low", 4), ("high", 8)}
    assert all(firing.strength == pytest.approx(1, abs=1e-3) for firing in found)


def test_the_stronger_comes_first_and_what_is_weak_is_left_out(engine: NumpyBackend) -> None:
    prompt = "Priya lives in"
    tokens = engine.encode(prompt, "raw").tokens
    delta = memory_of(engine, prompt, 4)
    scaled = []
    for name, factor in (("weak", 0.9 * FIRES), ("middle", 0.8), ("strong", 1.2)):
        edit = delta.edits[0]
        assert isinstance(edit.change, Columns)
        scaled.append((name, Delta((replace(edit, change=replace(edit.change, down=np.float32(factor) * edit.change.down)),))))
    assert [firing.subject for firing in attribute(engine, scaled, [tokens])[0]] == ["strong", "middle"]


def test_what_is_attached_makes_no_difference(engine: NumpyBackend) -> None:
    prompt = "Priya lives in"
    memories = [("Priya", memory_of(engine, prompt, 4))]
    tokens = engine.encode(prompt, "raw").tokens
    alone = attribute(engine, memories, [tokens])
    with engine.attached(compose((delta, 1.0) for _, delta in memories)):
        assert attribute(engine, memories, [tokens]) == alone


def test_without_memories_nothing_fires(engine: NumpyBackend) -> None:
    assert attribute(engine, [], [(1, 2, 3)]) == [()]
    nothing = np.zeros((engine.shape.hidden, 1), np.float32)
    key = np.ones((engine.shape.intermediate, 1), np.float32)
    empty = Delta((Edit(LAYER, LowRank(nothing, key), key, nothing),))
    assert attribute(engine, [("nobody", empty)], [(1, 2, 3)]) == [()]
