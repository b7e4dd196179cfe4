"""What a person at a terminal sees, and what a log sees instead."""

import os
import pty
import subprocess
import sys

import pytest
from cli_examples import remember

from memctl.cli import meter
from memctl.cli.meter import Meter
from memctl.cli.output import Output
from memctl.store.store import Store


def on_terminal(*arguments: str, **environment: str) -> str:
    """All that a command writes to a terminal of 80 columns."""
    main_end, its_end = pty.openpty()
    surroundings = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    surroundings |= {"TERM": "xterm-256color", "COLUMNS": "80", **environment}
    command = [sys.executable, "-m", "memctl", *arguments]
    with subprocess.Popen(command, stdin=its_end, stdout=its_end, stderr=its_end, env=surroundings) as process:
        os.close(its_end)
        seen = b""
        try:
            while chunk := os.read(main_end, 4096):
                seen += chunk
        except OSError:  # Linux says so when the other end is closed
            pass
        process.wait(timeout=60)
    os.close(main_end)
    return seen.decode()


def test_a_terminal_gets_colour_unless_it_asks_for_none(store: Store) -> None:
    remember(store, ("Priya [bold]Okonkwo[/]", "lives in", "Jakarta"))
    assert "\x1b[" in on_terminal("diff")
    plain = on_terminal("diff", NO_COLOR="1")
    assert "\x1b[3" not in plain
    assert "Priya [bold]Okonkwo[/]" in plain
    assert "Priya [bold]Okonkwo[/]" in on_terminal("facts", TERM="dumb")


def test_nothing_waits_for_a_person_without_arguments(store: Store) -> None:
    seen = on_terminal("inject")
    assert "no fact was given" in seen
    assert "such as" in seen


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr(meter.time, "monotonic", lambda: now[0])
    return now


def test_without_a_terminal_progress_is_a_line_every_half_minute(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    progress = Meter(shown=True, verbose=False)
    for done in range(100):
        clock[0] = float(done)
        progress.update("values", done, 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "values: 30 of 100, about 70 s left",
        "values: 60 of 100, about 40 s left",
        "values: 90 of 100, about 10 s left",
    ]


def test_verbose_says_each_new_step_and_quiet_none(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    for shown, verbose in ((True, True), (False, True)):
        progress = Meter(shown=shown, verbose=verbose)
        for what in ("keys", "values"):
            progress.update(what, 0, 2)
            progress.update(what, 1, 2)
    assert capsys.readouterr().err.splitlines() == ["keys: 0 of 2", "values: 0 of 2"]


def test_a_hushed_command_says_nothing_of_its_progress_without_a_terminal(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    for verbose in (False, True):
        out = Output(verbose=verbose)
        out.hush()
        clock[0] += 40
        out.progress("asking", 1, 2)
        assert bool(capsys.readouterr().err) == verbose
