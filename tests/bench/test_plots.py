import sys
import warnings
from pathlib import Path

import pytest

from memctl.bench.plots import POWERS, Panel, draw
from memctl.bench.report import Cell, rows
from memctl.errors import BackendMissing

ROWS = rows(
    [
        Cell({"seed": seed, "method": method, "size": size}, {"raw": 0.9, "unedited_raw": 0.0, "drift": drift})
        for seed in (1, 2)
        for method, drift in (("memctl", 0.001), ("memit", 40.0))
        for size in (1, 13, 14, 100)
    ]
    + [Cell({"seed": 1, "method": "memctl", "size": 1}, {"seconds_per_fact": None})]
)
PANELS = [
    Panel("Recall", ("raw", "unedited_raw"), "size", series="method"),
    Panel("Drift", ("drift",), "size", series="method"),
    Panel("Recall", ("raw",), "method", "bars"),
    Panel("Nothing of it was measured", ("chat",), "size"),
    Panel("Nothing of it was measured", ("same_raw", "same_chat"), "method", "bars"),
    Panel("Told before the run that measured", ("seconds_per_fact",), "size", series="method"),
    Panel("Told before the run that measured", ("seconds_per_fact",), "method", "bars"),
]


def test_lines_and_bars_become_a_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(PANELS, ROWS, "Title", tmp_path / "report.png")
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("drift", [2.0, 40.0, 2500.0, 1e8, 1e44])
def test_of_a_ruined_model_few_powers_of_ten_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drift: float) -> None:
    figure_module, drawn = pytest.importorskip("matplotlib.figure"), []
    monkeypatch.setattr(figure_module.Figure, "savefig", lambda figure, *given, **options: drawn.append(figure))
    ruined = rows(
        [Cell({"seed": 1, "method": name}, {"drift": value}) for name, value in (("memctl", 0.0005), ("memit", drift))]
    )
    draw([Panel("Drift", ("drift",), "method", "bars")], ruined, "Title", tmp_path / "report.png")
    (axes,) = drawn[0].axes
    low, high = axes.get_xlim()
    assert 2 <= sum(low <= place <= high for place in axes.get_xticks()) <= POWERS


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(BackendMissing) as found:
        draw(PANELS, ROWS, "Title", tmp_path / "report.png")
    assert "memctl[bench]" in found.value.hint
