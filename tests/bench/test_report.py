import math

from memctl.bench.report import Cell, Report, Setup, finite, markdown, rows

CELLS = (
    Cell({"seed": 1, "method": "memctl", "size": 2}, {"raw": 1.0, "drift": 0.01}),
    Cell({"seed": 2, "method": "memctl", "size": 2}, {"raw": 0.5, "drift": None, "general": 0.9}),
    Cell({"seed": 1, "method": "memit", "size": 2}, {"raw": 0.0, "drift": None}),
)


def test_cells_that_differ_by_the_seed_are_one_row() -> None:
    ours, theirs = rows(CELLS)
    assert ours.cell == {"method": "memctl", "size": 2}
    assert (ours.values["raw"].mean, ours.values["raw"].seeds) == (0.75, 2)
    assert (ours.values["drift"].mean, ours.values["drift"].seeds) == (0.01, 1)
    assert "drift" not in theirs.values
    assert (ours.values["general"].mean, ours.values["general"].seeds) == (0.9, 1)  # the first seed's night was refused


def test_what_is_no_finite_number_is_none() -> None:
    assert finite({"raw": 1.0, "drift": math.inf, "divergence": math.nan}) == {"raw": 1.0, "drift": None, "divergence": None}


def test_markdown_gives_every_measure_with_its_interval_and_meaning() -> None:
    setup = Setup("capacity", {"name": "tiny"}, {"edit": {"layer": 3}}, {"sizes": [2]}, {"processors": 2}, {"memctl": "0"})
    text = markdown(Report(setup, "memctl bench capacity", False, CELLS, rows(CELLS)), "Capacity", "Facts.")
    assert "| method, size | memctl, 2 |" in text
    assert "| raw | 0.75 (0.00 … 1.00) |" in text
    assert "- **drift**: change of perplexity" in text
    assert "edit.layer 3" in text
    assert "--resume" in text
