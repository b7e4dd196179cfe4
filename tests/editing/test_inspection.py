"""What a stored memory says of itself."""

from pathlib import Path

import numpy as np
import pytest
from editing_examples import D, plain_trace, second_moment, unit_trace
from safetensors.numpy import save_file

from memctl.editing.inspection import cosine, inspect
from memctl.editing.solve import solve_plain, solve_units
from memctl.editing.statistics import FORMAT

BASE = "f" * 64


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEMCTL_CACHE", str(tmp_path))


def cached(tmp_path: Path, what: str, **tensors: np.ndarray) -> None:
    folder = tmp_path / "statistics"
    folder.mkdir()
    save_file(tensors, folder / f"{BASE[:16]}-3-{what}-v{FORMAT}.safetensors")


def test_units_that_fire_on_each_other_are_told_with_the_direction() -> None:
    traces = [unit_trace("a", 0), unit_trace("b", 1, towards=np.eye(D)[0]), unit_trace("c", 2)]
    memories = dict(zip("abc", solve_units(traces, "silu", 0.1), strict=True))
    found = inspect("a", memories, BASE)
    rivals = {rival.subject: rival for rival in found.rivals}
    assert rivals["b"].here > 0.3
    assert abs(rivals["b"].there) < 1e-3
    assert (abs(rivals["c"].here), abs(rivals["c"].there)) < (1e-3, 1e-3)
    assert (found.layer, found.units, found.whitened, found.highest) == (3, 2, False, None)
    assert found.norm == pytest.approx(np.linalg.norm(traces[0].residual))


def test_the_nearest_come_first_and_only_so_many() -> None:
    random = np.random.default_rng(0)
    a = plain_trace("a", random)
    traces = [a] + [plain_trace(f"{k}", random, a.key + 0.3 * k * random.standard_normal(a.key.shape)) for k in range(1, 8)]
    memories = {trace.subject: delta for trace, delta in zip(traces, solve_plain(traces, np.eye(48), 0.1), strict=True)}
    found = inspect("a", memories, BASE)
    assert len(found.rivals) == 5
    assert found.rivals[0].subject == "1"
    assert [rival.cosine for rival in found.rivals] == sorted((rival.cosine for rival in found.rivals), reverse=True)
    assert (found.units, found.highest, found.touched) == (0, None, None)


def test_cached_statistics_whiten_and_show_what_a_unit_does_to_ordinary_text(tmp_path: Path) -> None:
    traces = [unit_trace("a", 0), unit_trace("b", 1)]
    memories = dict(zip("ab", solve_units(traces, "silu", 0.1), strict=True))
    plain = inspect("a", memories, BASE).rivals[0].cosine
    ordinary = np.zeros((1000, D), np.float16)
    ordinary[:, -1] = 1
    ordinary[:3, 0] = 1  # a's own direction
    moment = np.eye(D) * 0.01
    moment[-1, -1] = 1.0  # what all have in common counts little
    cached(tmp_path, "inputs", reference=ordinary, moment=moment)
    found = inspect("a", memories, BASE)
    assert found.whitened
    assert found.rivals[0].cosine < 0.1 < plain
    assert found.touched == 0.003
    assert found.highest == pytest.approx(1, abs=1e-3)


def test_a_damaged_cache_is_no_cache(tmp_path: Path) -> None:
    cached(tmp_path, "inputs", nothing=np.zeros(1))
    memories = {"a": solve_units([unit_trace("a", 0)], "silu", 0.1)[0]}
    assert inspect("a", memories, BASE).whitened is False
    (tmp_path / "statistics" / f"{BASE[:16]}-3-inputs-v{FORMAT}.safetensors").write_bytes(b"cut")
    assert inspect("a", memories, BASE).rivals == ()


def test_the_whitened_cosine_is_that_of_whitened_vectors() -> None:
    random = np.random.default_rng(0)
    C = second_moment(random, D)
    a, b = random.standard_normal((D, 1)), random.standard_normal((D, 2))
    root = np.linalg.inv(np.linalg.cholesky(C))
    white = [(root @ x) / np.linalg.norm(root @ x, axis=0) for x in (a, b)]
    np.testing.assert_allclose(cosine(a, b, C), white[0].T @ white[1], atol=1e-3)
