"""What is measured once per base model and layer, and cached under the base's fingerprint.

Selectors need to know what the MLP sees on ordinary text, how contexts move a name, and what other names look like. Plain
MEMIT needs the second moment of the keys. All of it comes from the pristine base and from reference text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache, cached_property, lru_cache
from itertools import cycle
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from memctl.backends.protocol import Backend, Float, Tokens
from memctl.editing.reference import enough, reference
from memctl.editing.relations import bank, in_turn
from memctl.editing.subjects import contexts, in_contexts, invented, look_alikes, seeded
from memctl.facts import Mode
from memctl.models.cache import cache_dir, replacing
from memctl.progress import Progress, silent

FORMAT = 5
"""Raised whenever what is measured changes, so that an older cache is made anew."""

CONTEXT_NAMES = 160
BYSTANDERS = 600
FIRST_TOKENS = 1000
"""How many names and tokens are looked at; an engine for tests makes do with fewer (see `enough`)."""

STRIDE = 5
"""Between the contexts of one look-alike and the next."""

AROUND = 8
"""Tokens before a look-alike at which a subject's units are to be silent too, besides all that follow."""

BEHIND = 72
"""Pieces of reference text that a subject is met behind. What stands right before a name moves it: without them, a quarter of
the mentions behind other text left a single unit silent; with 24, a sixth; with 72, one in sixteen."""

PIECE = 16
"""Tokens of such a piece, at most."""

JOINTS = (" ", ". ", ", ", "\n")
"""What stands between it and the subject."""

CHUNK = 64


@dataclass(frozen=True)
class Statistics:
    """What the MLP of one layer sees.

    Attributes:
        reference: (T, d) MLP inputs on reference text, all but each sequence's first position; float16 on disk.
        first: (F, d) MLP inputs of tokens at a sequence's first position, where they are unlike all others.
        deviations: (V, d) how contexts move a name: its inputs in a context minus its mean over contexts.
        bystanders: (B, d) inputs at the last token of invented names, in all kinds of contexts.
        moment: (d, d) float64 E[xxᵀ] over the reference tokens.
        constant: (d,) direction c with c·x ≈ 1 for every token but a sequence's first, by ridge regression.
        output_norm: () root mean square norm of the MLP's output on reference text.
        used: (m,) the same of what each of the MLP's neurons adds to it: sqrt(E[kⱼ²]) ‖W_down[:, j]‖.
    """

    reference: Float
    first: Float
    deviations: Float
    bystanders: Float
    moment: NDArray[np.float64]
    constant: Float
    output_norm: Float
    used: Float

    @cached_property
    def whitening(self) -> Float:
        """(d, d) `V Λ^(−1/2)` of the covariance's eigenvectors: in `x @ whitening` ordinary text has unit covariance."""
        mean = self.reference.mean(axis=0, dtype=np.float64)
        values, vectors = np.linalg.eigh(self.moment - np.outer(mean, mean))
        whitening: Float = (vectors / np.sqrt(np.maximum(values, 1e-6 * values.max()))).astype(np.float32)
        return whitening


def all_contexts() -> list[tuple[Mode, str]]:
    """Every context that knows no relation, with its mode."""
    return [*(("raw", text) for text in contexts().raw), *(("chat", text) for text in contexts().chat)]


@cache
def bank_wordings() -> list[tuple[Mode, str]]:
    """A raw form and a question of each of the bank's relations, out of those that it trains on."""
    return [wording for k, relation in enumerate(bank().values()) for wording in in_turn(relation, k)]


@cache
def anywhere() -> list[tuple[Mode, str]]:
    """What people may write about somebody, known or not: in turn what knows no relation, and the bank's wordings."""
    return [context for pair in zip(cycle(all_contexts()), bank_wordings(), strict=False) for context in pair]


