"""What every command shares: the global options, before it or after it, and the way to store and model."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from memctl.cli.output import Output
from memctl.errors import MemctlError, UsageError
from memctl.settings import Effective, load_settings, store_path

if TYPE_CHECKING:
    from memctl.backends.protocol import Backend
    from memctl.store.store import Store

SIGPIPE = 141
PANEL = "Global options"


class Stopped(BaseException):
    """Something outside ended the command: carries the exit code. No error of the program."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


def _option(*names: str, help: str, metavar: str | None = None) -> Any:
    return typer.Option(*names, help=help, metavar=metavar, rich_help_panel=PANEL, show_default=False)


@dataclass(frozen=True)
class Globals:
    """The options that every command takes."""

    store: Annotated[str | None, _option("--store", help="Memory directory.", metavar="DIR")] = None
    model: Annotated[str | None, _option("--model", help="Base model.", metavar="NAME")] = None
    backend: Annotated[str | None, _option("--backend", help="Engine: torch, numpy.", metavar="NAME")] = None
    device: Annotated[str | None, _option("--device", help="auto, cpu, cuda.", metavar="NAME")] = None
    json: Annotated[bool, _option("--json", help="Records as NDJSON; the last is a summary.")] = False
    quiet: Annotated[bool, _option("--quiet", "-q", help="Bare ids, one a line.")] = False
    verbose: Annotated[bool, _option("--verbose", "-v", help="Say on stderr what is being done.")] = False

    def under(self, above: "Globals | None") -> "Globals":
        """These, and where one was not given, what was given before the command."""
        if above is None:
            return self
        return replace(self, **{f.name: getattr(above, f.name) for f in fields(self) if getattr(self, f.name) in (None, False)})

    def settings(self) -> dict[str, str | None]:
        """Those that are settings."""
        return {name: getattr(self, name) for name in ("store", "model", "backend", "device")}


class Run:
    """One run of a command: its output, settings, store and model, each made when it is first asked for."""

    def __init__(self, options: Globals, command: str) -> None:
        if options.json and options.quiet:
            raise UsageError("--json and -q exclude each other", "give one of them")
        self.out = Output("json" if options.json else "quiet" if options.quiet else "human", verbose=options.verbose)
        self.command = command
        self.options = options

    @cached_property
    def effective(self) -> Effective:
        """The settings, and where each came from."""
        return load_settings(self.options.settings())

    @property
    def store_path(self) -> Path:
        """Where the store is, whether it can be opened or not."""
        return store_path(self.options.settings())

    @cached_property
    def store(self) -> "Store":
        """The store; `StoreNotFound` where there is none."""
        from memctl.store.store import Store

        return Store.open(self.store_path)

    @cached_property
    def backend(self) -> "Backend":
        """The engine with the store's base model."""
        from memctl.backends.factory import open_backend

        store = self.store  # a missing store is said before a model is loaded
        return open_backend(self.effective.settings, store, self.out.progress)


Command = Callable[..., int | None]


def add(group: typer.Typer, function: Command, panel: str = "", name: str = "", *, negative: bool = False) -> None:
    """Makes a command of a function of a `Run` and its own options, with the global options beside them.

    Args:
        negative: Whether an argument may be a number below 0, which is then not taken for an option.
    """
    context = {"ignore_unknown_options": True} if negative else None
    group.command(name or function.__name__, rich_help_panel=panel or None, context_settings=context)(_adapted(function))


def add_callback(group: typer.Typer, function: Command | None = None, **options: Any) -> None:
    """Lets a group take the global options before its command; the function runs where no command follows."""
    group.callback(invoke_without_command=function is not None, **options)(_adapted(function, group=True))


def _adapted(function: Command | None, *, group: bool = False) -> Callable[..., int]:
    def run(context: typer.Context, **given: Any) -> int:
        chosen = Globals(**{field.name: given.pop(field.name) for field in fields(Globals)}).under(context.obj)
        if group:
            context.obj = chosen
        if function is None or context.invoked_subcommand is not None:
            return 0
        return _guarded(function, Run(chosen, context.info_name or ""), given)

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:] if function else []
    shared = [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(Globals)
    ]
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=typer.Context)
    own = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own]
    signature = inspect.Signature([context, *own, *shared])
    run.__signature__ = signature  # type: ignore[attr-defined]  # what Typer reads the options from
    run.__annotations__ = {name: parameter.annotation for name, parameter in signature.parameters.items()}
    run.__doc__ = function.__doc__ if function else None
    return run


def _guarded(function: Command, run: Run, given: dict[str, Any]) -> int:
    try:
        return function(run, **given) or 0
    except MemctlError as error:
        return run.out.failure(error)
    except (KeyboardInterrupt, Stopped):
        run.out.summary({"result": "interrupted"})
        raise
    except BrokenPipeError as error:
        raise Stopped(SIGPIPE) from error
    finally:
        run.out.close()
