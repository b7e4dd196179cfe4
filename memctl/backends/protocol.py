"""What the layers above may ask of an engine. Arrays cross this border as numpy, float32 unless said otherwise.

The vocabulary: d is the width of the residual stream, m that of the MLP's hidden layer. An engine holds one base
model, which it never changes; a composition is attached beside it and detached again.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from memctl.adapters import Adapter, Factors
from memctl.deltas import Composition
from memctl.facts import Mode

Float = NDArray[np.float32]
Tokens = tuple[int, ...]

PRISTINE = Composition()
"""The base model with nothing attached."""


@dataclass(frozen=True)
class Shape:
    """Sizes of the base model: decoder layers, residual width d, MLP width m, vocabulary."""

    layers: int
    hidden: int
    intermediate: int
    vocabulary: int


@dataclass(frozen=True)
class Encoding:
    """A text as the model sees it.

    Attributes:
        text: The rendered text, chat template and all.
        tokens: Token ids.
        offsets: Characters `[start, end)` of each token in `text`; empty spans for tokens that stand for none.
        begins: Character at which the prompt begins; what a template says before it ("You are SmolLM …") is nobody's words.
    """

    text: str
    tokens: Tokens
    offsets: tuple[tuple[int, int], ...]
    begins: int = 0


@dataclass(frozen=True)
class Activations:
    """What a layer's MLP saw at n positions: `inputs` (n, d) of the MLP, `keys` (n, m) of its `down_proj`."""

    inputs: Float
    keys: Float


@dataclass(frozen=True)
class Row:
    """One sequence of a value optimisation.

    Attributes:
        tokens: The whole sequence, target included.
        sites: Positions at which the residual is added to the MLP's output; the first is the earliest change.
        predict: Positions whose next-token distribution is scored; each is at or after the first site.
        to_base: Score against the base model's own distribution (KL divergence) instead of the sequence's next
            tokens (negative log-likelihood).
    """

    tokens: Tokens
    sites: tuple[int, ...]
    predict: tuple[int, ...]
    to_base: bool = False


@dataclass(frozen=True)
class Gradient:
    """One evaluation of the value loss.

    Attributes:
        losses: (rows,) mean over a row's scored positions, in nats.
        hits: (rows,) whether the greedy prediction is right at every scored position.
        gradient: (d,) gradient of the weighted sum of the losses with respect to the residual.
    """

    losses: Float
    hits: NDArray[np.bool_]
    gradient: Float


@dataclass(frozen=True)
class Trial:
    """A residual, and the rows of a subject that it is tried on.

    Attributes:
        subject: Number of the subject in its problem.
        rows: (k,) numbers of its rows.
        residual: (d,) added to the output of the layer's MLP at each row's sites.
        weights: (k,) factors of the rows' losses in the gradient.
        scales: (k,) factors on the residual in each row.
    """

    subject: int
    rows: NDArray[np.int64]
    residual: Float
    weights: Float
    scales: Float


class ValueProblem(Protocol):
    """Rows whose tokens before the first site have been run once and are kept; made by `Backend.value_problem`."""

    def evaluate(self, trials: Sequence[Trial]) -> list[Gradient]:
        """Loss and gradient of each trial: to the bit what it has alone, whatever else is tried in the same call."""


@dataclass(frozen=True)
class Lesson:
    """One sequence that an adapter is trained on.

    Attributes:
        tokens: The whole sequence, target included.
        predict: Positions whose next-token distribution is scored, ascending.
        to_base: Score against the base model's own distribution (KL divergence) instead of the sequence's next
            tokens (negative log-likelihood).
    """

    tokens: Tokens
    predict: tuple[int, ...]
    to_base: bool = False


@dataclass(frozen=True)
class AdapterGradient:
    """One evaluation of the training loss.

    Attributes:
        losses: (lessons,) mean over a lesson's scored positions, in nats.
        hits: (lessons,) whether the greedy prediction is right at every scored position.
        gradient: Of the weighted sum of the losses, with respect to the adapter's factors; empty without weights.
    """

    losses: Float
    hits: NDArray[np.bool_]
    gradient: Mapping[str, Factors]


class AdapterProblem(Protocol):
    """Lessons whose way through the frozen layers has been run once and is kept; made by `Backend.adapter_problem`."""

    def evaluate(self, lessons: NDArray[np.int64], weights: Float | None, adapter: Adapter) -> AdapterGradient:
        """Loss, and gradient where weights are given, on some of the lessons with an adapter on the pristine base.

        The divergence from the base is that of its likeliest tokens and of all others taken for one.

        Args:
            lessons: (k,) numbers of the lessons to run.
            weights: (k,) factors of the lessons' losses in the gradient.
            adapter: Of the problem's layers only.
        """


