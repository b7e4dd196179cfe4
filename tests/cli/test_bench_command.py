"""`memctl bench` on the numpy engine with tiny sizes: every suite from end to end, and runs that are interrupted."""

import json
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from cli_examples import Cli, Ran
from tiny_suites import CONFIGS

from memctl.bench import alignment_tax, capacity, comprehensive, learners, nights, speed
from memctl.bench.stores import tell
from memctl.bench.suites import INVENTED
from memctl.editing import preflight

DATA = Path(__file__).parent.parent / "data"
SUBJECTS = Path(__file__).parent.parent.parent / "configs" / "bench-subjects.toml"

RECALL = {"raw", "chat", "raw_new", "chat_new", "unedited_raw", "same_chat", "bleed_raw", "relation_bleed_chat", "drift"}
RECORDS = {"efficacy", "paraphrase_generated", "unedited_specificity", "drift"}
MEASURED = {
    **dict.fromkeys(("capacity", "first-person"), RECALL | {"named", "unnamed", "unnamed_people"}),
    "speed": {"seconds_per_fact", "ratio", "speed_kept", "peak_memory_gib"},
    **dict.fromkeys(
        ("convergence", "consolidation", "lifetime"), RECALL | {"general", "stage3", "sleep_seconds", "store_mib", "live_mib"}
    ),
    "alignment-tax": RECALL | {"general", "identity", "edits", "seconds"},
    "counterfact": RECORDS,
    "zsre": RECORDS,
}
CELLS = {"capacity": 2, "first-person": 1, "baselines": 6, "lambda": 3, "speed": 4, "convergence": 2, "consolidation": 2}
CELLS |= {
    "lifetime": 2,
    "alignment-tax": 3,
    "counterfact": 2,
    "zsre": 2,
}


pytestmark = pytest.mark.usefixtures("tiny_bench")


def run(cli: Cli, suite: str, *options: str) -> Ran:
    data = ["--data", str(DATA / f"{suite}.json")] if suite in ("counterfact", "zsre") else []
    return cli("bench", suite, "--config", f"{suite}.toml", "--out", "out", *data, *options, "--json")


def report(folder: str = "out") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(folder, "report.json").read_bytes())
    return found


def check_reported(ran: Ran, suite: str) -> None:
    """The run is done, and its folder has the report of all cells, however many runs it took."""
    plotted = find_spec("matplotlib") is not None
    assert ran.code == (0 if plotted else 14), ran.err
    assert all(cell["suite"] == suite and cell["seed"] == 1 for cell in ran.of("result"))
    assert len(report()["cells"]) == CELLS[suite]
    assert ran.summary["report"] == str(Path("out/report.json").absolute())
    assert report()["complete"]
    assert Path("out/report.md").read_text().startswith("# ")
    assert Path("out/report.png").exists() is plotted
    assert not Path("out/.memctl-bench").exists()
    measured = {name for cell in report()["cells"] for name in cell["values"]}
    assert MEASURED.get(suite, RECALL) <= measured


@pytest.mark.parametrize("suite", sorted(set(CONFIGS) - {"lifetime", "alignment-tax"}))  # these are run further down
def test_a_suite_measures_its_cells_and_reports_them(cli: Cli, suite: str) -> None:
    ran = run(cli, suite)
    check_reported(ran, suite)
    assert len(ran.of("result")) == CELLS[suite]


def test_the_report_says_what_it_was_measured_with_and_not_where(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preflight, "UNLEARNED", -1.0)  # nothing is learned well enough to be written without --force
    run(cli, "capacity")
    assert [(cell["values"]["refused"], cell["cell"]["size"]) for cell in report()["cells"]] == [(1, 1), (2, 2)]
    setup = report()["setup"]
    assert setup["model"]["name"] == "numpy"
    assert len(setup["model"]["fingerprint"]) == 64
    assert setup["settings"]["edit"]["steps"] == 1
    assert setup["config"]["seeds"] == [1]
    assert {"memctl", "python", "numpy"} <= set(setup["versions"])
    assert set(setup["machine"]) == {"processors", "architecture", "hardware"}
    assert report()["command"] == "memctl bench capacity --config capacity.toml"
    for name in ("report.json", "report.md"):
        assert str(tmp_path.parent) not in Path("out", name).read_text()


