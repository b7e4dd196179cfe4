"""What goes where: stdout, stderr, exit codes, records, pipes, terminals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_examples import Cli, remember

from memctl.cli.main import COMMANDS
from memctl.cli.output import Output, printable
from memctl.errors import NonFinite
from memctl.store.store import Store

PRIYA = ("Priya Okonkwo", "lives in", "Jakarta")


def process(*arguments: str, **options: object) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "memctl", *arguments]
    return subprocess.run(command, capture_output=True, timeout=60, check=False, **options)  # type: ignore[call-overload]


@pytest.mark.parametrize("options", [["--json"], ["--store", "{}"], ["-q"]])
def test_global_options_are_taken_before_and_after_the_command(cli: Cli, store: Store, options: list[str]) -> None:
    remember(store, PRIYA)
    given = [option.format(store.path) for option in options]
    before, after = cli(*given, "facts"), cli("facts", *given)
    assert before.code == after.code == 0
    assert before.out == after.out


def test_the_option_nearer_to_the_command_counts(cli: Cli, store: Store, tmp_path: Path) -> None:
    elsewhere = str(tmp_path / "elsewhere")
    assert cli("--store", elsewhere, "status", "--store", str(store.path)).code == 0
    assert cli("--store", str(store.path), "status", "--store", elsewhere).code == 10


def test_json_and_quiet_exclude_each_other(cli: Cli, store: Store) -> None:
    assert cli("status", "--json", "-q").code == 2


def test_every_json_run_ends_in_a_summary_even_a_failed_one(cli: Cli) -> None:
    for command in (
        ["status"],
        ["nonsense"],
        ["log", "--nonsense"],
        ["rollback"],
        ["log", "-n", "x"],
        ["config"],
    ):
        ran = cli(*command, "--json")
        assert all(record["schema"] == 1 for record in ran.records), command
        assert ran.summary.get("exit_code", 0) == ran.code, command


def test_a_usage_error_names_the_help_and_shows_no_traceback(cli: Cli) -> None:
    ran = cli("rollbak")
    assert ran.code == 2
    assert "'rollback'" in ran.err
    assert "memctl --help" in ran.err
    assert "Traceback" not in ran.err
    assert ran.out == ""


def test_a_defect_shows_its_traceback_only_on_request(cli: Cli, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Store) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr(Store, "head", broken)
    ran = cli("status", "--json")
    assert ran.code == 1
    assert "MEMCTL_DEBUG" in ran.err
    assert "Traceback" not in ran.err
    assert ran.summary["exit_code"] == 1
    monkeypatch.setenv("MEMCTL_DEBUG", "1")
    assert "Traceback" in cli("status").err


def test_help_lists_what_exists_with_the_front_row_first(cli: Cli) -> None:
    text = cli("--help").out
    places = [
        text.index(f"│ {name} ") for name in ("inject", "audit", "sleep", "dissolve", "bench", "init", "log", "model", "config")
    ]
    assert places == sorted(places)
    assert cli().out == text
    for function in (function for functions in COMMANDS.values() for function in functions):
        assert cli(function.__name__, "--help").code == 0
    for later in ("chat", "export"):
        assert f"│ {later} " not in text


@pytest.mark.parametrize("arguments", [["log", "--json"], ["status"], ["--help"]], ids=" ".join)
def test_a_pipe_that_nobody_reads_ends_the_command_with_141(store: Store, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "memctl", *arguments]
    piped = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    os.close(writer)
    assert (piped.returncode, piped.stderr) == (141, b"")


WAITING = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs the tests in the background has it ignored
from memctl.cli.main import main
from memctl.store import writer

def hold(*arguments, real=writer.hold):
    print("waiting", file=sys.stderr, flush=True)
    return real(*arguments)

writer.hold = hold
sys.exit(main(["rollback", "HEAD", "--lock-wait", "60", "--json"]))
"""
"""A command that says when it begins to wait for the lock."""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_command_leaves_with_the_code_of_the_signal(store: Store, number: int, code: int) -> None:
    with store.writer(command="sleep"):
        command = [sys.executable, "-c", WAITING]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
            assert waiting.stderr is not None
            assert waiting.stderr.readline() == b"waiting\n"
            waiting.send_signal(number)
            out, err = waiting.communicate(timeout=60)
    assert waiting.returncode == code
    assert json.loads(out.splitlines()[-1])["result"] == "interrupted"
    assert b"Traceback" not in err


def test_output_is_plain_utf8_without_a_terminal_whatever_the_locale(store: Store) -> None:
    remember(store, ("Þóra Łukasz", "lives in", "東京 🗼"))
    ran = process("facts", env={**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "FORCE_COLOR": ""})
    assert "東京 🗼" in ran.stdout.decode()
    assert b"\x1b" not in ran.stdout
    records = [json.loads(line) for line in process("facts", "--json").stdout.splitlines()]
    assert records[0]["subject"] == "Þóra Łukasz"


def test_a_record_cannot_pose_as_another_one(capsys: pytest.CaptureFixture[str]) -> None:
    Output("json").record("answer", {"type": "summary", "schema": 7, "ref": 1}, "")
    assert json.loads(capsys.readouterr().out) == {"schema": 1, "type": "answer", "ref": 1}
    with pytest.raises(NonFinite):
        Output("json").summary({"drift": float("nan")})


def test_a_closed_stdin_is_said_so(store: Store) -> None:
    ran = subprocess.run(["bash", "-c", f"{sys.executable} -m memctl inject <&-"], capture_output=True, timeout=60, check=False)
    assert ran.returncode == 2
    assert b"no fact was given" in ran.stderr


def test_a_text_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in printable("\x1b[2Jgone\r")
    assert printable("two\nlines\tand a tab") == "two\nlines\tand a tab"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="a device that is always full")
@pytest.mark.parametrize("option", ["--json", "-q", "--verbose"])
def test_output_that_cannot_be_written_is_an_error_and_no_defect(store: Store, option: str) -> None:
    remember(store, PRIYA)
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "memctl", "facts", option]
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, timeout=60, check=False)
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[0] == b"error: the output cannot be written: No space left on device"
    assert len(ran.stderr.splitlines()) == 2


def test_a_closed_stdout_takes_nothing_and_harms_nothing(store: Store) -> None:
    ran = process("facts", "--json", preexec_fn=lambda: os.close(1))
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("given", [["--version", "--json"], ["--json", "--version"]])
def test_the_version_ends_in_a_summary_too(cli: Cli, given: list[str]) -> None:
    ran = cli(*given)
    assert [record["type"] for record in ran.records] == ["version", "summary"]


def test_an_option_or_a_revision_that_makes_no_sense_is_a_usage_error(cli: Cli, store: Store) -> None:
    for arguments in (["log", f"HEAD~{10**30}"], ["status", "--store", "~nosuchuser/x"], ["status", "--store", ""]):
        ran = cli(*arguments)
        assert (ran.code, "internal" in ran.err) == (2, False), arguments
    assert cli("--store", "", "status").code == 2
