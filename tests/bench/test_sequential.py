import msgspec
import numpy as np
import pytest
from bench_examples import ANA, BEN, ENGINE, burden

from memctl.bench.sequential import ALPHAEDIT, MEMIT, REFERENCE, SequentialMemit, SequentialSettings, require_layers
from memctl.editing.statistics import covariance
from memctl.errors import UsageError
from memctl.progress import silent

LAYERS = (1, 2)


def learner(settings: SequentialSettings, **changes: object) -> SequentialMemit:
    return SequentialMemit(ENGINE, msgspec.structs.replace(settings, layers=LAYERS, **changes), silent)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [(MEMIT, {}), (ALPHAEDIT, {"null_threshold": 3.0}), (REFERENCE, {"target": "object"})],
    ids=["memit", "alphaedit", "reference"],
)
def test_a_fact_that_is_told_becomes_likelier(settings: SequentialSettings, changes: dict[str, object]) -> None:
    told = learner(settings, **({"clamp": 4.0, "weight": 0.1} | changes))
    before = burden(ENGINE, told, ANA)
    assert told.tell(ANA)
    assert burden(ENGINE, told, ANA) < 0.6 * before
    assert told.composition.layers() == LAYERS
    assert not told.tell(ANA)


def test_memit_multiplies_with_the_solution_of_its_equation() -> None:
    """(λ C + k kᵀ) v = k, where nothing was told before."""
    told = learner(MEMIT, prefixes=0)
    key = told._key(ANA, 1)
    C = covariance(ENGINE, 1, silent)
    C = C + 1e-6 * np.trace(C) / len(C) * np.eye(len(C))
    v = told._direction(told.layers[1], key)
    np.testing.assert_allclose((len(key) * C + np.outer(key, key)) @ v, key, atol=1e-6 * np.abs(key).max())


def test_alphaedit_writes_only_where_ordinary_text_is_not() -> None:
    told = learner(ALPHAEDIT, null_threshold=1.0)
    told.tell(ANA)
    values, vectors = np.linalg.eigh(covariance(ENGINE, 1, silent))
    V = told.layers[1].V[:, 0]
    assert np.linalg.norm(V) > 0
    assert np.linalg.norm(vectors[:, values >= 1.0].T @ V) < 1e-4 * np.linalg.norm(V)


def test_alphaedit_without_a_null_space_is_an_error_and_no_silent_nothing() -> None:
    with pytest.raises(UsageError, match="null space"):
        learner(ALPHAEDIT, null_threshold=0.0)


def test_a_second_fact_is_written_into_the_model_that_has_the_first() -> None:
    """Incremental: in the upper layer, where the first edit below shows, the second fact's key is another."""
    told = learner(MEMIT)
    key = told._key(BEN, 2)
    told.tell(ANA)
    assert np.abs(told._key(BEN, 2) - key).max() > 1e-3
    assert np.abs(told._key(BEN, 1) - learner(MEMIT)._key(BEN, 1)).max() < 1e-5


def test_layers_that_the_model_lacks_are_refused() -> None:
    require_layers(msgspec.structs.replace(MEMIT, layers=(3,)), ENGINE, "memit")
    for layers in ((), (2, 1), (4,), (-1,)):
        with pytest.raises(UsageError, match="memit"):
            require_layers(msgspec.structs.replace(MEMIT, layers=layers), ENGINE, "memit")