@pytest.mark.parametrize(("given", "said"), [("configs/speed.toml", "configs/speed.toml"), ("{cwd}/speed.toml", "speed.toml")])
def test_the_reports_command_names_the_engine_and_the_config_that_were_asked_for(cli: Cli, given: str, said: str) -> None:
    Path("configs").mkdir()
    Path("configs/speed.toml").write_text(CONFIGS["speed"])
    config = given.replace("{cwd}", str(Path.cwd()))
    cli("--backend", "numpy", "bench", "speed", "--config", config, "--model", "numpy", "--device", "cpu", "--out", "out")
    assert report()["command"] == f"memctl bench speed --model numpy --backend numpy --device cpu --config {said}"


def test_the_alignment_tax_is_of_edits_of_an_adapter_alone_and_of_nights_until_the_edits_are_gone(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"THRESHOLD": 0, "GENERAL_KEPT": 0, "IDENTITY_KEPT": 0, "RECALL_LOSS": 1}.items():
        monkeypatch.setenv(f"MEMCTL_SLEEP_{name}", str(value))  # every gate passes
    slept_at, trained = [], []
    slept, consolidate = alignment_tax.slept, alignment_tax.consolidate
    monkeypatch.setattr(alignment_tax, "slept", lambda *given: slept_at.append(given) or slept(*given))
    monkeypatch.setattr(alignment_tax, "consolidate", lambda *given: trained.append(given) or consolidate(*given))
    Path("alignment-tax.toml").write_text("seeds = [1]\nsizes = [1]\npasses = 2\nnights = 5\nstrangers = 3\nprobed = 1\n")
    ran = run(cli, "alignment-tax")
    check_reported(ran, "alignment-tax")
    cells = {cell["method"]: cell for cell in ran.of("result")}
    assert {method: cell["edits"] for method, cell in cells.items()} == {"edits": 1, "lora": 0, "slept": 0}
    assert len(slept_at) == 3
    ((_, facts, _, units, settings, _),) = trained
    assert (len(facts), units, settings.passes) == (1, None, 2)
    assert all(cell["drift"] != 0 and cell["seconds"] > 0 for cell in cells.values())


def test_several_facts_of_a_person_are_told_together_and_the_least_recalled_person_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, inject = [], learners.inject
    monkeypatch.setattr(learners, "inject", lambda *given, **options: told.append(given[3]) or inject(*given, **options))
    Path("capacity.toml").write_text("seeds = [1]\nsizes = [4]\neach = 2\nstrangers = 3\nprobed = 1\n")
    (cell,) = run(cli, "capacity").of("result")
    assert [len({one.fact.subject for one in some}) for some in told] == [1, 1]
    assert [len(some) for some in told] == [2, 2]
    assert cell["least_raw"] <= cell["raw"]
    assert cell["least_chat"] <= cell["chat"]
    assert "told one at a time" not in Path("out/report.md").read_text()


