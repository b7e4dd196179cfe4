"""A whole engine in numpy, on a small untrained model: what everything above an engine is tested with.

It loads in milliseconds, needs nothing but numpy, and an edit can make it say what it was told.
"""

import resource
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from memctl.backends import tiny_tokenizer
from memctl.backends.fit import require_behind, require_fit
from memctl.backends.numpy_adapter import PARTS, NumpyAdapterProblem, factors_of, path_of
from memctl.backends.numpy_values import ROWS_AT_ONCE, NumpyValueProblem
from memctl.backends.protocol import (
    PRISTINE,
    Activations,
    AdapterProblem,
    Encoding,
    Float,
    Lesson,
    Row,
    Scores,
    Tokens,
    ValueProblem,
)
from memctl.backends.tiny_model import Added, Index, Past, Real, Thought, TinyModel, pad
from memctl.backends.tiny_tokenizer import END
from memctl.backends.tiny_weights import LAST, SHAPE
from memctl.deltas import Composition
from memctl.facts import Mode

PROJECTIONS = {
    path_of(layer, part): (SHAPE.intermediate, SHAPE.hidden) if part == "down" else (SHAPE.hidden, SHAPE.intermediate)
    for layer in range(SHAPE.layers)
    for part in PARTS
}

Choose = Callable[[int, Real], int]
"""The next token of a prompt (its number among the prompts), from log-probabilities (vocabulary,)."""


