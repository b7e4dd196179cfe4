"""Settings files: read whole, changed one line at a time, so that what a user wrote around it stays."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from memctl.errors import UsageError


def read(path: Path) -> dict[str, Any]:
    """The parsed file; empty where there is none.

    Raises:
        UsageError: It is no TOML, or cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is no TOML: {error}", "correct the line, or move the file away") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested tables as dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def with_value(text: str, key: str, value: Any) -> str:
    """The text of a TOML file in which the dotted key has this value; all other lines stay as they are.

    Raises:
        UsageError: The file is laid out in a way that this function does not change.
    """
    table, _, name = key.rpartition(".")
    literal = msgspec.json.encode(value)  # JSON's texts, numbers and lists are TOML as well
    line = f"{name} = {literal.decode()}"
    lines = text.removesuffix("\n").split("\n") if text else []  # str.splitlines would split within a value too
    begin, end = _section(lines, table)
    if begin is None:
        lines += [f"[{table}]"]
        begin = end = len(lines)
    there = [index for index in range(begin, end) if lines[index].partition("=")[0].strip() == name]
    at, until = (there[0], there[0] + 1) if there else (begin, begin)
    lines[at:until] = [line]
    changed = "\n".join(lines) + "\n"
    try:
        wanted = flatten(tomllib.loads(text)) | {key: msgspec.json.decode(literal)}
        done = flatten(tomllib.loads(changed)) == wanted
    except tomllib.TOMLDecodeError:
        done = False
    if not done:
        raise UsageError(f"{key} cannot be changed in place", f"edit the file by hand: {line}")
    return changed


def _section(lines: list[str], table: str) -> tuple[int | None, int]:
    """First line of a table's body (None where it is missing), and the line after its last."""
    headers = [index for index, line in enumerate(lines) if line.lstrip().startswith("[")]
    begin = next((index + 1 for index in headers if lines[index].strip() == f"[{table}]"), None) if table else 0
    return begin, next((index for index in headers if begin is not None and index >= begin), len(lines))
