"""From facts to deltas: cues → keys → values → solve.

`find_traces` is the part that costs: it runs the model, subject by subject, on the pristine base. `solve` is cheap, joint over
all live memories, and a function of their set.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memctl.backends.protocol import Activations, Backend, Float
from memctl.deltas import Columns, Delta
from memctl.editing.first_guess import first_guess
from memctl.editing.selectors import TOUCHED, firing, fit_selector
from memctl.editing.solve import Trace, solve_plain, solve_units
from memctl.editing.statistics import Statistics, covariance, statistics
from memctl.editing.subjects import mentions, told_apart
from memctl.editing.values import NOT_IN_TOKENS, Subject, Value, find_values, of_facts
from memctl.errors import EditFailed, NonFinite, UsageError
from memctl.facts import Cue, Mode
from memctl.progress import Progress
from memctl.settings import EditSettings


@dataclass(frozen=True)
class Found:
    """A subject's trace, and how well the search went.

    Attributes:
        loss: Mean negative log-likelihood (nats a token) of the targets in the search's last step.
        norm: Length of the value relative to its bound: 1 is at the bound.
        touched: Share of the reference tokens on which the units add up to at least TOUCHED; None for plain edits.
    """

    trace: Trace
    loss: float
    norm: float
    touched: float | None


def edited_layer(backend: Backend, settings: EditSettings) -> int:
    """The layer that settings mean for a model: −1 is 15/32 of its depth, layer 14 of 30.

    Raises:
        UsageError: The model has no such layer.
    """
    layers = backend.shape.layers
    layer = settings.layer if settings.layer >= 0 else layers * 15 // 32
    if layer >= layers:
        raise UsageError(f"the model has {layers} layers, no layer {layer}", f"set edit.layer below {layers}")
    return layer


def find_traces(
    backend: Backend,
    subjects: Sequence[Subject],
    settings: EditSettings,
    progress: Progress,
    searched: dict[Subject, Found] | None = None,
) -> list[Found]:
    """Keys, values and units of subjects.

    Args:
        searched: What earlier calls with these settings have found, which is not searched again; the new ones are added.

    Raises:
        EditFailed: Some subjects have none; all others are in `searched` by then.
    """
    searched = {} if searched is None else searched
    failed: dict[str, str] = {}
    if fresh := [subject for subject in subjects if subject not in searched]:
        layer = edited_layer(backend, settings)
        stats = statistics(backend, layer, progress)
        norm = float(stats.output_norm[0])
        start = first_guess(backend, layer, norm, progress)
        values = find_values(backend, layer, fresh, start, norm, settings, progress)
        for done, (subject, value) in enumerate(zip(fresh, values, strict=True)):
            progress("fitting units", done, len(fresh))
            try:
                if isinstance(value, Exception):
                    raise value
                searched[subject] = _found(backend, layer, subject, value, stats, settings)
            except NonFinite as error:
                failed[subject.name] = error.message
            except np.linalg.LinAlgError as error:  # a ValueError, and nothing to do with its text
                failed[subject.name] = f"its unit cannot be solved for ({error})"
            except NOT_IN_TOKENS as error:
                reason = f"its text is not found again in what the model reads ({type(error).__name__}: {error})"
                failed[subject.name] = reason
        progress("fitting units", len(fresh), len(fresh))
    if failed:
        raise EditFailed(failed)
    return [searched[subject] for subject in subjects]


def _found(backend: Backend, layer: int, subject: Subject, value: Value, stats: Statistics, settings: EditSettings) -> Found:
    """The trace of one subject; raises `NonFinite`, or one of `NOT_IN_TOKENS`."""
    seen, modes = _at_subject(backend, layer, subject.name, value.cues)
    gate = up = np.empty((0, backend.shape.hidden), np.float32)
    key, touched = _by_mode(seen.keys, modes), None
    if settings.units:
        selector = fit_selector(backend, layer, subject.name, value.cues, seen.inputs, modes, stats, settings)
        gate, up = selector.gate, selector.up
        key = _by_mode(seen.inputs, modes)
        acting = firing(backend.activation, gate, up, stats.reference, [len(gate)])
        touched = float((np.abs(acting) >= TOUCHED).mean())
    if not all(np.isfinite(part).all() for part in (key, value.residual, gate, up)):
        raise NonFinite("its edit holds a number that is not finite", "try another dtype, or a smaller learning rate")
    bound = of_facts(settings, len(subject.facts)).norm_bound * float(stats.output_norm[0])
    norm = float(np.linalg.norm(value.residual)) / bound
    return Found(Trace(subject.name, layer, key, value.residual[:, None], gate, up), value.loss, norm, touched)


def solve(backend: Backend, traces: Sequence[Trace], settings: EditSettings, progress: Progress) -> list[Delta]:
    """The deltas of all live memories, in the order of their sorted subjects."""
    ordered = sorted(traces, key=lambda trace: trace.subject)
    if settings.units:
        return solve_units(ordered, backend.activation, settings.damping)
    return solve_plain(ordered, covariance(backend, edited_layer(backend, settings), progress), settings.damping)


def trace_of(subject: str, delta: Delta) -> Trace:
    """What a stored delta was solved from."""
    (edit,) = delta.edits
    units = edit.change if isinstance(edit.change, Columns) else None
    none = np.empty((0, edit.residual.shape[0]), np.float32)
    return Trace(
        subject=subject,
        layer=edit.layer,
        key=edit.key,
        residual=edit.residual,
        gate=none if units is None else units.gate,
        up=none if units is None else units.up,
    )


def _at_subject(backend: Backend, layer: int, subject: str, cues: Sequence[Cue]) -> tuple[Activations, list[Mode]]:
    """What the layer sees at each mention of the subject in the cues and their answers, and the cues' modes."""
    encodings = [backend.encode(cue.prompt, cue.mode, cue.target) for cue in cues]
    found = [told_apart(mentions(encoding, subject)) for encoding in encodings]
    last = [[mention[-1] for mention in places] for places in found]
    begun = [places[0][0] for places in found]
    seen = backend.activations_behind([encoding.tokens for encoding in encodings], layer, last, begun)
    return seen, [cue.mode for cue, places in zip(cues, found, strict=True) for _ in places]


def _by_mode(states: Float, modes: Sequence[str]) -> Float:
    """(width, p) means over raw and over chat cues, of what there is of them."""
    kinds = [kind for kind in ("raw", "chat") if kind in modes]
    return np.stack([states[[mode == kind for mode in modes]].mean(0) for kind in kinds], axis=1)
