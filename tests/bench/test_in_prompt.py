from collections.abc import Sequence

import numpy as np
import pytest
from bench_examples import ANA, BEN, CY, ENGINE

from memctl.bench.embeddings import require_embedder
from memctl.bench.in_prompt import InPrompt, Retrieval
from memctl.errors import BackendMissing


class Letters:
    """Texts by how often each letter stands in them."""

    def embed(self, texts: Sequence[str]) -> np.ndarray:
        counts = np.array([[text.lower().count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts])
        return (counts / np.linalg.norm(counts, axis=1, keepdims=True)).astype(np.float32)


def test_all_facts_stand_before_the_prompt() -> None:
    learner = InPrompt(ENGINE, 1000)
    for fact in (ANA, BEN, ANA):
        learner.tell(fact)
    raw, chat = learner.put([("raw", "Ana Lund lives in"), ("chat", "Where does Ana Lund live?")])
    assert raw == ("raw", "Ana Lund lives in Oslo.\nBen Lund works as a baker.\nAna Lund lives in")
    assert chat[1].endswith("Ben Lund works as a baker.\n\nWhere does Ana Lund live?")
    assert learner.composition.deltas == ()


def test_the_newest_facts_that_fit_stay_in_the_window() -> None:
    learner = InPrompt(ENGINE, len(ENGINE.encode("\nCy Mori speaks Urdu.", "raw").tokens) + 3)
    for fact in (ANA, BEN, CY):
        learner.tell(fact)
    assert learner.put([("raw", "x")]) == [("raw", "Cy Mori speaks Urdu.\nx")]


def test_retrieval_puts_the_nearest_fact_last() -> None:
    learner = Retrieval(ENGINE, 1000, 2, Letters())
    assert learner.put([("raw", "x")]) == [("raw", "x")]
    for fact in (ANA, BEN, CY):
        learner.tell(fact)
    ((_, prompt),) = learner.put([("raw", "Cy Mori speaks")])
    assert prompt.count("\n") == 2
    assert prompt.endswith("Cy Mori speaks Urdu.\nCy Mori speaks")


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memctl.bench.embeddings.find_spec", lambda name: None)
    with pytest.raises(BackendMissing) as found:
        require_embedder()
    assert "memctl[retrieval]" in found.value.hint
