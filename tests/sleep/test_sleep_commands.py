"""`sleep`, `nap`, `dissolve` and `status` on the command line: records, exit codes, and nights that cron would have."""

import json
import os
import signal
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import pytest
from sleep_examples import FACTS, SETTINGS, ScriptedEngine, remembering
from test_sleep import slept

from memctl.backends import factory
from memctl.cli.main import main
from memctl.cli.night_log import log_path
from memctl.errors import UsageError
from memctl.facts import make_fact
from memctl.sleep import pipeline, steps
from memctl.sleep.night import Night
from memctl.sleep.plan import _last_slept
from memctl.sleep.state import STEPS, Health, State, StepName
from memctl.sleep.steps import Done
from memctl.store.store import Store

IDS = [fact.id for fact in FACTS]
WORKING = STEPS[:-1]
TOLD = make_fact("Dee Park", "lives in", "Lima")
WAITS = {"type": "fact", "subject": "Dee Park", "relation": "lives in", "object": "Lima"}


@pytest.fixture
def store(tmp_path: Path, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store that the command line finds, with the scripted engine behind it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / "home" / name.lower()))
    monkeypatch.setenv("MEMCTL_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("MEMCTL_BACKEND", "numpy")
    monkeypatch.setenv("MEMCTL_DRIFT_BUDGET", "1e9")
    monkeypatch.setenv("MEMCTL_SLEEP_DRIFT_BUDGET", "1e9")
    monkeypatch.setenv("MEMCTL_EDIT_STEPS", str(SETTINGS.edit.steps))
    monkeypatch.setattr(factory, "open_backend", lambda *given: engine)
    return remembering(tmp_path / "store", engine)


class Commands:
    """Runs command lines with `--json`, and keeps what they said."""

    def __init__(self, said: pytest.CaptureFixture[str]) -> None:
        self._said = said
        self.records: list[dict[str, Any]] = []
        self.err = ""

    def __call__(self, *arguments: str) -> int:
        self._said.readouterr()
        code = main([*arguments, "--json"])
        out, self.err = self._said.readouterr()
        self.records = [json.loads(line) for line in out.splitlines()]
        return code

    def of(self, type: str) -> list[dict[str, Any]]:
        return [record for record in self.records if record["type"] == type]

    @property
    def summary(self) -> dict[str, Any]:
        assert self.records[-1]["type"] == "summary"
        return self.records[-1]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Commands:
    return Commands(capsys)


def test_a_sleep_tells_each_step_and_each_fact(run: Commands, store: Store) -> None:
    assert run("sleep") == 0
    assert [record["name"] for record in run.of("step")] == list(WORKING)
    assert {record["id"]: (record["stage_before"], record["stage"], record["scale"]) for record in run.of("fact")} == (
        dict.fromkeys(IDS, (0, 1, 0.5))
    )
    assert (run.summary["result"], run.summary["snapshot"]) == ("done", store.head().id)
    assert run("show", "HEAD") == 0
    assert [step["name"] for step in run.records[0]["sleep"]["steps"]] == list(WORKING)
    assert run("status") == 0
    assert run.summary["last_sleep"]["result"] == "done"
    assert (run.summary["facts"]["stage1"], set(run.summary["pressure"]["parts"])) == (
        4,
        {"load", "degraded", "time", "drift"},
    )


def test_a_quiet_night_loads_no_model(run: Commands, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        assert run("sleep") == 0
    head = store.head()

    def no_model(*given: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(factory, "open_backend", no_model)
    for arguments in (["sleep"], ["sleep", "--if-needed"], ["sleep", "--dry-run"]):
        assert run(*arguments) == 0
    assert run("sleep") == 0
    assert (run.summary["result"], store.head()) == ("noop", head)
    assert run("status") == 0
    assert (run.summary["last_sleep"]["result"], run.summary["last_sleep"]["exit_code"]) == ("noop", 0)


def test_if_needed_sleeps_only_under_pressure(run: Commands, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    head = store.head()
    assert run("sleep", "--if-needed") == 0
    assert (run.summary["result"], store.head()) == ("noop", head)
    monkeypatch.setenv("MEMCTL_SLEEP_CAPACITY", "3")
    assert run("sleep", "--if-needed") == 0
    assert run.summary["result"] == "done"


def test_if_needed_writes_what_waits(run: Commands, store: Store, engine: ScriptedEngine) -> None:
    engine.facts[TOLD.id] = TOLD
    store.journal.append(WAITS)
    assert run("sleep", "--if-needed", "--dry-run") == 0
    assert (run.summary["would_sleep"], run.summary["plan"]["waiting"]) == (True, 1)
    assert run("sleep", "--if-needed") == 0
    assert run.summary["result"] == "done"
    assert store.ledger().entries[TOLD.id].state == "active"


def test_a_fact_that_had_every_effort_keeps_no_model_busy(run: Commands, store: Store, engine: ScriptedEngine) -> None:
    engine.script.wanting, engine.script.uncarried = {"Cy Mori": 9}, {IDS[3]}
    for _ in range(4):
        assert run("sleep") == 0
    assert run("sleep", "--dry-run") == 0
    assert (run.summary["plan"]["degraded"], run.summary["would_sleep"]) == (1, False)


def test_a_quiet_night_waits_for_the_lock_and_plans_anew(
    run: Commands, store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.facts[TOLD.id] = TOLD
    for _ in range(3):
        assert run("sleep") == 0
    taken = Store.writer

    def told_meanwhile(self: Store, *given: Any) -> Any:
        if not self.journal.read():
            self.journal.append(WAITS)
        return taken(self, *given)

    monkeypatch.setattr(Store, "writer", told_meanwhile)
    assert run("sleep") == 0
    assert run.summary["result"] == "done"


def test_an_internal_error_leaves_its_exit_code(run: Commands, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(night: Night, state: State) -> Done:
        raise ZeroDivisionError("of no use")

    with monkeypatch.context() as patch:
        patch.setitem(pipeline.WORK, "audit", broken)
        patch.setenv("MEMCTL_DEBUG", "")
        assert run("sleep") == 1
    assert run("status") == 0
    assert (run.summary["last_sleep"]["result"], run.summary["last_sleep"]["exit_code"]) == ("failed", 1)
    assert log_path().read_text(encoding="utf-8").splitlines()[-1].endswith("ZeroDivisionError: of no use")


def test_a_dry_run_prints_the_plan_and_takes_no_lock(run: Commands, store: Store) -> None:
    head = store.head()
    with store.writer(command="somebody"):
        assert run("sleep", "--dry-run") == 0
        assert run("sleep") == 11
    assert not (store.path / "sleep").exists()
    assert run("sleep", "--dry-run") == 0
    assert (run.summary["result"], run.summary["plan"]["stages"], run.summary["plan"]["trains"]) == (
        "dry-run",
        [4, 0, 0, 0],
        True,
    )
    assert store.head() == head


def test_a_refused_sleep_exits_4_and_says_why(run: Commands, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    head = store.head()
    measured = chain([Health(0.0, 0.0, 1.0, 1.0)], repeat(Health(0.0, 0.0, 0.5, 1.0)))
    monkeypatch.setattr(steps, "measured", lambda *given: next(measured))
    assert run("sleep") == 4
    assert (run.summary["result"], store.head()) == ("refused", head)
    assert "general would be 50.00%, 48.00% below the limit of 98.00%" in run.summary["gate"]
    assert "general" in run.err
    assert run("status") == 0
    assert (run.summary["last_sleep"]["exit_code"], run.summary["last_sleep"]["result"]) == (4, "refused")


@pytest.mark.parametrize("name", WORKING)
def test_sigterm_in_any_step(run: Commands, store: Store, monkeypatch: pytest.MonkeyPatch, name: StepName) -> None:
    head, work = store.head(), pipeline.WORK[name]

    def asked_to_end(night: Night, state: State) -> Done:
        done = work(night, state)
        os.kill(os.getpid(), signal.SIGTERM)
        return done

    with monkeypatch.context() as patch:
        patch.setitem(pipeline.WORK, name, asked_to_end)
        assert run("sleep") == 143
    assert (run.summary["result"], store.head()) == ("interrupted", head)
    assert run("status") == 0
    assert run.summary["last_sleep"]["exit_code"] == 143
    assert run("sleep") == 0
    assert run.summary["result"] == "done"


def test_only_the_facts_named(run: Commands, store: Store) -> None:
    assert run("sleep", "--facts", f"{IDS[3][:6]},{IDS[2]}") == 0
    assert {record["id"]: record["stage"] for record in run.of("fact")} == dict(zip(IDS, (0, 0, 1, 1), strict=True))
    assert run("sleep", "--facts", IDS[3], "--facts", IDS[2], "--dry-run") == 0
    assert run.summary["plan"]["trains"] is False
    assert run("sleep", "--facts", IDS[0], "--dry-run") == 0
    assert run.summary["plan"]["trains"] is True
    assert run("sleep", "--facts", "fffffff") == 2
    assert run("sleep", "--facts", ",") == 2


def test_a_fact_takes_the_others_of_its_subject_along(run: Commands, store: Store) -> None:
    assert run("sleep", "--facts", IDS[0]) == 0
    assert {record["id"]: record["stage"] for record in run.of("fact")} == dict(zip(IDS, (1, 1, 0, 0), strict=True))


def test_quiet_nights_do_not_put_the_next_sleep_off(run: Commands, store: Store) -> None:
    assert run("sleep", "--if-needed") == 0
    assert run.summary["result"] == "noop"
    assert run("status") == 0
    assert run.summary["last_sleep"]["slept"] == ""
    assert run("sleep") == 0
    assert run("status") == 0
    slept = run.summary["last_sleep"]["slept"]
    assert slept == run.summary["last_sleep"]["at"]
    assert run("sleep", "--if-needed") == 0
    assert run.summary["result"] == "noop"
    assert run("sleep", "--max-time", "0") == 0
    assert run.summary["result"] == "interrupted"
    assert all(record["raw"] is None for record in run.of("fact"))  # nobody asked yet
    assert run("status") == 0
    assert run.summary["last_sleep"]["slept"] == slept


def test_dissolve_exits_4_where_recall_would_fall(run: Commands, store: Store) -> None:
    assert run("dissolve", "--all") == 4
    assert (run.summary["result"], run.summary["refused"]) == ("refused", 4)
    assert run("sleep") == 0
    assert run("dissolve", IDS[3], "--dry-run") == 0
    assert len(store.head().deltas) == 3
    assert run("dissolve", "--consolidated") == 0
    assert (run.summary["dissolved"], store.head().deltas) == (4, ())
    assert run("dissolve", "--consolidated") == 0
    assert run.summary["result"] == "noop"
    assert run("dissolve") == 2
    assert run("dissolve", "--all", "--to", "1.0") == 2


def test_a_nap_records_and_changes_no_model(run: Commands, store: Store) -> None:
    composition = store.head().composition
    assert run("nap") == 0
    assert {record["id"] for record in run.of("fact")} == set(IDS)
    assert (run.summary["facts"], run.summary["chat"], store.head().composition) == (4, 1.0, composition)
    assert all(entry.recalls for entry in store.ledger().active())


def test_people_read_it_too(store: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sleep"]) == 0
    assert capsys.readouterr().out == ""  # no terminal: cron has nothing to mail
    with store.writer(command="rollback") as writer:
        writer.rollback("HEAD~1")
    assert main(["sleep", "-v"]) == 0
    said = capsys.readouterr().out
    assert "5. consolidate" in said
    assert "stage 0 → 1" in said
    assert main(["show"]) == 0
    assert "  5. consolidate" in capsys.readouterr().out
    assert main(["status"]) == 0
    assert "pressure" in capsys.readouterr().out
    assert main(["sleep", "-q"]) == 0
    assert capsys.readouterr().out.split() == sorted(IDS)
    log = log_path().read_text(encoding="utf-8").splitlines()
    assert [line.split(": ")[1] for line in log] == ["done"] * 3


def test_a_sleep_that_waited_for_another_one_plans_anew(
    run: Commands, store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMCTL_SLEEP_CAPACITY", "3")
    assert run("sleep", "--if-needed", "--dry-run") == 0
    assert run.summary["would_sleep"]
    taken = Store.writer

    def slept_meanwhile(self: Store, *given: Any) -> Any:
        monkeypatch.setattr(Store, "writer", taken)
        for _ in range(3):
            slept(store, engine)
        return taken(self, *given)

    monkeypatch.setattr(Store, "writer", slept_meanwhile)
    assert run("sleep", "--if-needed") == 0
    assert (run.summary["result"], run.summary["snapshot"]) == ("noop", None)
    assert [entry.stage for entry in store.ledger().active()] == [3] * 4


def test_every_night_has_its_line_in_the_log(run: Commands, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MEMCTL_SLEEP_EFFORTS", "many")
        assert run("sleep") == 2

    def missing(*given: object) -> None:
        raise UsageError("there is no such model")

    with monkeypatch.context() as patch:
        patch.setattr(factory, "open_backend", missing)
        assert run("sleep") == 2
    assert run("status") == 0
    assert (run.summary["last_sleep"]["result"], run.summary["last_sleep"]["exit_code"]) == ("failed", 2)
    (store.path / "HEAD").write_text("nonsense")
    assert run("sleep") == 12
    log = log_path().read_text(encoding="utf-8").splitlines()
    assert [line.split(": ")[1] for line in log] == ["stopped"] * 3


def test_status_advises_only_what_would_change_something(
    run: Commands, store: Store, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEMCTL_SLEEP_CAPACITY", "6")
    assert run("status") == 0
    assert (round(run.summary["pressure"]["value"], 3), run.summary["pressure"]["advice"]) == (0.5, "nap")
    assert run("nap") == 0
    assert run("status") == 0
    assert (round(run.summary["pressure"]["value"], 3), run.summary["pressure"]["advice"]) == (0.5, "")
    monkeypatch.setenv("MEMCTL_SLEEP_CAPACITY", "3")
    engine.script.uncarried, engine.script.needs = set(IDS), dict.fromkeys(IDS, 0.6)
    assert run("sleep") == 0
    assert run("status") == 0
    assert (run.summary["pressure"]["value"], run.summary["pressure"]["advice"]) == (1.0, "")


def test_the_plan_is_of_the_facts_named(run: Commands, store: Store) -> None:
    for _ in range(3):
        assert run("sleep", "--facts", IDS[3]) == 0
    assert run("sleep", "--facts", IDS[3], "--dry-run") == 0
    assert (run.summary["would_sleep"], run.summary["plan"]["edits"]) == (False, 0)
    assert run("status") == 0
    assert run.summary["last_sleep"]["slept"] == ""  # the others still wait


def test_after_a_rollback_facts_have_waited_since_they_were_told(run: Commands, store: Store) -> None:
    assert run("sleep") == 0
    assert _last_slept(store, store.head()) != ""
    with store.writer(0.0, "rollback") as writer:
        writer.rollback("HEAD~1")
    assert _last_slept(store, store.head()) == ""


def test_an_adapter_is_planned_for_what_waits(run: Commands, store: Store) -> None:
    for _ in range(3):
        assert run("sleep") == 0
    store.journal.append(WAITS)
    assert run("sleep", "--dry-run") == 0
    assert (run.summary["plan"]["waiting"], run.summary["plan"]["trains"]) == (1, True)
