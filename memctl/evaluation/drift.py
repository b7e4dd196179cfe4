"""Drift: how much the model changed on text that the edit never saw.

The text is written for this project and used for nothing else. A window of it in which no added unit is active cannot have
changed, and is not run again; how many were run is part of the result. Dense (low-rank) edits and adapters touch every window.
"""

from importlib.resources import files

import msgspec
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from memctl.backends.protocol import Backend, Float, Tokens
from memctl.deltas import Composition
from memctl.editing.selectors import activation
from memctl.models.cache import cache_dir, replacing
from memctl.progress import Progress

WINDOW = 256
ACTIVE = 5e-4
"""Activation from which on a unit counts: what its memory's two add up to under 1e-3 (1 at the subject) is beyond the numbers'
resolution."""


class Drift(msgspec.Struct, frozen=True):
    """Change on held-out text.

    Attributes:
        perplexity: Relative change; 0.005 is half a percent.
        divergence: Mean KL divergence from the base per token, in nats.
        tokens: Scored tokens.
        windows: Windows of the text, and how many of them an edit touched and were run again.
        touched: See `windows`.
    """

    perplexity: float
    divergence: float
    tokens: int
    windows: int
    touched: int


def held_out_windows(backend: Backend) -> list[Tokens]:
    """The held-out text in windows of at most 256 tokens; passages are not mixed. An engine for tests takes the first."""
    passages = (files("memctl.data") / "heldout.txt").read_text(encoding="utf-8").split("\n---\n")
    found = []
    for passage in passages:
        tokens = backend.encode(passage.strip(), "raw").tokens
        found += [tokens[k : k + WINDOW] for k in range(0, len(tokens), WINDOW)]
    found = [window for window in found if len(window) > 8]
    ends = np.cumsum([len(window) for window in found])
    return found[: int(np.searchsorted(ends, backend.reference_tokens)) + 1]


def measure_drift(backend: Backend, composition: Composition, progress: Progress) -> Drift:
    """The drift that a composition causes; exactly 0 for an empty one."""
    windows = held_out_windows(backend)
    count = sum(len(window) - 1 for window in windows)
    touched = [k for k, hit in enumerate(_touched(backend, composition, windows, progress)) if hit]
    change = divergence = 0.0
    for done, k in enumerate(touched):
        with backend.attached(composition):
            scores = backend.score([windows[k]])
        change += float(scores.nll.sum(dtype=np.float64)) - float(scores.base.sum(dtype=np.float64))
        divergence += float(scores.divergence.sum(dtype=np.float64))
        progress("measuring drift", done + 1, len(touched))
    return Drift(float(np.expm1(change / count)), divergence / count, count, len(windows), len(touched))


def _touched(backend: Backend, composition: Composition, windows: list[Tokens], progress: Progress) -> list[bool]:
    """Which windows an edit can have changed."""
    hit = np.full(len(windows), composition.adapter is not None)
    ends = np.cumsum([len(window) for window in windows])
    for layer in composition.layers():
        if composition.low_rank(layer) is not None:
            hit[:] = True
        if (columns := composition.columns(layer)) is not None:
            inputs = _inputs(backend, layer, windows, progress)
            active = np.abs(activation(backend.activation, columns.gate, columns.up, inputs)).max(axis=1)
            hit |= [bool((part > ACTIVE).any()) for part in np.split(active, ends[:-1])]
    return hit.tolist()


def _inputs(backend: Backend, layer: int, windows: list[Tokens], progress: Progress) -> Float:
    """(T, d) MLP inputs of the base on the held-out text, cached under its fingerprint."""
    path = cache_dir() / "statistics" / f"{backend.fingerprint[:16]}-{layer}-heldout-v1.safetensors"
    try:
        stored = load_file(path)["inputs"].astype(np.float32)
        if len(stored) == sum(map(len, windows)):
            return stored
    except (FileNotFoundError, SafetensorError, KeyError):
        pass
    found = []
    for k in range(0, len(windows), 16):
        part = windows[k : k + 16]
        found.append(backend.activations(part, layer, [range(len(window)) for window in part]).inputs)
        progress("measuring held-out text", min(k + 16, len(windows)), len(windows))
    inputs = np.concatenate(found)
    with replacing(path) as partial:
        save_file({"inputs": inputs.astype(np.float16)}, partial)
    return inputs.astype(np.float16).astype(np.float32)
