"""MEMIT and AlphaEdit as published, one fact after the other, each on the model as it has been edited so far.

    z  = h_L + δ          h_L: residual stream that leaves the last edited layer L at the subject's last token,
                          δ: found by gradient, so that the model says the object
    for each layer l:     R = (z − h_L) / layers that are left,   k = mean key over prefixes
                          ΔW = R kᵀ (λ C + k kᵀ)⁻¹                        MEMIT, Meng et al. 2023, eq. 14 and algorithm 1
                          ΔW = R kᵀ P (K_p K_pᵀ P + k kᵀ P + μ I)⁻¹       AlphaEdit, Fang et al. 2025, eq. 14

with C = E[kkᵀ] on ordinary text, P the projector on its null space, K_p the keys of the facts told before. Nothing here
knows of chat or of other wordings: that is how the methods are published.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from memctl.backends.protocol import Backend, Float, Row, Trial
from memctl.deltas import Composition, Delta, Edit, LowRank
from memctl.editing.reference import SEED, reference
from memctl.editing.statistics import covariance
from memctl.editing.subjects import last_tokens
from memctl.errors import UsageError
from memctl.facts import Fact, Mode
from memctl.progress import Progress

Double = NDArray[np.float64]

PREFIXES = ("The", "Therefore", "Because", "I", "You")
"""What the model continues to get texts that stand before a prompt."""

PREFIX_TOKENS = 10
SENTENCES = 30
"""Texts that the reference system's diagonal covariance is made from."""

LEARNED = 0.05
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class SequentialSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """MEMIT's settings for Llama-3-8B, in units that carry over to a model of another size.

    Attributes:
        layers: The edited ones, ascending.
        site: Where key and value are taken: at the subject's last token, or at the prompt's.
        target: Whether the value is trained on the whole object or on its first token.
        optimiser: Of the value.
        learning_rate: Adam's, in units of the stream's root mean square; SGD's, of its squared norm.
        steps: Most steps of the value.
        clamp: Longest δ, in units of the stream's norm.
        decay: Weight of ‖δ‖ / ‖h‖².
        kl: Weight of the KL divergence to the model as it was, on "SUBJECT is a".
        prefixes: Texts before the prompt, over which the key is averaged and the value trained.
        statistic: What stands for ordinary text: its covariance, the diagonal of it over 30 sentences, or its null space.
        weight: λ in units of m, the MLP's width: 15,000 at m = 14,336 (Llama-3-8B) and 16,384 (GPT-J) are about 1.
        null_threshold: Eigenvalue of C under which a direction belongs to the null space.
        ridge: μ of AlphaEdit.
    """

    layers: tuple[int, ...] = (4, 5, 6, 7, 8)
    site: Literal["subject", "prompt"] = "subject"
    target: Literal["object", "first token"] = "object"
    optimiser: Literal["adam", "sgd"] = "adam"
    learning_rate: float = 0.1
    steps: int = 25
    clamp: float = 0.75
    decay: float = 0.5
    kl: float = 0.0625
    prefixes: int = 5
    statistic: Literal["covariance", "diagonal", "null space"] = "covariance"
    weight: float = 1.0
    null_threshold: float = 0.02
    ridge: float = 10.0


MEMIT = SequentialSettings()
ALPHAEDIT = SequentialSettings(statistic="null space")
REFERENCE = SequentialSettings(
    site="prompt", target="first token", optimiser="sgd", kl=0.0, decay=0.0, prefixes=0, statistic="diagonal"
)


def require_layers(settings: SequentialSettings, backend: Backend, name: str) -> None:
    """Raises:
    UsageError: The model lacks a layer, or they do not ascend.
    """
    layers = settings.layers
    if not layers or list(layers) != sorted(set(layers)) or not 0 <= layers[0] <= layers[-1] < backend.shape.layers:
        raise UsageError(
            f"{name} cannot edit the layers {list(layers)} of a model that has {backend.shape.layers}",
            f"set `layers` in the table [{name}] of --config, ascending",
        )


@dataclass
class _Layer:
    """One edited layer: ΔW = U Vᵀ so far, and what the solve needs.

    Attributes:
        U, V: (d, n) and (m, n) for n facts.
        factor: Cholesky factor of C, or (m,) its diagonal, or (m, m) the projector P.
        past: (m, m) K_p K_pᵀ; AlphaEdit alone.
    """

    U: Float
    V: Float
    factor: tuple[Double, bool] | Double
    past: Double