@dataclass(frozen=True)
class Scores:
    """Teacher-forced scores of every token but a sequence's first, over all sequences in order.

    Attributes:
        nll: (T,) negative log-likelihood in nats.
        base: (T,) that of the base model.
        divergence: (T,) KL divergence from the base model's distribution to the composed one's, in nats; zeros
            where nothing is attached.
    """

    nll: Float
    base: Float
    divergence: Float


class Backend(Protocol):
    """One engine with one base model."""

    name: str
    fingerprint: str
    shape: Shape
    reference_tokens: int
    """How much reference text the base model's statistics are made from."""
    hardware: str
    """What it runs on and in which number format, such as `cpu, 2 threads, bfloat16`."""
    activation: str
    """Name of the MLP's activation function (`silu`, `gelu_pytorch_tanh`, …), which added units share."""

    def encode(self, prompt: str, mode: Mode, answer: str | None = None) -> Encoding:
        """Renders and tokenizes a prompt, ready to be continued, or with its answer.

        `raw` is the text itself; `chat` puts the prompt as a user's turn through the chat template. With an
        answer, the sequence ends after it (in chat: after the end-of-turn token).
        """

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens, special tokens left out."""

    def activations(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], under: Composition = PRISTINE
    ) -> Activations:
        """What the MLP of a layer sees at the positions of each sequence, in order.

        What the sequences of one call have in common at the start is run once.

        Args:
            under: What is attached meanwhile, whatever is attached otherwise.
        """

    def activations_behind(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], begun: Sequence[int]
    ) -> Activations:
        """(n, d) inputs and (n, m) keys of a layer's MLP on the pristine base, as `activations` gives them.

        Args:
            begun: For each sequence, how many tokens at its start other calls' sequences may start with, too; 0 for none. They
                may be run once and kept. No bit of what is found depends on what was kept.
            positions: In each sequence, none before `begun`.
        """

    def stream(
        self, sequences: Sequence[Tokens], layer: int, positions: Sequence[Sequence[int]], under: Composition = PRISTINE
    ) -> Float:
        """(n, d) residual stream that leaves a layer, at the positions of each sequence, in order."""

    def value_problem(self, subjects: Sequence[Sequence[Row]], layer: int, under: Composition = PRISTINE) -> ValueProblem:
        """Prepares the value optimisations of subjects, each with its rows, at a layer; `under` is attached while they run."""

    def adapter_problem(self, lessons: Sequence[Lesson], layer: int, under: Composition = PRISTINE) -> AdapterProblem:
        """Prepares the training of an adapter on a layer and those above it; `under`, of the layers below, is attached.

        What is held to the base is held to the pristine one.
        """

    def generate(self, prompts: Sequence[Tokens], max_tokens: int | Sequence[int], stop: Sequence[str] = ()) -> list[Tokens]:
        """Greedy continuations, without the prompt and without what ends a turn; batched.

        Generation of a prompt also ends once its text holds one of the stop strings.

        Args:
            max_tokens: For all prompts, or for each.
        """

    def score(self, sequences: Sequence[Tokens]) -> Scores:
        """Teacher-forced scores of texts under what is attached, beside the pristine base."""

    def sample(self, prompts: Sequence[Tokens], max_tokens: int, seed: int, temperature: float) -> list[Tokens]:
        """Sampled continuations of the pristine base, without the prompt; makes reference text."""

    @contextmanager
    def attached(self, composition: Composition) -> Iterator[None]:
        """Applies a composition beside the base inside the `with` block; blocks nest, the innermost holds.

        Raises:
            MemctlError: A delta does not fit the model: wrong layer or shape.
        """

    def mlp_weights(self, layer: int) -> dict[str, Float]:
        """The base's `gate` (m, d), `up` (m, d) and `down` (d, m) of a layer in float32, a copy."""

    def projections(self) -> dict[str, tuple[int, int]]:
        """Paths of all MLP projections, lowest layer first, with the widths of input and output: what an adapter acts on."""

    def tensor_names(self, layer: int) -> dict[str, str]:
        """Names of `gate`, `up`, `down` of a layer in the base's checkpoint."""

    def rehash(self) -> str:
        """The base's fingerprint, computed anew from every byte of its checkpoint."""

    def memory_bytes(self) -> int:
        """Peak memory of this process (on CUDA: of the device) so far."""
