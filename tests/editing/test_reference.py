"""The cached reference text: made once, made anew where it is damaged."""

from pathlib import Path

import numpy as np
import pytest

from memctl.backends.numpy_backend import NumpyBackend
from memctl.backends.protocol import Tokens
from memctl.editing import reference as module
from memctl.editing.reference import load, openings, reference
from memctl.editing.relations import bank
from memctl.progress import silent

TEXTS: list[Tokens] = [tuple(range(k, k + 30)) for k in range(20)]


def test_a_damaged_reference_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCTL_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "sample", lambda *_: TEXTS)
    backend = NumpyBackend()
    assert reference(backend, silent) == TEXTS
    [cached] = (tmp_path / "statistics").iterdir()
    whole = cached.read_bytes()
    damages = [whole[:size] for size in range(0, len(whole), 7)]
    damages += [bytes([*whole[:at], whole[at] ^ flip, *whole[at + 1 :]]) for at in range(len(whole)) for flip in (1, 255)]
    for damage in damages:
        cached.write_bytes(damage)
        assert reference(backend, silent) == TEXTS
        assert load(cached) == TEXTS
    with cached.open("wb") as file:
        np.savez(file, tokens=np.arange(3))
    assert reference(backend, silent) == TEXTS
    assert list(cached.parent.iterdir()) == [cached]


def test_a_reference_that_is_there_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCTL_CACHE", str(tmp_path))
    monkeypatch.setattr(module, "sample", lambda *_: TEXTS)
    reference(NumpyBackend(), silent)
    monkeypatch.delattr(module, "sample")
    assert reference(NumpyBackend(), silent) == TEXTS


def test_reference_text_begins_with_code_and_lists_and_with_what_the_bank_asks() -> None:
    """Units that know neither act there: on code, on line breaks, on what a model likes to say of people."""
    engine = NumpyBackend()
    texts = [engine.decode(opening) for opening in openings(engine)]
    assert any("def __init__" in text for text in texts)
    assert any("\n- " in text for text in texts)
    people = [relation for relation in bank().values() if "person" in relation.about]
    for k, relation in enumerate(people):
        for form in (relation.raw[k % len(relation.raw)], relation.questions[k % len(relation.questions)]):
            begin, _, end = form.partition("{s}")
            assert any(begin in text and end in text for text in texts)
