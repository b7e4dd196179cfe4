"""`memctl bench comprehensive` on the numpy engine: all suites in one folder, those that fail, and runs that go on."""

import json
from pathlib import Path
from typing import Any

import pytest
from cli_examples import Cli, Ran

from memctl.backends import factory
from memctl.bench import SUITES, comprehensive, damping
from memctl.bench.damping import Damping
from memctl.bench.speed import Speed
from memctl.bench.suites import INVENTED, PUBLISHED
from memctl.errors import GateRefused

pytestmark = pytest.mark.usefixtures("tiny_bench", "_tiny_configs_shipped")


@pytest.fixture
def _tiny_configs_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("memctl.bench.config.shipped", lambda name: tmp_path / name.removeprefix("bench-"))


def only(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Leaves it these suites, in the order of the table."""
    monkeypatch.setattr(comprehensive, "INVENTED", {name: suite for name, suite in INVENTED.items() if name in names})


def run(cli: Cli, *options: str) -> Ran:
    return cli("bench", "comprehensive", "--out", "out", *options, "--json")


def report(suite: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("out", suite, "report.json").read_bytes())
    return found


def overview() -> str:
    return Path("out/report.md").read_text(encoding="utf-8")


def results(ran: Ran) -> dict[str, str]:
    return {suite["suite"]: suite["result"] for suite in ran.summary["suites"]}


def test_it_stands_for_all_suites_but_those_that_need_a_file() -> None:
    assert set(SUITES) - set(INVENTED) == set(PUBLISHED)


def test_suites_are_run_on_one_model_each_with_its_own_config_and_report(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    only(monkeypatch, "capacity", "lambda", "speed")
    opened, open_backend = [], factory.open_backend
    monkeypatch.setattr(factory, "open_backend", lambda *given: opened.append(given) or open_backend(*given))
    ran = run(cli, "--seeds", "2", "--sizes", "2")
    assert ran.code == 0, ran.err
    assert results(ran) == {"capacity": "done", "lambda": "done", "speed": "done"}
    assert len(opened) == 1
    for suite in ran.summary["suites"]:
        name = suite["suite"]
        assert report(name)["complete"]
        assert report(name)["command"] == f"memctl bench {name} --seeds 2 --sizes 2"
        assert {cell["cell"]["seed"] for cell in report(name)["cells"]} == {2}
        assert suite["cells"] == len(report(name)["cells"])
        assert Path(suite["report"]) == Path("out", name, "report.json").absolute()
        assert f"]({name}/report.md)" in overview()
    assert report("lambda")["setup"]["config"]["dampings"] == [0.1, 1.0]
    assert "memctl bench comprehensive --seeds 2 --sizes 2" in overview()
    assert "| size, edit, damping | 2, plain, 0.1 | 2, plain, 1.0 |" in overview()
    assert ran.summary["markdown"] == str(Path("out/report.md").absolute())


def test_a_suite_that_fails_is_named_and_the_next_goes_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    only(monkeypatch, "baselines", "lambda", "speed")
    baselines = Path("baselines.toml")
    baselines.write_text(baselines.read_text().replace('"in-prompt"', '"retrieval"'))

    def refused(*given: object) -> None:
        raise GateRefused("the drift is too large")

    with monkeypatch.context() as patch:
        patch.setattr("memctl.bench.embeddings.find_spec", lambda name: None)
        patch.setattr(Damping, "run", refused)
        ran = run(cli)
    assert ran.code == ran.summary["exit_code"] == 14  # of the first that failed
    assert results(ran) == {"baselines": "failed", "lambda": "failed", "speed": "done"}
    assert [suite.get("exit_code") for suite in ran.summary["suites"]] == [14, 4, None]
    assert "suite lambda: the drift is too large" in ran.err
    assert "**Failed: the drift is too large**" in overview()
    assert "memctl[retrieval]" in ran.err

    only(monkeypatch, "lambda", "speed")
    again = run(cli, "--resume")
    assert again.code == 0, again.err
    assert {cell["suite"] for cell in again.of("result")} == {"lambda"}
    assert "Failed" not in overview()


def test_an_interrupted_run_goes_on_where_it_was(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    only(monkeypatch, "capacity", "lambda", "speed")
    measured, solved = damping.measured, []

    def interrupted(*given: Any) -> dict[str, float]:
        solved.append(given)
        if len(solved) == 2:
            raise KeyboardInterrupt
        return measured(*given)

    with monkeypatch.context() as patch:
        patch.setattr(damping, "measured", interrupted)
        ran = run(cli)
    assert ran.code == 130
    assert f"--resume --out {Path('out').absolute()}" in ran.err
    assert report("capacity")["complete"]
    assert len(report("lambda")["cells"]) == 1
    assert not Path("out/speed").exists()

    again = run(cli, "--resume")
    assert again.code == 0, again.err
    assert results(again) == {"capacity": "done", "lambda": "done", "speed": "done"}
    assert [cell["suite"] for cell in again.of("result")] == ["lambda"] * 2 + ["speed"] * 4
    assert "Not" not in overview()


def test_a_folder_with_reports_is_not_mixed_with_other_ones(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "capacity", "speed")

    def interrupted(*given: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Speed, "run", interrupted)
        run(cli)
    for options in ([], ["--resume", "--seeds", "7"]):
        ran = run(cli, *options)
        assert (ran.code, ran.of("result")) == (2, []), ran.err
        assert not Path("out/speed").exists()


def test_without_a_folder_it_makes_one_named_by_time_and_resumes_the_last(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, "speed")
    assert cli("bench", "comprehensive", "--resume").code == 2
    cli("bench", "comprehensive")
    (folder,) = Path("memctl-bench").iterdir()
    assert folder.name.startswith("comprehensive-2")
    assert (folder / "speed" / "report.json").exists()
    ran = cli("bench", "comprehensive", "--resume", "--json")
    assert Path(ran.summary["markdown"]) == (folder / "report.md").absolute()
    assert ran.of("result") == []
