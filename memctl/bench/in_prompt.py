"""Facts in the prompt: all that fit, or those that retrieval finds nearest. The weights stay as they are."""

from collections.abc import Sequence

import numpy as np

from memctl.backends.protocol import PRISTINE, Backend, Float
from memctl.bench.embeddings import Embedder
from memctl.deltas import Composition, Delta
from memctl.facts import Fact, Mode


class InPrompt:
    """Every fact stands in the prompt, in the user's own words; beyond the window the oldest ones are left out.

    Args:
        window: Tokens of facts that a prompt takes.
    """

    def __init__(self, backend: Backend, window: int) -> None:
        self.backend, self.window = backend, window
        self.sentences: list[str] = []
        self.lengths: list[int] = []
        self.memories: tuple[tuple[str, Delta], ...] = ()
        self.refused: set[str] = set()

    @property
    def composition(self) -> Composition:
        return PRISTINE

    def tell(self, *facts: Fact) -> int:
        return sum([self._tell(fact) for fact in facts])

    def _tell(self, fact: Fact) -> bool:
        sentence = f"{fact.completion_prompt} {fact.object}."
        if sentence in self.sentences:
            return False
        self.sentences.append(sentence)
        self.lengths.append(len(self.backend.encode(f"\n{sentence}", "raw").tokens))
        return True

    def put(self, prompts: Sequence[tuple[Mode, str]]) -> list[tuple[Mode, str]]:
        newest_first = np.cumsum(self.lengths[::-1])
        fitting = int(np.searchsorted(newest_first, self.window, side="right"))
        known = self.sentences[len(self.sentences) - fitting :]
        return [(mode, told_before(known, mode, prompt)) for mode, prompt in prompts]


class Retrieval(InPrompt):
    """The facts nearest to the prompt stand in it, the nearest one last."""

    def __init__(self, backend: Backend, window: int, nearest: int, embedder: Embedder) -> None:
        super().__init__(backend, window)
        self.nearest, self.embedder = nearest, embedder
        self.vectors: list[Float] = []

    def _tell(self, fact: Fact) -> bool:
        if not super()._tell(fact):
            return False
        self.vectors.append(self.embedder.embed([self.sentences[-1]])[0])
        return True

    def put(self, prompts: Sequence[tuple[Mode, str]]) -> list[tuple[Mode, str]]:
        if not self.sentences or not prompts:
            return list(prompts)
        cosines = self.embedder.embed([prompt for _, prompt in prompts]) @ np.stack(self.vectors).T
        found = np.argsort(cosines, axis=1, kind="stable")[:, -self.nearest :]
        return [
            (mode, told_before([self.sentences[k] for k in near], mode, prompt))
            for (mode, prompt), near in zip(prompts, found, strict=True)
        ]


def told_before(sentences: Sequence[str], mode: Mode, prompt: str) -> str:
    """The prompt with what is known before it: as text that it continues, or as notes that a question goes with."""
    if not sentences:
        return prompt
    lines = "\n".join(sentences)
    return f"{lines}\n{prompt}" if mode == "raw" else f"Here is what is known:\n{lines}\n\n{prompt}"
