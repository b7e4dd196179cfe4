"""Values make the model say a fact; where their search begins is measured once and kept."""

from pathlib import Path

import numpy as np
import pytest

from memctl.backends.numpy_backend import NumpyBackend
from memctl.editing import first_guess
from memctl.editing.descent import Start, start
from memctl.editing.values import Subject, Value, find_values
from memctl.evaluation.invented import invented_facts
from memctl.facts import make_fact
from memctl.progress import silent
from memctl.settings import EditSettings

LAYER, NORM = 1, 1.0
FACT = make_fact("Ottoline Varga", "lives in", "Montevideo")
SUBJECT = Subject(FACT.subject, (FACT,))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCTL_CACHE", str(tmp_path))


@pytest.fixture
def known() -> Start:
    return start(np.zeros(NumpyBackend().shape.hidden, np.float32), ())


def find_value(known: Start, settings: EditSettings, *subjects: Subject) -> Value:
    """The value of the first of the subjects, by default SUBJECT."""
    found = find_values(NumpyBackend(), LAYER, subjects or [SUBJECT], known, NORM, settings, silent)[0]
    assert isinstance(found, Value)
    return found


def test_more_steps_learn_more_and_none_keeps_the_guess(known: Start) -> None:
    few, many = (find_value(known, EditSettings(steps=n)) for n in (1, 40))
    assert many.loss < few.loss - 1
    still = find_value(start(known.guess + 1, ()), EditSettings(steps=0))
    assert np.array_equal(still.residual, known.guess + 1)


def test_no_value_is_longer_than_its_bound(known: Start) -> None:
    value = find_value(known, EditSettings(learning_rate=20, norm_bound=0.5))
    assert np.linalg.norm(value.residual) == pytest.approx(0.5, rel=1e-5)


def test_the_value_of_four_facts_may_be_twice_as_long(known: Start) -> None:
    four = tuple(make_fact(FACT.subject, relation, "Montevideo") for relation in ("lives in", "was born in", "loves", "left"))
    value = find_value(known, EditSettings(learning_rate=20, norm_bound=0.5), Subject(FACT.subject, four))
    assert np.linalg.norm(value.residual) == pytest.approx(1.0, rel=1e-5)


def test_the_search_for_four_facts_says_how_far_it_is_of_twice_as_many_steps(known: Start) -> None:
    said: list[tuple[str, int, int]] = []
    four = tuple(make_fact(FACT.subject, relation, "Montevideo") for relation in ("lives in", "was born in", "loves", "left"))
    subjects = [SUBJECT, Subject(FACT.subject, four)]
    find_values(NumpyBackend(), LAYER, subjects, known, NORM, EditSettings(steps=4), lambda *now: said.append(now))
    assert [done for _, done, _ in said] == [0, 0, 0, 2, 4, 6, 8, 9, 10, 11]  # the two begin together, and one ends first
    assert {total for _, _, total in said} == {12}


def test_the_first_guess_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = first_guess.first_guess(NumpyBackend(), LAYER, NORM, silent)
    assert np.linalg.norm(found.guess) > 0
    assert found.shares[0] == 1
    monkeypatch.setattr(first_guess, "measure", lambda *_: pytest.fail("it was measured again"))
    again = first_guess.first_guess(NumpyBackend(), LAYER, NORM, silent)
    assert all(np.array_equal(getattr(again, part), getattr(found, part)) for part in ("guess", "directions", "shares"))


def test_a_damaged_guess_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    found = first_guess.first_guess(NumpyBackend(), LAYER, NORM, silent)
    (path,) = (first_guess.cache_dir() / "statistics").glob("first-guess-*")
    path.write_bytes(path.read_bytes()[:-7])
    again = first_guess.first_guess(NumpyBackend(), LAYER, NORM, silent)
    assert all(np.array_equal(getattr(again, part), getattr(found, part)) for part in ("guess", "directions", "shares"))


def test_a_value_is_the_same_alone_and_beside_others(known: Start) -> None:
    others = [Subject(fact.subject, (fact,)) for fact in invented_facts(3, 5)]
    alone, beside = (find_value(known, EditSettings(steps=12), SUBJECT, *company) for company in ([], others))
    assert np.array_equal(alone.residual, beside.residual)
    assert alone.loss == beside.loss