def behind_text(backend: Backend) -> list[tuple[Mode, str]]:
    """Contexts in which the subject follows a piece of reference text."""
    texts, random = reference(backend, silent), seeded("behind text")
    found: list[tuple[Mode, str]] = []
    for k in range(enough(BEHIND, backend)):
        text = texts[random.integers(len(texts))]
        begin = int(random.integers(max(1, len(text) - PIECE)))
        piece = backend.decode(text[begin : begin + int(random.integers(PIECE // 4, PIECE))]).strip().replace("{s}", "")
        found.append(("raw", piece + JOINTS[k % len(JOINTS)] + "{s}"))
    return found


def statistics(backend: Backend, layer: int, progress: Progress) -> Statistics:
    """The statistics of a layer, from the cache or measured now (about two minutes for a 135M model on two cores)."""
    path = _path(backend.fingerprint, layer, "inputs")
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (FileNotFoundError, SafetensorError, TypeError, KeyError):
        made = _measure(backend, layer, progress)
    tensors = {field.name: getattr(made, field.name) for field in fields(made)}
    _keep(path, tensors | {"reference": made.reference.astype(np.float16)})
    return made


@lru_cache(maxsize=1)
def _read(path: Path, modified: int) -> Statistics:
    """Statistics from the cache, kept for the next fact that is told to this process; `modified` is the file's time."""
    stored = load_file(path)
    return Statistics(**(stored | {"reference": stored["reference"].astype(np.float32)}))


def covariance(backend: Backend, layer: int, progress: Progress) -> NDArray[np.float64]:
    """(m, m) `C = E[kkᵀ]` over reference text, accumulated in float64; only plain MEMIT asks for it."""
    path = _path(backend.fingerprint, layer, "keys")
    try:
        return np.asarray(load_file(path)["covariance"], np.float64)
    except (FileNotFoundError, SafetensorError, KeyError):
        texts = reference(backend, progress)
    m = backend.shape.intermediate
    total, count = np.zeros((m, m)), 0
    for begin in range(0, len(texts), CHUNK):
        part = texts[begin : begin + CHUNK]
        keys = backend.activations(part, layer, _all_but_first(part)).keys.astype(np.float64)
        total += keys.T @ keys
        count += len(keys)
        progress("measuring keys on reference text", min(begin + CHUNK, len(texts)), len(texts))
    _keep(path, {"covariance": total / count})
    return total / count


def _measure(backend: Backend, layer: int, progress: Progress) -> Statistics:
    texts = reference(backend, progress)
    down = backend.mlp_weights(layer)["down"]
    ordinary, energy, squares = [], [], np.zeros(backend.shape.intermediate)
    for begin in range(0, len(texts), CHUNK):
        part = texts[begin : begin + CHUNK]
        seen = backend.activations(part, layer, [range(len(text)) for text in part])
        starts = np.cumsum([0, *map(len, part)])[:-1]
        # through float16, so that a statistic is the same whether it was just measured or read back
        ordinary.append(np.delete(seen.inputs, starts, axis=0).astype(np.float16).astype(np.float32))
        squares += (np.delete(seen.keys, starts, axis=0).astype(np.float64) ** 2).sum(0)
        energy.append((np.delete(seen.keys, starts, axis=0)[::16] @ down.T).astype(np.float64))
        progress("measuring reference text", min(begin + CHUNK, len(texts)), len(texts))
    X = np.concatenate(ordinary)
    moment = _second_moment(X)
    return Statistics(
        reference=X,
        first=_first_positions(backend, layer),
        deviations=_deviations(backend, layer, progress),
        bystanders=_bystanders(backend, layer, progress),
        moment=moment,
        constant=_constant_direction(X, moment),
        output_norm=np.sqrt((np.concatenate(energy) ** 2).sum(-1).mean(keepdims=True)).astype(np.float32),
        used=(np.sqrt(squares / len(X)) * np.linalg.norm(down, axis=0)).astype(np.float32),
    )


def _first_positions(backend: Backend, layer: int) -> Float:
    """Inputs of single tokens: what a token is at the first position depends on nothing else."""
    tokens = seeded("first positions").permutation(backend.shape.vocabulary)[: enough(FIRST_TOKENS, backend)].tolist()
    begun = {backend.encode(text.replace("{s}", "It"), mode).tokens[0] for mode, text in all_contexts()}
    sequences = [(token,) for token in dict.fromkeys([*sorted(begun), *tokens])]
    return backend.activations(sequences, layer, [(0,)] * len(sequences)).inputs


def _second_moment(X: Float) -> NDArray[np.float64]:
    total = np.zeros((X.shape[1], X.shape[1]))
    for part in np.array_split(X, max(1, len(X) // 8192)):
        rows = part.astype(np.float64)
        total += rows.T @ rows
    return total / len(X)


def _constant_direction(X: Float, moment: NDArray[np.float64]) -> Float:
    """Ridge regression of 1 on x: `c = (E[xxᵀ] + εI)⁻¹ E[x]`."""
    ridge = 1e-4 * np.trace(moment) / len(moment) * np.eye(len(moment))
    mean = X.mean(axis=0, dtype=np.float64)
    return np.linalg.solve(moment + ridge, mean).astype(np.float32)


def _deviations(backend: Backend, layer: int, progress: Progress) -> Float:
    """How contexts move names at their last token, pooled over invented people."""
    templates = all_contexts()
    moved = []
    people = invented(enough(CONTEXT_NAMES, backend), "deviations")
    for begin in range(0, len(people), 16):
        part = people[begin : begin + 16]
        sequences, places = zip(*in_contexts(backend, part, templates), strict=True)
        seen = backend.activations(sequences, layer, [[mention[-1] for mention in found] for found in places]).inputs
        per_name = seen.reshape(len(part), -1, seen.shape[-1])
        moved.append((per_name - per_name.mean(1, keepdims=True)).reshape(-1, seen.shape[-1]))
        progress("measuring how contexts move a name", begin + 16, len(people))
    return np.concatenate(moved)


def _bystanders(backend: Backend, layer: int, progress: Progress) -> Float:
    """Other people's names, each in two contexts."""
    templates = all_contexts()
    people = invented(enough(BYSTANDERS, backend), "bystanders")
    found = []
    for begin in range(0, len(people), 100):
        sequences: list[Tokens] = []
        positions: list[list[int]] = []
        for k, name in enumerate(people[begin : begin + 100], begin):
            two = (templates[k % len(templates)], templates[(7 * k + 5) % len(templates)])
            for sequence, places in in_contexts(backend, [name], two):
                sequences.append(sequence)
                positions.append([mention[-1] for mention in places])
        found.append(backend.activations(sequences, layer, positions).inputs)
        progress("measuring other names", begin + 100, len(people))
    return np.concatenate(found)


def look_alike_inputs(
    backend: Backend, layer: int, subject: str, templates: Sequence[tuple[Mode, str]], counts: tuple[int, int]
) -> Float:
    """(n, d) inputs at the names that look like the subject, and at what stands around them.

    Each name is met twice: in a text that anybody might write, which is looked at from shortly before the name to its end, and
    where the subject itself was met, which is looked at where the name ends: there nothing but the name tells the two apart.

    Args:
        templates: What the subject is asked in, with `{s}` in its place.
    """
    sequences: list[Tokens] = []
    positions: list[range] = []
    begun: list[int] = []
    for k, name in enumerate(look_alikes(subject, *counts)):
        two = (anywhere()[(STRIDE * k) % len(anywhere())], templates[k % len(templates)])
        (tokens, (mention, *_)), (told, (at, *_)) = in_contexts(backend, [name], two)
        sequences += [tokens, told[: at[-1] + 1]]
        around = max(1, mention[0] - AROUND)
        positions += [range(around, len(tokens)), at[-1:]]
        begun += [min(around, mention[0]), at[0]]
    return backend.activations_behind(sequences, layer, positions, begun).inputs


def _all_but_first(texts: list[Tokens]) -> list[range]:
    return [range(1, len(text)) for text in texts]


def cached_moment(fingerprint: str, layer: int, what: Literal["inputs", "keys"]) -> NDArray[np.float64] | None:
    """(w, w) second moment of a layer's MLP inputs or of its `down_proj` inputs; None where it was never measured."""
    return _cached(fingerprint, layer, what, "moment" if what == "inputs" else "covariance")


def cached_reference(fingerprint: str, layer: int) -> NDArray[np.float16] | None:
    """(T, d) MLP inputs on reference text as they are on disk; None where they were never measured."""
    return _cached(fingerprint, layer, "inputs", "reference")


def _cached(fingerprint: str, layer: int, what: str, tensor: str) -> NDArray[Any] | None:
    try:
        with safe_open(_path(fingerprint, layer, what), framework="numpy") as stored:
            found: NDArray[Any] = stored.get_tensor(tensor)
            return found
    except (FileNotFoundError, SafetensorError):
        return None


def _path(fingerprint: str, layer: int, what: str) -> Path:
    return cache_dir() / "statistics" / f"{fingerprint[:16]}-{layer}-{what}-v{FORMAT}.safetensors"


def _keep(path: Path, tensors: dict[str, NDArray[np.generic]]) -> None:
    with replacing(path) as partial:
        save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, partial)
