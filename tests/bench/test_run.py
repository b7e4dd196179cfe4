import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from bench_examples import ENGINE

from memctl.bench.plots import Panel
from memctl.bench.report import Report, ReportFolder
from memctl.bench.run import model_name, run
from memctl.bench.suite import Bench, Planned
from memctl.errors import EditFailed, UsageError
from memctl.progress import silent
from memctl.settings import Settings


@dataclass
class Counted:
    """A suite whose cells are its seeds; `before` is what happens before a cell is measured."""

    seeds: list[int]
    before: Callable[[Bench], None] = lambda bench: None
    sizes: tuple[int, ...] = (1,)
    title: str = "Counted"
    about: str = "Seeds."
    measured: list[int] = field(default_factory=list)

    def setup(self) -> dict[str, Any]:
        return {"seeds": self.seeds, "sizes": self.sizes}

    def plan(self) -> list[Planned]:
        return [Planned({"seed": seed}, 1) for seed in self.seeds]

    def run(self, bench: Bench) -> None:
        for planned in bench.missing:
            self.before(bench)
            self.measured.append(int(planned.cell["seed"]))
            bench.record(planned.cell, {"raw": 1.0})

    def panels(self) -> list[Panel]:
        return [Panel("Recall", ("raw",), "seed")]


def ran(suite: Counted, path: Path, *, resume: bool = False, command: str = "memctl bench counted") -> Report:
    settings = Settings(store="store", model="numpy", backend="numpy")
    return run(
        suite,
        "counted",
        ENGINE,
        settings,
        ReportFolder(path),
        command=command,
        resume=resume,
        progress=silent,
        measured=lambda cell: None,
    ).report


def told_and_then(error: BaseException) -> Callable[[Bench], None]:
    def raise_it(bench: Bench) -> None:
        (bench.work / "memctl-1").mkdir()
        raise error

    return raise_it


def just(error: BaseException) -> Callable[[Bench], None]:
    def raise_it(bench: Bench) -> None:
        raise error

    return raise_it


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["work/thesis.txt", "report.md"])
def test_what_a_user_has_in_the_folder_stays_as_it_is(tmp_path: Path, name: str, resume: bool) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    suite = Counted([1])
    with pytest.raises(UsageError, match="is not empty"):
        ran(suite, tmp_path, resume=resume)
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file()] == [Path(name)]
    assert ((tmp_path / name).read_text(), suite.measured) == ("mine", [])


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_killed_before_its_first_cell_is_begun_again(tmp_path: Path, resume: bool) -> None:
    (tmp_path / ".memctl-bench" / "memctl-1").mkdir(parents=True)
    suite = Counted([1], lambda bench: told.extend(bench.work.iterdir()))
    told: list[Path] = []
    assert ran(suite, tmp_path, resume=resume).complete
    assert told == []  # nobody knows what the store was told
    assert not (tmp_path / ".memctl-bench").exists()


def test_a_run_that_ends_before_its_first_cell_leaves_what_was_asked_for_and_told(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        ran(Counted([7], told_and_then(KeyboardInterrupt())), tmp_path)
    begun = json.loads((tmp_path / "report.json").read_bytes())
    assert (begun["setup"]["config"], begun["cells"], begun["complete"]) == ({"seeds": [7], "sizes": [1]}, [], False)
    with pytest.raises(UsageError, match="seeds"):
        ran(Counted([1]), tmp_path, resume=True)
    told: list[str] = []
    assert ran(
        Counted([7], lambda bench: told.extend(path.name for path in bench.work.iterdir())), tmp_path, resume=True
    ).complete
    assert told == ["memctl-1"]


@pytest.mark.parametrize("error", [EditFailed({"Ana": "no layers"}), KeyboardInterrupt()])
@pytest.mark.parametrize("made", [False, True])
def test_a_run_that_ends_with_nothing_leaves_nothing(tmp_path: Path, error: BaseException, made: bool) -> None:
    if made:
        (tmp_path / "out").mkdir()
    with pytest.raises(type(error)):
        ran(Counted([7], just(error)), tmp_path / "out")
    assert list(tmp_path.rglob("*")) == ([tmp_path / "out"] if made else [])


def test_a_report_names_the_commands_that_asked_for_its_cells(tmp_path: Path) -> None:
    first = "memctl bench counted --seeds 1"
    with pytest.raises(KeyboardInterrupt):
        ran(Counted([1], told_and_then(KeyboardInterrupt())), tmp_path, command=first)
    assert ran(Counted([1]), tmp_path, resume=True).command == first
    more = ran(Counted([1, 2]), tmp_path, resume=True, command="memctl bench counted --seeds 1,2")
    assert more.command == f"{first}; memctl bench counted --seeds 1,2 --resume"
    assert ran(Counted([1, 2]), tmp_path, resume=True).command == more.command


@pytest.mark.parametrize(
    ("model", "name"), [("numpy", "numpy"), ("bundled", "smollm2-135m-instruct"), ("owner/model", "owner/model")]
)
def test_a_model_is_named_as_it_can_be_asked_for(model: str, name: str) -> None:
    assert model_name(model) == name


def test_of_a_model_that_is_a_file_a_report_names_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "tiny.gguf"
    path.write_bytes(b"")
    assert model_name(str(path)) == "tiny.gguf"


def test_what_is_refused_is_named_beside_what_may_be_more(tmp_path: Path) -> None:
    ran(Counted([1]), tmp_path)
    with pytest.raises(UsageError, match=r"another config: sizes \[1\], now \[1, 7\]"):
        ran(Counted([1, 2], sizes=(1, 7)), tmp_path, resume=True)
    with pytest.raises(UsageError, match=r"another config: seeds \[1\], now \[2\]"):
        ran(Counted([2]), tmp_path, resume=True)


def test_two_runs_do_not_write_one_report(tmp_path: Path) -> None:
    def interrupt(bench: Bench) -> None:
        with pytest.raises(UsageError, match="another bench"):
            ran(Counted([1, 2]), tmp_path / "report", resume=True)

    assert ran(Counted([1, 2], interrupt), tmp_path / "report").complete
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == ["report.json", "report.md", "report.png"]