class NumpyBackend:
    """An engine whose model is drawn from a seed.

    Args:
        seed: Another seed is another model with another fingerprint.
    """

    name = "numpy"
    reference_tokens = 1_600
    hardware = "cpu, float64"
    activation = "silu"
    shape = SHAPE

    def __init__(self, seed: int = 0) -> None:
        self._model = TinyModel(seed)
        self._attached = PRISTINE
        self.fingerprint = self._model.weights.fingerprint()

    # Text

    def encode(self, prompt: str, mode: Mode, answer: str | None = None) -> Encoding:
        return tiny_tokenizer.encode(prompt, mode, answer)

    def decode(self, tokens: Sequence[int]) -> str:
        return tiny_tokenizer.decode(tokens)

    # Inner states

    def activations(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], under: Composition = PRISTINE
    ) -> Activations:
        inputs, keys = self._at(sequences, layer, positions, under, lambda thought: [thought.inputs, thought.keys])
        return Activations(inputs, keys)

    def activations_behind(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], begun: Sequence[int]
    ) -> Activations:
        require_behind(sequences, positions, begun)
        return self.activations(sequences, layer, positions)

    def stream(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], under: Composition = PRISTINE
    ) -> Float:
        (stream,) = self._at(sequences, layer, positions, under, lambda thought: [thought.stream])
        return stream

    def _at(
        self,
        sequences: Sequence[Tokens],
        layer: int,
        positions: Sequence[Sequence[int]],
        under: Composition,
        wanted: Callable[[Thought], list[Real]],
    ) -> list[Float]:
        """What is wanted of a layer's MLP, (n, …) each, at the positions of all sequences in order."""
        added = added_by(under)
        shared = _common_prefix(sequences)
        before: list[Past] = []
        opening: list[Real] = []
        if shared:
            tokens, places = pad([sequences[0][:shared]])
            stream = self._model.embed(tokens)
            for index in range(layer + 1):
                attended = self._model.attend(index, stream, places)
                thought = self._model.think(index, attended.stream, added[index])
                stream = thought.stream
                before.append(attended.past)
            opening = wanted(thought)
        found: list[list[Real]] = [[]] * len(sequences)
        for chosen in _batches(sequences):
            tokens, places = pad([sequences[row][shared:] for row in chosen])
            stream = self._model.embed(tokens)
            for index in range(layer + 1):
                past = before[index] if shared else None
                attended = self._model.attend(index, stream, places + shared, past)
                thought = self._model.think(index, attended.stream, added[index])
                stream = thought.stream
            for place, row in enumerate(chosen):
                seen = [states[place] for states in wanted(thought)]
                if shared:
                    seen = [np.concatenate([head[0], tail]) for head, tail in zip(opening, seen, strict=True)]
                found[row] = [states[list(positions[row])] for states in seen]
        return [np.concatenate(parts).astype(np.float32) for parts in zip(*found, strict=True)]

    def value_problem(self, subjects: Sequence[Sequence[Row]], layer: int, under: Composition = PRISTINE) -> ValueProblem:
        return NumpyValueProblem(self._model, subjects, layer, added_by(under))

    def adapter_problem(self, lessons: Sequence[Lesson], layer: int, under: Composition = PRISTINE) -> AdapterProblem:
        return NumpyAdapterProblem(self._model, lessons, layer, added_by(under))

    def sample(self, prompts: Sequence[Tokens], max_tokens: int, seed: int, temperature: float) -> list[Tokens]:
        draws = [np.random.default_rng([seed, number]) for number in range(len(prompts))]

        def choose(number: int, log_p: Real) -> int:
            # Gumbel's trick: the argmax of log p / T + noise is a draw from softmax(log p / T).
            return int(np.argmax(log_p / temperature + draws[number].gumbel(size=log_p.size)))

        with self.attached(PRISTINE):
            return self._continue(prompts, [max_tokens] * len(prompts), (), choose)

    # What is attached acts

    def generate(self, prompts: Sequence[Tokens], max_tokens: int | Sequence[int], stop: Sequence[str] = ()) -> list[Tokens]:
        limits = [max_tokens] * len(prompts) if isinstance(max_tokens, int) else max_tokens
        return self._continue(prompts, limits, stop, lambda _, log_p: int(np.argmax(log_p)))

    def score(self, sequences: Sequence[Tokens]) -> Scores:
        nll: list[Real] = [np.empty(0)] * len(sequences)
        base, divergence = list(nll), list(nll)
        for chosen in _batches(sequences):
            tokens, positions = pad([sequences[row] for row in chosen])
            log_p = log_q = self._next(tokens, positions)
            if self._attached:
                with self.attached(PRISTINE):
                    log_q = self._next(tokens, positions)
            kl = np.sum(np.exp(log_q) * (log_q - log_p), axis=-1)
            for place, row in enumerate(chosen):
                last = len(sequences[row]) - 1
                said = (place, np.arange(last), tokens[place, 1 : last + 1])
                nll[row], base[row] = -log_p[said], -log_q[said]
                divergence[row] = kl[place, :last]
        return Scores(*(np.concatenate(parts).astype(np.float32) for parts in (nll, base, divergence)))

    @contextmanager
    def attached(self, composition: Composition) -> Iterator[None]:
        require_fit(composition, SHAPE, PROJECTIONS)
        outer, self._attached = self._attached, composition
        try:
            yield
        finally:
            self._attached = outer

    def _next(self, tokens: Index, positions: Index) -> Real:
        """(batch, tokens, vocabulary) next-token log-probabilities under what is attached."""
        stream = self._model.embed(tokens)
        for index, added in enumerate(added_by(self._attached)):
            attended = self._model.attend(index, stream, positions)
            stream = self._model.think(index, attended.stream, added).stream
        return self._model.log_probabilities(stream)

    def _continue(self, prompts: Sequence[Tokens], limits: Sequence[int], stop: Sequence[str], choose: Choose) -> list[Tokens]:
        results: list[list[int]] = [[] for _ in prompts]
        for chosen in _batches(prompts):
            self._continue_batch(prompts, chosen, results, limits, stop, choose)
        return [tuple(tokens) for tokens in results]

    def _continue_batch(
        self,
        prompts: Sequence[Tokens],
        chosen: Sequence[int],
        results: list[list[int]],
        limits: Sequence[int],
        stop: Sequence[str],
        choose: Choose,
    ) -> None:
        tokens, positions = pad([prompts[row] for row in chosen])
        last = np.array([len(prompts[row]) - 1 for row in chosen])
        ended = [not limits[row] for row in chosen]
        past: list[Past | None] = [None] * SHAPE.layers
        added = added_by(self._attached)
        while not all(ended):
            stream = self._model.embed(tokens)
            for index in range(SHAPE.layers):
                attended = self._model.attend(index, stream, positions, past[index])
                past[index] = attended.past
                at_last = (np.arange(len(chosen)), last) if index == LAST else ...  # the rest is not asked for
                stream = self._model.think(index, attended.stream[at_last], added[index]).stream
            log_p = self._model.log_probabilities(stream)
            positions = positions[np.arange(len(chosen)), last][:, None] + 1
            tokens, last = np.zeros_like(positions), np.zeros_like(last)
            for place, row in enumerate(chosen):
                if ended[place]:
                    continue
                token = tokens[place, 0] = choose(row, log_p[place])
                if token != END:
                    results[row].append(token)
                full = len(results[row]) == limits[row]
                ended[place] = token == END or full or _holds(self.decode(results[row]), stop)

    # The model's parts

    def mlp_weights(self, layer: int) -> dict[str, Float]:
        part = self._model.weights.layers[layer]
        silent = SHAPE.hidden - len(part.down)
        return {
            "gate": np.pad(part.gate, ((0, 0), (0, silent))).astype(np.float32),
            "up": np.pad(part.up, ((0, 0), (0, silent))).astype(np.float32),
            "down": np.pad(part.down, ((0, silent), (0, 0))).astype(np.float32),
        }

    def tensor_names(self, layer: int) -> dict[str, str]:
        return {part: f"{path_of(layer, part)}.weight" for part in PARTS}

    def projections(self) -> dict[str, tuple[int, int]]:
        return dict(PROJECTIONS)

    def rehash(self) -> str:
        return self._model.weights.fingerprint()

    def memory_bytes(self) -> int:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def added_by(composition: Composition) -> list[Added]:
    """What a composition adds to each layer."""
    require_fit(composition, SHAPE, PROJECTIONS)
    return [
        Added(composition.low_rank(layer), composition.columns(layer), factors_of(composition.adapter, layer))
        for layer in range(SHAPE.layers)
    ]


def _batches(sequences: Sequence[Tokens]) -> Iterator[list[int]]:
    """Numbers of the sequences, those of like length together."""
    order = sorted(range(len(sequences)), key=lambda row: len(sequences[row]))
    for start in range(0, len(order), ROWS_AT_ONCE):
        yield order[start : start + ROWS_AT_ONCE]


def _common_prefix(sequences: Sequence[Tokens]) -> int:
    """How many tokens all sequences begin with. One at least is left to each; a lone one shares none."""
    if len(sequences) < 2:
        return 0
    first, last = min(sequences), max(sequences)
    shared = 0
    while shared < min(map(len, sequences)) - 1 and first[shared] == last[shared]:
        shared += 1
    return shared


def _holds(text: str, stop: Sequence[str]) -> bool:
    return any(piece in text for piece in stop)