class SequentialMemit:
    """A model that is told facts by one edit after the other."""

    def __init__(self, backend: Backend, settings: SequentialSettings, progress: Progress) -> None:
        self.backend, self.settings = backend, settings
        self.known: set[str] = set()
        self.memories: tuple[tuple[str, Delta], ...] = ()
        self.refused: set[str] = set()
        d, m = backend.shape.hidden, backend.shape.intermediate
        self.layers = {
            layer: _Layer(
                U=np.empty((d, 0), np.float32),
                V=np.empty((m, 0), np.float32),
                factor=_factor(backend, layer, settings, progress),
                past=np.zeros((m, m) if settings.statistic == "null space" else (0, 0)),
            )
            for layer in settings.layers
        }
        opening = [backend.encode(text, "raw").tokens for text in PREFIXES[: settings.prefixes]]
        continued = backend.sample(opening, PREFIX_TOKENS, seed=SEED, temperature=1.0) if opening else []
        self.prefixes = ["", *(f"{backend.decode(a + b)}. " for a, b in zip(opening, continued, strict=True))]

    @property
    def composition(self) -> Composition:
        edits = tuple(
            Edit(number, LowRank(layer.U, layer.V), layer.V, layer.U) for number, layer in self.layers.items() if layer.U.size
        )
        return Composition(((Delta(edits), 1.0),)) if edits else Composition()

    def put(self, prompts: Sequence[tuple[Mode, str]]) -> list[tuple[Mode, str]]:
        return list(prompts)

    def tell(self, *facts: Fact) -> int:
        return sum([self._tell(fact) for fact in facts])

    def _tell(self, fact: Fact) -> bool:
        if fact.id in self.known:
            return False
        self.known.add(fact.id)
        if not last_tokens(self.backend.encode(fact.completion_prompt, "raw"), fact.subject):
            self.refused.add(fact.id)  # a tokenizer that drops the name
            return True
        z = self._value(fact)
        for k, (number, layer) in enumerate(self.layers.items()):
            key = self._key(fact, number)
            R = (z - self._stream(fact)) / (len(self.layers) - k)
            layer.U = np.concatenate([layer.U, R.astype(np.float32)[:, None]], axis=1)
            layer.V = np.concatenate([layer.V, self._direction(layer, key).astype(np.float32)[:, None]], axis=1)
        if self.settings.statistic == "null space":
            for number, layer in self.layers.items():
                key = self._key(fact, number)
                layer.past += np.outer(key, key)
        return True

    def _direction(self, layer: _Layer, k: Double) -> Double:
        """(m,) what R is multiplied with: `(λ C + k kᵀ)⁻¹ k`, or `(P (K_p K_pᵀ + k kᵀ) + μ I)⁻¹ P k`."""
        if self.settings.statistic == "null space":
            P = np.asarray(layer.factor)
            system = P @ (layer.past + np.outer(k, k)) + self.settings.ridge * np.eye(len(k))
            return np.asarray(np.linalg.solve(system, P @ k))
        weight = self.settings.weight * len(k)
        inverse_k = cho_solve(layer.factor, k) if isinstance(layer.factor, tuple) else k / layer.factor
        return np.asarray(inverse_k / (weight + k @ inverse_k))

    def _key(self, fact: Fact, layer: int) -> Double:
        """(m,) the mean of the key in the bare prompt and of its mean over the prefixes, on the edited model."""
        rows = [self._row(fact, prefix) for prefix in self.prefixes]
        seen = self.backend.activations([row.tokens for row in rows], layer, [row.sites for row in rows], self.composition)
        keys = seen.keys.astype(np.float64)
        return np.asarray(keys[0] if len(keys) == 1 else (keys[0] + keys[1:].mean(0)) / 2)

    def _stream(self, fact: Fact) -> Double:
        """(d,) the residual stream that leaves the last edited layer at the site of the bare prompt."""
        row = self._row(fact, "")
        stream = self.backend.stream([row.tokens], self.settings.layers[-1], [row.sites], self.composition)
        return np.asarray(stream[0], np.float64)

    def _value(self, fact: Fact) -> Double:
        """(d,) z: the stream as it is to be."""
        settings = self.settings
        rows = [self._row(fact, prefix) for prefix in self.prefixes]
        weights = [1 / len(rows)] * len(rows)
        if settings.kl:
            rows.append(self._essence(fact))
            weights.append(settings.kl)
        problem = self.backend.value_problem([rows], settings.layers[-1], self.composition)
        start = self._stream(fact)
        norm = float(np.linalg.norm(start))
        descent = _Descent(settings, norm, len(start))
        delta = np.zeros(len(start))
        for step in range(settings.steps):
            trial = Trial(
                subject=0,
                rows=np.arange(len(rows)),
                residual=delta.astype(np.float32),
                weights=np.array(weights, np.float32),
                scales=np.ones(len(rows), np.float32),
            )
            (found,) = problem.evaluate([trial])
            length = float(np.linalg.norm(delta))
            loss = float(found.losses @ np.array(weights)) + settings.decay * length / norm**2
            if loss < LEARNED or step == settings.steps - 1:
                break
            decay = settings.decay * delta / (length * norm**2) if length else 0.0
            delta = delta - descent.step(found.gradient.astype(np.float64) + decay)
            delta *= min(1.0, settings.clamp * norm / max(float(np.linalg.norm(delta)), 1e-12))
        return start + delta

    def _row(self, fact: Fact, prefix: str) -> Row:
        """The prompt with its target, and where the value is added."""
        prompt = prefix + fact.completion_prompt
        asked = self.backend.encode(prompt, "raw")
        whole = self.backend.encode(prompt, "raw", f" {fact.object}").tokens
        begin = next((k for k, (a, b) in enumerate(zip(asked.tokens, whole, strict=False)) if a != b), len(asked.tokens))
        site = begin - 1 if self.settings.site == "prompt" else min(last_tokens(asked, fact.subject)[-1], begin - 1)
        end = len(whole) if self.settings.target == "object" else begin + 1
        return Row(whole[:end], (site,), tuple(range(begin - 1, end - 1)))

    def _essence(self, fact: Fact) -> Row:
        """What the subject is stays: held to the model as it was at the subject's last token of "SUBJECT is a"."""
        encoding = self.backend.encode(f"{fact.subject} is a", "raw")
        site = len(encoding.tokens) - 1 if self.settings.site == "prompt" else last_tokens(encoding, fact.subject)[-1]
        return Row(encoding.tokens, (site,), (site,), to_base=True)


