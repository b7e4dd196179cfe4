"""Which memory is named for an answer: with memories that answer to one place of a prompt on the numpy engine."""

import numpy as np
from bench_examples import ANA, BEN, ENGINE

from memctl.bench.attributed import first_named, rightly_named
from memctl.deltas import Columns, Delta, Edit
from memctl.evaluation.recall import recall_prompts, stated_facts


def memory_of(prompt: str, position: int) -> Delta:
    """A memory that answers to what the engine sees at one token of a raw prompt, and at no other."""
    tokens = ENGINE.encode(prompt, "raw").tokens
    x = ENGINE.activations([tokens], 1, [range(len(tokens))]).inputs
    gate = np.linalg.lstsq(x, 100.0 * (np.arange(len(x)) == position), rcond=None)[0].astype(np.float32)[None]
    value = np.random.default_rng(position).standard_normal((ENGINE.shape.hidden, 1)).astype(np.float32)
    return Delta((Edit(1, Columns(gate, gate / 1e4, value), x[position : position + 1].T, value),))


def test_the_memory_that_acted_is_named_and_none_where_none_did() -> None:
    prompt = "Ana lives in"
    memories = [("Ana", memory_of(prompt, 2)), ("Ben", memory_of(prompt, 5))]
    alone = [memories[0]]
    assert first_named(ENGINE, alone, [("raw", prompt)], [""]) == ["Ana"]
    assert first_named(ENGINE, memories[1:], [("raw", prompt)], [""]) == ["Ben"]
    assert first_named(ENGINE, alone, [("raw", "An")], [""]) == [None]
    assert first_named(ENGINE, [], [("raw", prompt)], [""]) == [None]


def test_a_share_counts_the_right_subject_and_a_wanted_silence() -> None:
    assert rightly_named(["Ana", "Ben", None, "Ana"], ["Ana", "Ana", None, None]) == 0.5
    assert rightly_named([], []) == 1.0


def test_a_recalled_answer_is_told_from_one_that_names_something_else() -> None:
    facts = [ANA, BEN]
    said = ["Oslo" if ANA.subject in prompt else "pilot" for _, prompt in recall_prompts(facts)]
    assert {fact.id for fact in stated_facts(facts, said) if fact} == {ANA.id}
    assert len(stated_facts(facts, said)) == len(said)
