import math
from pathlib import Path

import pytest

from memctl.bench.report import Cell, Report, ReportFolder, Setup, finite, markdown, rows
from memctl.errors import UsageError

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


SETUP = Setup("capacity", {"name": "tiny"}, {"edit": {"layer": 3}}, {"sizes": [2]}, {"processors": 2}, {"memctl": "0"})


def test_a_value_of_fewer_seeds_than_the_row_has_says_so() -> None:
    third = Cell({"seed": 3, "method": "memctl", "size": 2}, {"raw": 0.0, "drift": None, "general": 0.9})
    cells = (*CELLS, third)
    text = markdown(Report(SETUP, "memctl bench capacity", True, cells, rows(cells)), "Capacity", "Facts.")
    assert "| raw | 0.50 (0.00 … 1.00) |" in text
    assert "| drift | +1.00% (1 of 3 seeds) |" in text
    assert "| general kept | 0.90 (0.90 … 0.90; 2 of 3 seeds) |" in text


def test_what_no_seed_has_a_number_of_is_there_all_the_same() -> None:
    cells = tuple(Cell(cell.cell | {"seed": 1}, cell.values) for cell in CELLS[1:])
    text = markdown(Report(SETUP, "memctl bench baselines", True, cells, rows(cells)), "Baselines", "Facts.")
    assert "| drift | – (0 of 1 seed) |" in text
    both = (
        Cell({"seed": 1, "size": 1}, {"drift": None, "raw": 0.0}),
        Cell({"seed": 1, "size": 2}, {"drift": 0.01, "raw": 1.0}),
    )
    text = markdown(Report(SETUP, "memctl bench capacity", True, both, rows(both)), "Capacity", "Facts.")
    assert "| drift | – (0 of 1 seed) | +1.00% |\n| raw | 0.00 | 1.00 |" in text  # in one table


def test_a_report_without_a_cell_says_that() -> None:
    assert "Nothing is measured yet." in markdown(Report(SETUP, "memctl bench capacity", False, (), ()), "Capacity", "Facts.")


@pytest.mark.parametrize("name", ["report.md", "work", ".profile"])
def test_a_folder_of_somebody_elses_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    for resume in (False, True):
        with pytest.raises(UsageError, match=f"is not empty: it holds {name}") as found:
            ReportFolder(tmp_path).begun(resume=resume)
        assert "--out" in found.value.hint


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine")
    with pytest.raises(UsageError, match="is no folder"):
        ReportFolder(tmp_path / "out").begun(resume=False)


@pytest.mark.parametrize("made", [None, ".", ".memctl-bench"])
def test_a_new_or_empty_folder_and_one_whose_bench_was_killed_are_taken(tmp_path: Path, made: str | None) -> None:
    if made:
        (tmp_path / "out" / made).mkdir(parents=True)
    for resume in (False, True):
        assert ReportFolder(tmp_path / "out").begun(resume=resume) is None


def test_a_report_is_gone_on_with_when_asked_and_begun_anew_where_it_has_no_cell(tmp_path: Path) -> None:
    folder, empty = ReportFolder(tmp_path), Report(SETUP, "memctl bench capacity", False, (), ())
    folder.write(empty, "Capacity", "Facts.")
    assert folder.begun(resume=False) is None
    assert folder.begun(resume=True) == empty
    folder.write(Report(SETUP, "memctl bench capacity", False, CELLS, rows(CELLS)), "Capacity", "Facts.")
    with pytest.raises(UsageError, match="holds a report already"):
        folder.begun(resume=False)


def test_what_is_no_finite_number_is_none() -> None:
    assert finite({"raw": 1.0, "drift": math.inf, "divergence": math.nan}) == {"raw": 1.0, "drift": None, "divergence": None}


def test_markdown_gives_every_measure_with_its_interval_and_meaning() -> None:
    text = markdown(Report(SETUP, "memctl bench capacity", False, CELLS, rows(CELLS)), "Capacity", "Facts.")
    assert "| method, size | memctl, 2 |" in text
    assert "| raw | 0.75 (0.00 … 1.00) |" in text
    assert "- **drift**: change of perplexity" in text
    assert "edit.layer 3" in text
    assert "--resume" in text
