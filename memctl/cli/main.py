"""The table of commands. Signals and errors become exit codes here, and nowhere else."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType

import typer
from typer.exceptions import TyperException

from memctl import __version__
from memctl.cli import app as shared
from memctl.cli import (
    ask,
    audit,
    bench,
    config,
    demo,
    diff,
    dissolve,
    facts,
    forget,
    gc,
    init,
    inject,
    log,
    model,
    nap,
    rollback,
    show,
    sleep,
    status,
    tag,
    verify,
)
from memctl.cli.app import SIGPIPE, Stopped
from memctl.cli.output import Output
from memctl.errors import MemctlError, OutputLost, UsageError

SIGINT, SIGTERM = 130, 143

COMMANDS: dict[str, tuple[shared.Command, ...]] = {
    "Every day": (inject.inject, audit.audit, sleep.sleep, dissolve.dissolve, bench.bench),
    "Memory": (demo.demo, init.init, ask.ask, facts.facts, forget.forget, nap.nap, status.status),
    "History": (log.log, show.show, diff.diff, rollback.rollback, tag.tag, verify.verify, gc.gc),
}

app = typer.Typer(
    name="memctl",
    help="A memory for local language models that lives in their weights.",
    epilog="memctl --version: which one this is. "
    "Exit codes: 0 done, 1 failure, 2 usage, 3 part of the input failed, 4 a gate refused, 5 findings, "
    "10 no store, 11 locked, 12 damaged store, 13 another base model, 14 backend not installed, 130 interrupted, "
    "141 the reader of a pipe has gone, 143 terminated.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
shared.add_callback(app)
for panel, functions in COMMANDS.items():
    for function in functions:
        shared.add(app, function, panel)
app.add_typer(model.group, rich_help_panel="Models and settings")
app.add_typer(config.group, rich_help_panel="Models and settings")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line, by default that of the process; returns the exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    signal.signal(signal.SIGTERM, _terminate)
    _have_streams()
    _speak_utf8()
    try:
        return _flushed(_run(given))
    except Stopped as stop:
        return stop.exit_code if stop.exit_code != SIGPIPE else _closed_pipe()
    except BrokenPipeError:
        return _closed_pipe()
    except KeyboardInterrupt:
        return SIGINT
    except SystemExit as leave:  # how Typer and rich, which show the help, take a closed pipe
        if isinstance(leave.__context__, BrokenPipeError):
            return _closed_pipe()
        raise


def _run(given: list[str]) -> int:
    out = Output("json" if "--json" in given else "human")
    try:
        if given[0] == "--version" or given[:2] == ["--json", "--version"]:
            out.record("version", {"version": __version__}, f"memctl {__version__}")
            out.summary({"result": "done"})
            return 0
        code = int(typer.main.get_command(app).main(given, prog_name="memctl", standalone_mode=False) or 0)
    except TyperException as error:
        return out.failure(UsageError(error.format_message(), _usage_hint(error)))
    except MemctlError as error:
        return out.failure(error)
    except Exception as error:  # the last line of defence: a defect shows its traceback only on request
        if os.environ.get("MEMCTL_DEBUG"):
            traceback.print_exc()
        message = f"internal error: {type(error).__name__}: {error}"
        return out.failure(MemctlError(message, "set MEMCTL_DEBUG=1 to see where, and report it"))
    if code == SIGINT:
        out.note("interrupted")
    return code


def _usage_hint(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"{context.command_path if context else 'memctl'} --help"


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Stopped(SIGTERM)


def _have_streams() -> None:
    """A stream that the caller has closed goes nowhere; its descriptor is taken, so that no file of the memory gets it."""
    while (taken := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(taken)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  it stays open


def _speak_utf8() -> None:
    """Records are UTF-8 whatever the locale says; a terminal that cannot show a character shows another one."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            if stream.isatty():
                stream.reconfigure(errors="replace")
            else:
                stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError:  # what was buffered was to be lost before, and that was said
        _write_nowhere()
        return code or OutputLost.exit_code
    return code


def _closed_pipe() -> int:
    _write_nowhere()
    return SIGPIPE


def _write_nowhere() -> None:
    """What is buffered goes nowhere, so that the interpreter ends without a complaint."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