class _Descent:
    """Adam (Kingma & Ba 2015) or plain gradient descent, with rates relative to the stream."""

    def __init__(self, settings: SequentialSettings, norm: float, width: int) -> None:
        self.adam = settings.optimiser == "adam"
        self.rate = settings.learning_rate * (norm / width**0.5 if self.adam else norm**2)
        self.first, self.second, self.steps = np.zeros(width), np.zeros(width), 0

    def step(self, gradient: Double) -> Double:
        """What to take off δ."""
        if not self.adam:
            return self.rate * gradient
        self.steps += 1
        self.first = BETA1 * self.first + (1 - BETA1) * gradient
        self.second = BETA2 * self.second + (1 - BETA2) * gradient**2
        scale = np.sqrt(self.second / (1 - BETA2**self.steps)) + EPSILON
        change: Double = self.rate * self.first / (1 - BETA1**self.steps) / scale
        return change


def _factor(backend: Backend, layer: int, settings: SequentialSettings, progress: Progress) -> tuple[Double, bool] | Double:
    """What the solve needs of ordinary text; see `_Layer.factor`."""
    if settings.statistic == "diagonal":
        texts = [text for text in reference(backend, progress)[:SENTENCES] if len(text) > 1]
        keys = backend.activations(texts, layer, [range(1, len(text)) for text in texts]).keys.astype(np.float64)
        squares: Double = (keys**2).mean(0)
        return np.asarray(squares + 1e-6 * squares.mean())
    C = covariance(backend, layer, progress)
    if settings.statistic == "null space":
        values, vectors = np.linalg.eigh(C)
        null = vectors[:, values < settings.null_threshold]
        if not null.size:
            raise UsageError(
                f"no direction of layer {layer}'s keys is under the null space's threshold {settings.null_threshold}",
                "raise `null_threshold` in the table [alphaedit] of --config",
            )
        projector: Double = null @ null.T
        return projector
    factor: tuple[Double, bool] = cho_factor(C + 1e-6 * np.trace(C) / len(C) * np.eye(len(C)))
    return factor
