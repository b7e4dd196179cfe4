"""`memctl config`: the settings in force, and where each came from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from typer import Argument, Option

from memctl.cli.app import Run, add, add_callback
from memctl.cli.options import LockWait
from memctl.errors import UsageError
from memctl.settings import ENGINES, Effective, checked, fitting, keys, store_path, user_config
from memctl.store import atomic
from memctl.toml_files import flatten, read, with_value

group = typer.Typer(name="config", help="Shows the settings in force, and where each came from.")

Key = Annotated[str, Argument(metavar="KEY", help="Such as model or edit.layer.")]


def show_all(run: Run) -> None:
    """Shows the settings in force, and where each came from."""
    rows = list(_rows(run.effective))
    run.out.table(
        "setting",
        ("key", "value", "from"),
        ((row, (row["id"], _text(row["value"]), row["source"])) for row in rows),
    )
    run.out.summary({"settings": len(rows), "user_file": str(user_config())})


def get(run: Run, key: Key) -> None:
    """Shows one setting."""
    row = next((row for row in _rows(run.effective) if row["id"] == key), None)
    if row is None:
        raise UsageError(f"there is no setting {key!r}", f"one of {', '.join(keys())}")
    run.out.record("setting", row, _text(row["value"]))
    run.out.summary({"settings": 1})


def change(
    run: Run,
    key: Key,
    value: Annotated[str, Argument(metavar="VALUE")],
    in_store: Annotated[bool, Option("--in-store", help="Into the store's memctl.toml, for this memory alone.")] = False,
    lock_wait: LockWait = 0.0,
) -> None:
    """Puts a value into your own settings file, or into that of the store."""
    if value.startswith("--"):
        raise UsageError(f"{value!r} is no option of this command, and no value", "memctl config set --help")
    if key in ("store", "model") and not value:
        raise UsageError(f"{key} cannot be empty", f"memctl config set {key} VALUE")
    typed = checked(key, str(store_path({"store": value})) if key == "store" else value, "the command line")
    if key == "backend" and typed not in ENGINES:
        raise UsageError(f"there is no backend {typed!r}", f"choose one of {', '.join(ENGINES)}")
    fitting(run.effective, key, typed)
    path = _into_store(run, key, typed, lock_wait) if in_store else _into_user_file(key, typed)
    record = {"id": key, "value": typed, "source": str(path)}
    run.out.record("setting", record, f"{key} = {_text(typed)}  ({path})")
    run.out.summary({"result": "done"})


def _into_store(run: Run, key: str, value: Any, lock_wait: float) -> Path:
    if key in ("store", "model"):
        raise UsageError(f"{key} is no setting of one memory: it was made in its place, for its model", "leave --in-store out")
    with run.store.writer(wait=lock_wait, command="config set") as writer:
        writer.configure(key, value)
    return run.store.layout.config


def _into_user_file(key: str, value: Any) -> Path:
    path = user_config().resolve()  # the file itself, where a folder of dotfiles is linked to
    read(path)  # refuses a file that is no TOML before anything is changed
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    atomic.make_directory(path.parent)
    atomic.replace(path, with_value(before, key, value).encode())
    return path


def _rows(effective: Effective) -> Iterator[dict[str, Any]]:
    values = flatten(msgspec.to_builtins(effective.settings))
    for key, source in effective.sources.items():
        yield {"id": key, "value": values[key], "source": source}


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


add_callback(group, show_all)
add(group, get)
add(group, change, name="set", negative=True)
