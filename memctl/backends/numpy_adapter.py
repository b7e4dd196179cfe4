"""Training an adapter on the tiny model: the frozen layers run once, the adapted ones forward and back."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from memctl.adapters import Adapter, Factors
from memctl.backends.protocol import AdapterGradient, Float, Lesson
from memctl.backends.tiny_model import Added, Attended, Real, Thought, TinyModel, normalize, normalize_backward, pad
from memctl.backends.tiny_weights import SHAPE

PARTS = ("gate", "up", "down")


def path_of(layer: int, part: str) -> str:
    """Where a projection would be in a model of the usual layout."""
    return f"model.layers.{layer}.mlp.{part}_proj"


def factors_of(adapter: Adapter | None, layer: int) -> dict[str, Factors]:
    """An adapter's factors of a layer by the part of its MLP, the scale folded into B."""
    if adapter is None:
        return {}
    found = {part: adapter.projections.get(path_of(layer, part)) for part in PARTS}
    return {part: Factors(own.A, own.B * np.float32(adapter.scale)) for part, own in found.items() if own is not None}


class NumpyAdapterProblem:
    """See `AdapterProblem` in the protocol. The tiny model scores the whole vocabulary of a lesson that is held to the base."""

    def __init__(self, model: TinyModel, lessons: Sequence[Lesson], layer: int) -> None:
        self._model = model
        self._lessons = tuple(lessons)
        self._layer = layer
        self._hidden: list[Real] = []
        self._base: list[Real] = []
        nothing = [Added()] * SHAPE.layers
        for number, lesson in enumerate(lessons):
            tokens, positions = pad([lesson.tokens[: max(lesson.predict) + 1]])
            stream = model.embed(tokens)
            for index in range(layer):
                stream = model.think(index, model.attend(index, stream, positions).stream, nothing[index]).stream
            self._hidden.append(stream[0])
            last = self._upwards([number], nothing)[0]
            self._base.append(model.log_probabilities(last[0, list(lesson.predict)]) if lesson.to_base else np.empty(0))

    def evaluate(
        self, lessons: NDArray[np.int64], weights: Float | None, adapter: Adapter, confined: bool = False
    ) -> AdapterGradient:
        acting = self._acting(lessons.tolist(), confined)
        added = [Added(adapter=factors_of(adapter, layer), acting=acting) for layer in range(SHAPE.layers)]
        last, steps = self._upwards(lessons.tolist(), added)
        grad = np.zeros_like(last)
        losses, hits = np.zeros(len(lessons), np.float32), np.zeros(len(lessons), np.bool_)
        for row, number in enumerate(lessons):
            lesson = self._lessons[number]
            scored = last[row, list(lesson.predict)]
            log_p = self._model.log_probabilities(scored)
            if lesson.to_base:
                log_q = self._base[number]
                q = np.exp(log_q)
            else:
                q = np.eye(SHAPE.vocabulary)[[lesson.tokens[position + 1] for position in lesson.predict]]
                log_q = np.zeros(())
            losses[row] = np.mean(np.sum(q * (log_q - log_p), axis=-1))
            hits[row] = np.array_equal(log_p.argmax(-1), q.argmax(-1))
            share = 0.0 if weights is None else weights[row] / len(lesson.predict)
            back = share * (np.exp(log_p) - q) @ self._model.weights.head
            grad[row, list(lesson.predict)] = normalize_backward(scored, normalize(scored), back)
        return AdapterGradient(losses, hits, {} if weights is None else self._downwards(grad, steps, added, adapter))

    def _acting(self, lessons: Sequence[int], confined: bool) -> Real:
        """(lessons, tokens, 1) in {0, 1}: where the adapter acts."""
        longest = max(len(self._hidden[number]) for number in lessons)
        mask: Real = np.ones((len(lessons), longest, 1))
        for row, number in enumerate(lessons):
            sites = self._lessons[number].sites
            if confined and sites is not None:
                mask[row] = 0
                mask[row, [site for site in sites if site < longest]] = 1
        return mask

    def _upwards(self, lessons: Sequence[int], added: Sequence[Added]) -> tuple[Real, list[tuple[int, Attended, Thought]]]:
        """The last layer's stream (lessons, tokens, d), and what the layers computed, lowest first."""
        longest = max(len(self._hidden[number]) for number in lessons)
        stream: Real = np.zeros((len(lessons), longest, SHAPE.hidden))
        _, positions = pad([self._lessons[number].tokens[: len(self._hidden[number])] for number in lessons])
        for row, number in enumerate(lessons):
            stream[row, : len(self._hidden[number])] = self._hidden[number]
        steps = []
        for index in range(self._layer, SHAPE.layers):
            attended = self._model.attend(index, stream, positions)
            thought = self._model.think(index, attended.stream, added[index])
            stream = thought.stream
            steps.append((index, attended, thought))
        return stream, steps

    def _downwards(
        self, grad: Real, steps: Sequence[tuple[int, Attended, Thought]], added: Sequence[Added], adapter: Adapter
    ) -> dict[str, Factors]:
        found: dict[str, Factors] = {}
        for index, attended, thought in reversed(steps):
            into: dict[str, Factors] = {}
            grad = self._model.think_backward(index, thought, grad, added[index], into)
            grad = self._model.attend_backward(index, attended, grad)
            for part, factors in into.items():
                # the scale is in the B that was run: the chain rule puts it into the gradient of B
                found[path_of(index, part)] = Factors(factors.A, factors.B * np.float32(adapter.scale))
        return found
