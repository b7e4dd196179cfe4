"""A small engine and what to tell it."""

from pathlib import Path

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Backend
from memctl.bench.learners import Learner
from memctl.facts import Fact, make_fact

DATA = Path(__file__).parent.parent / "data"

ANA = make_fact("Ana Lund", "lives in", "Oslo")
BEN = make_fact("Ben Lund", "works as a", "baker")
CY = make_fact("Cy Mori", "speaks", "Urdu")

ENGINE = NumpyBackend()


def burden(backend: Backend, learner: Learner, fact: Fact) -> float:
    """Mean negative log-likelihood per token of a fact's object after its raw prompt, in nats."""
    asked = backend.encode(fact.completion_prompt, "raw").tokens
    whole = backend.encode(fact.completion_prompt, "raw", f" {fact.object}").tokens
    with backend.attached(learner.composition):
        return float(backend.score([whole]).nll[len(asked) - 1 :].mean())