def test_people_can_be_told_of_in_one_call(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    told, inject = [], learners.inject
    monkeypatch.setattr(learners, "inject", lambda *given, **options: told.append(given[3]) or inject(*given, **options))
    Path("capacity.toml").write_text("seeds = [1]\nsizes = [1, 4]\nat_once = 2\nstrangers = 3\nprobed = 1\n")
    cells = run(cli, "capacity").of("result")
    assert [len(some) for some in told] == [1, 2, 1]
    assert [cell["size"] for cell in cells] == [1, 4]
    assert "told 2 people at a time" in Path("out/report.md").read_text()
    assert "told one at a time" not in Path("out/report.md").read_text()


def interrupted_at_two(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Ran:
    """A run of `capacity` that ends when two facts are told and not yet measured."""
    measured = capacity.measured

    def interrupted(backend: Any, learner: Any, unedited: Any, facts: Any, *rest: Any) -> dict[str, float]:
        if len(facts) == 2:
            raise KeyboardInterrupt
        return measured(backend, learner, unedited, facts, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(capacity, "measured", interrupted)
        return run(cli, "capacity")


def test_an_interrupted_run_keeps_its_cells_and_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    ran = interrupted_at_two(cli, monkeypatch)
    assert ran.code == 130
    assert "--resume" in ran.err
    assert [cell["cell"]["size"] for cell in report()["cells"]] == [1]
    assert not report()["complete"]
    first = report()["cells"][0]

    inject = learners.inject
    monkeypatch.setattr(learners, "inject", lambda *given, **options: told.append(given) or inject(*given, **options))
    again = run(cli, "capacity", "--resume")
    assert [cell["size"] for cell in again.of("result")] == [2]
    assert report()["cells"][0] == first
    assert report()["complete"]
    assert told == []  # both facts were in the store already
    assert run(cli, "capacity", "--resume").of("result") == []


def test_a_run_that_goes_on_knows_what_was_refused_and_what_telling_took(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "UNLEARNED", -1.0)  # nothing is learned well enough to be written without --force
    interrupted_at_two(cli, monkeypatch)
    run(cli, "capacity", "--resume")
    values = report()["cells"][1]["values"]
    assert values["refused"] == 2
    assert values["seconds_per_fact"] > 0


def test_speed_goes_on_after_it_was_stopped_while_facts_were_told(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*given: Any) -> float:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(speed, "tell", lambda bench, store, facts: interrupted() if len(facts) > 1 else tell(bench, store, facts))
        assert run(cli, "speed").code == 130
    check_reported(run(cli, "speed", "--resume"), "speed")


def test_resuming_with_another_setup_is_refused(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    run(cli, "speed")
    before = report()
    assert run(cli, "speed").code == 2
    other = run(cli, "speed", "--resume", "--sizes", "1,7")
    assert (other.code, "sizes" in other.err) == (2, True)
    monkeypatch.setenv("MEMCTL_EDIT_STEPS", "2")
    assert "another settings" in run(cli, "speed", "--resume").err
    assert report() == before


def test_a_report_takes_further_seeds_and_methods(cli: Cli) -> None:
    assert len(run(cli, "capacity", "--seeds", "1").of("result")) == 2
    first = report()["cells"]
    again = run(cli, "capacity", "--resume", "--seeds", "1,2", "--methods", "in-prompt,memctl").of("result")
    assert {(cell["seed"], cell["method"]) for cell in again} == {(1, "in-prompt"), (2, "in-prompt"), (2, "memctl")}
    assert report()["cells"][:2] == first
    assert report()["complete"]
    fewer = run(cli, "capacity", "--resume", "--seeds", "2")
    assert (fewer.code, "seeds" in fewer.err) == (2, True)


@pytest.fixture
def _in_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cells of suites of methods are measured without asking anything; with `in-prompt`, nothing is written either."""
    monkeypatch.setattr(capacity, "measured", lambda *given: {"raw": 1.0})


def interrupt_at(monkeypatch: pytest.MonkeyPatch, cell: int) -> None:
    """Ends the run where so many cells are measured."""
    measured: list[object] = []

    def measure(*given: object) -> dict[str, float]:
        if len(measured) == cell:
            monkeypatch.setattr(capacity, "measured", lambda *given: {"raw": 1.0})
            raise KeyboardInterrupt
        measured.append(given)
        return {"raw": 1.0}

    monkeypatch.setattr(capacity, "measured", measure)


def hinted(ran: Ran) -> list[str]:
    """The command that goes on, as an interrupted one has said it."""
    assert ran.code == 130, ran.err
    (line,) = (line for line in ran.err.splitlines() if line.endswith(" goes on"))
    return shlex.split(line.partition("; memctl ")[2].removesuffix(" goes on"))


@pytest.mark.usefixtures("_in_no_time")
@pytest.mark.parametrize("options", [["--config", "capacity.toml"], []])
@pytest.mark.parametrize("hint", [True, False])
def test_a_run_goes_on_with_what_it_was_asked_for(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, options: list[str], hint: bool
) -> None:
    sizes = [] if options else ["--sizes", "1,2"]
    interrupt_at(monkeypatch, 1)
    ran = cli("bench", "capacity", *options, *sizes, "--seeds", "7,8", "--methods", "in-prompt", "--out", "out", "--json")
    first = report()
    again = hinted(ran) if hint else ["bench", "capacity", "--resume", "--out", "out"]
    cells = cli(*again, "--json").of("result")
    assert [(cell["seed"], cell["method"], cell["size"]) for cell in cells] == [
        (7, "in-prompt", 2),
        (8, "in-prompt", 1),
        (8, "in-prompt", 2),
    ]
    assert report()["complete"]
    assert report()["setup"] == first["setup"]
    assert report()["command"] == first["command"]


@pytest.mark.usefixtures("_in_no_time")
def test_a_run_interrupted_before_its_first_cell_goes_on_with_what_it_was_asked_for_and_told(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, inject = [], learners.inject
    monkeypatch.setattr(learners, "inject", lambda *given, **options: told.append(given[3]) or inject(*given, **options))
    interrupt_at(monkeypatch, 0)
    hinted(cli("bench", "capacity", "--config", "capacity.toml", "--sizes", "1", "--seeds", "7", "--out", "out", "--json"))
    assert report()["cells"] == []
    assert "Nothing is measured yet" in Path("out/report.md").read_text()
    (cell,) = cli("bench", "capacity", "--resume", "--out", "out", "--json").of("result")
    assert (cell["seed"], cell["size"]) == (7, 1)
    assert len(told) == 1


@pytest.mark.usefixtures("_in_no_time")
def test_further_seeds_are_measured_where_the_config_lets_so_many(cli: Cli) -> None:
    Path("capacity.toml").write_text('seeds = [1]\nsizes = [1, 2]\nmethods = ["in-prompt"]\n[most_seeds]\n2 = 1\n')
    run(cli, "capacity")
    first = report()["cells"]
    more = cli("bench", "capacity", "--seeds", "1,2", "--resume", "--out", "out", "--json")
    assert [(cell["seed"], cell["size"]) for cell in more.of("result")] == [(2, 1)], more.err
    assert report()["cells"][:2] == first
    assert report()["complete"]


def test_another_suites_report_is_not_gone_on_with(cli: Cli) -> None:
    run(cli, "speed")
    for suite in ("lambda", "comprehensive"):
        ran = cli("bench", suite, "--resume", "--out", "out")
        assert (ran.code, "report" in ran.err) == (2, True), ran.err
    assert report()["setup"]["suite"] == "speed"


@pytest.mark.parametrize("suite", ["speed", "comprehensive"])
@pytest.mark.parametrize("options", [[], ["--resume"]])
def test_what_a_user_has_in_the_folder_stays(cli: Cli, monkeypatch: pytest.MonkeyPatch, suite: str, options: list[str]) -> None:
    monkeypatch.setattr("memctl.backends.factory.open_backend", lambda *given: pytest.fail("a model is loaded"))
    Path("out", "work").mkdir(parents=True)
    mine = [Path("out", "report.md"), Path("out", "work", "thesis.txt")]
    for path in mine:
        path.write_text("mine")
    ran = cli("bench", suite, "--out", "out", *options)
    assert (ran.code, "is not empty: it holds report.md" in ran.err) == (2, True), ran.err
    assert [path.read_text() for path in mine] == ["mine", "mine"]
    assert len(list(Path("out").rglob("*"))) == 3


@pytest.mark.usefixtures("_in_no_time")
def test_all_suites_go_on_with_what_they_were_asked_for(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comprehensive, "INVENTED", {name: INVENTED[name] for name in ("capacity", "baselines")})
    monkeypatch.setattr("memctl.bench.config.shipped", lambda name: tmp_path / name.removeprefix("bench-"))
    for suite in ("capacity", "baselines"):
        Path(f"{suite}.toml").write_text('seeds = [1]\nsizes = [1]\nmethods = ["in-prompt"]\n')
    interrupt_at(monkeypatch, 1)
    ran = cli("bench", "comprehensive", "--seeds", "7", "--out", "out", "--json")
    assert hinted(ran) == ["bench", "comprehensive", "--seeds", "7", "--resume", "--out", str(Path("out").absolute())]
    cells = cli("bench", "comprehensive", "--resume", "--out", "out", "--json").of("result")
    assert [(cell["suite"], cell["seed"]) for cell in cells] == [("baselines", 7)]
    assert report("out/baselines")["command"] == "memctl bench baselines --seeds 7"
    assert "`memctl bench comprehensive --seeds 7`" in Path("out/report.md").read_text()
    assert cli("bench", "comprehensive", "--seeds", "8", "--out", "out").code == 2
    assert report()["seeds"] == "7"


def test_a_lifetime_goes_on_with_the_memory_of_its_last_round(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    state_of, told = nights.state_of, []
    tell = nights.tell

    def interrupted(*given: Any) -> dict[str, float]:
        if len(given[3]) == 2:
            raise KeyboardInterrupt
        return state_of(*given)

    with monkeypatch.context() as patch:
        patch.setattr(nights, "state_of", interrupted)
        assert run(cli, "lifetime").code == 130
    monkeypatch.setattr(nights, "tell", lambda bench, store, facts: told.append(len(facts)) or tell(bench, store, facts))
    resumed = run(cli, "lifetime", "--resume")
    check_reported(resumed, "lifetime")
    assert [cell["size"] for cell in resumed.of("result")] == [2]
    assert told == [1]


def test_without_a_folder_it_makes_one_named_by_suite_and_time_and_resumes_the_last(cli: Cli) -> None:
    assert cli("bench", "speed", "--config", "speed.toml", "--resume").code == 2
    cli("bench", "speed", "--config", "speed.toml")
    (folder,) = Path("memctl-bench").iterdir()
    assert folder.name.startswith("speed-2")
    assert report(str(folder))["complete"]
    ran = cli("bench", "speed", "--config", "speed.toml", "--resume", "--json")
    assert Path(ran.summary["report"]).parent.name == folder.name


def test_without_matplotlib_the_report_is_there_all_the_same(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    ran = run(cli, "speed")
    assert ran.code == 14
    assert "memctl[bench]" in ran.err
    assert report()["complete"]
    assert ran.summary["plot"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["capacty"], 2, "capacity"),
        (["capacity", "--config", "missing.toml"], 2, "missing.toml"),
        (["capacity", "--sizes", "many"], 2, "--sizes"),
        (["capacity", "--sizes", "5000"], 2, "cannot be invented"),
        (["capacity", "--sizes", "36,10"], 2, "the command line: sizes must ascend"),
        (["capacity", "--methods", "foo"], 2, "the command line: Invalid"),
        (["capacity", "--methods", "memctl,memctl"], 2, "twice"),
        (["speed", "--methods", "memctl"], 2, "methods"),
        (["capacity", "--data", "x.json"], 2, "invents"),
        (["capacity", "--config", str(SUBJECTS), "--sizes", "15"], 2, "multiples of 10"),
        (["zsre"], 2, "--data"),
        (["counterfact", "--data", "missing.json", "--methods", "memctl"], 2, "cannot be read"),
        (["baselines", "--methods", "memit"], 2, "layers"),
        (["comprehensive", "--config", "speed.toml"], 2, "--config"),
        (["comprehensive", "--methods", "memctl"], 2, "--methods"),
        (["comprehensive", "--data", "x.json"], 2, "--data"),
        (["comprehensive", "--sizes", "5000"], 2, "cannot be invented"),
        (["comprehensiv"], 2, "comprehensive"),
    ],
)
def test_what_cannot_be_run_is_said_before_anything_is_measured(
    cli: Cli, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    ran = cli("bench", *arguments, "--out", "out")
    assert (ran.code, said in ran.err) == (code, True), ran.err
    assert "internal" not in ran.err
    assert not (tmp_path / "out").exists()


def test_retrieval_without_its_extra_is_said_at_once(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memctl.bench.embeddings.find_spec", lambda name: None)
    ran = cli("bench", "baselines", "--out", "out")
    assert ran.code == 14
    assert "memctl[retrieval]" in ran.err
