import numpy as np
from editing_examples import D, plain_trace, second_moment, unit_trace

from memctl.deltas import Columns, LowRank
from memctl.editing.selectors import activation
from memctl.editing.solve import Trace, solve_plain, solve_units


def written(trace: Trace, deltas: list) -> np.ndarray:
    """What all deltas together add at a trace's key."""
    total = np.zeros(D)
    for delta in deltas:
        change = delta.edits[0].change
        if isinstance(change, Columns):
            total += change.down @ activation("silu", change.gate, change.up, trace.key.T[:1])[0]
        else:
            total += change.U @ (change.V.T @ trace.key[:, 0])
    return total


def test_each_subject_gets_its_residual_and_its_delta_does_not_depend_on_the_others() -> None:
    traces = [unit_trace("a", 0), unit_trace("b", 1), unit_trace("c", 2)]
    deltas = solve_units(traces, "silu", 0.1)
    for trace in traces:
        np.testing.assert_allclose(written(trace, deltas), trace.residual[:, 0], atol=2e-3)
    alone = solve_units(traces[1:2], "silu", 0.1)
    assert alone[0].to_bytes() == deltas[1].to_bytes()


def test_subjects_whose_units_collide_are_solved_together() -> None:
    a = unit_trace("a", 0)
    b = unit_trace("b", 1, towards=np.eye(D)[0])  # b's unit fires on a
    deltas = solve_units([a, b, unit_trace("c", 2)], "silu", 0.1)
    for trace in (a, b):
        np.testing.assert_allclose(written(trace, deltas), trace.residual[:, 0], atol=5e-3)
    assert solve_units([a], "silu", 0.1)[0].to_bytes() != deltas[0].to_bytes()
    assert solve_units([unit_trace("c", 2)], "silu", 0.1)[0].to_bytes() == deltas[2].to_bytes()


def test_the_dual_form_of_plain_memit_is_the_closed_form() -> None:
    random = np.random.default_rng(0)
    C = second_moment(random)
    traces = [plain_trace(name, random) for name in "abc"]
    deltas = solve_plain(traces, C, 0.1)
    change = sum(d.edits[0].change.U @ d.edits[0].change.V.T for d in deltas if isinstance(d.edits[0].change, LowRank))
    K = np.concatenate([trace.key for trace in traces], axis=1).astype(np.float64)
    R = np.concatenate([np.repeat(trace.residual, 2, axis=1) for trace in traces], axis=1)
    damping = 0.1 * np.diag(K.T @ np.linalg.solve(C, K)).mean()
    primal = R @ K.T @ np.linalg.inv(K @ K.T + damping * C)
    np.testing.assert_allclose(change, primal, atol=2e-4)
