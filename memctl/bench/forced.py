"""Teacher-forced scores of answers, as the papers of CounterFact and zsRE count them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from memctl.backends.protocol import Backend, Tokens
from memctl.bench.learners import Learner

PROMPTS_AT_ONCE = 64


@dataclass(frozen=True)
class Question:
    """A prompt, what it measures, its right answer, and the one that must not be preferred ("" for none)."""

    of: str
    prompt: str
    right: str
    wrong: str


def preferred(backend: Backend, learner: Learner, asked: Sequence[Question]) -> list[float]:
    """1 where the right answer's mean log-likelihood per token is above the wrong one's (CounterFact's "success")."""
    right = _mean_nll(backend, learner, [(question.prompt, question.right) for question in asked])
    wrong = _mean_nll(backend, learner, [(question.prompt, question.wrong) for question in asked])
    return [float(a < b) for a, b in zip(right, wrong, strict=True)]


def token_accuracy(backend: Backend, learner: Learner, asked: Sequence[Question]) -> list[float]:
    """Share of the right answer's tokens that are the likeliest after those before them (zsRE's accuracy)."""
    whole = [_tokens(backend, learner, question.prompt, question.right) for question in asked]
    prefixes = [tokens[:place] for tokens, begin in whole for place in range(begin, len(tokens))]
    wanted = [tokens[place] for tokens, begin in whole for place in range(begin, len(tokens))]
    said: list[Tokens] = []
    with backend.attached(learner.composition):
        for begin in range(0, len(prefixes), PROMPTS_AT_ONCE):
            said += backend.generate(prefixes[begin : begin + PROMPTS_AT_ONCE], 1)
    hits = [float(text[:1] == (token,)) for text, token in zip(said, wanted, strict=True)]
    ends = np.cumsum([len(tokens) - begin for tokens, begin in whole])
    return [float(np.mean(part)) for part in np.split(np.array(hits), ends[:-1])]


def _mean_nll(backend: Backend, learner: Learner, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Mean negative log-likelihood per token of each answer after its prompt, in nats."""
    found: list[float] = []
    for begin in range(0, len(pairs), PROMPTS_AT_ONCE):
        whole = [_tokens(backend, learner, *pair) for pair in pairs[begin : begin + PROMPTS_AT_ONCE]]
        with backend.attached(learner.composition):
            nll = backend.score([tokens for tokens, _ in whole]).nll
        ends = np.cumsum([len(tokens) - 1 for tokens, _ in whole])
        for scores, (_, start) in zip(np.split(nll, ends[:-1]), whole, strict=True):
            found.append(float(scores[start - 1 :].mean(dtype=np.float64)))
    return found


def _tokens(backend: Backend, learner: Learner, prompt: str, answer: str) -> tuple[Tokens, int]:
    """A prompt with its answer, and where the answer begins."""
    ((_, seen),) = learner.put([("raw", prompt)])
    asked, whole = backend.encode(seen, "raw").tokens, backend.encode(seen, "raw", f" {answer}").tokens
    return whole, next((k for k, (a, b) in enumerate(zip(asked, whole, strict=False)) if a != b), len(asked))
