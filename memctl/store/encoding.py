"""Hashes and JSON: the one encoding that records have, and the checks on the way in and out.

What is decoded is encoded again and must give the same bytes, so that a flipped bit is found even where it
would change no value.
"""

import hashlib
import math
from typing import Any, TypeVar

import msgspec
import orjson

from memctl.errors import DamagedStore, NonFinite, UnknownFormat, UsageError

FORMAT = 1
"""Version of the directory and of every manifest in it."""

RecordT = TypeVar("RecordT", bound=msgspec.Struct)


def sha256(data: bytes) -> str:
    """SHA-256 as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def encode(record: msgspec.Struct) -> bytes:
    """The record as JSON for people: indented, keys sorted, a newline at the end.

    Raises:
        NonFinite: A number is NaN or infinite; JSON has neither, and `null` would be a lie.
        UsageError: A text is not valid Unicode.
    """
    fields = msgspec.to_builtins(record)
    require_finite(fields, type(record).__name__.lower())
    return _json(fields, orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def compact(fields: dict[str, Any]) -> bytes:
    """The canonical JSON that ids are hashes of: keys sorted, no spaces; raises what `encode` does."""
    require_finite(fields, "record")
    return _json(fields, 0)


def decode(data: bytes, kind: type[RecordT], where: str) -> RecordT:
    """The record in `data`, which must be as `encode` writes it.

    Raises:
        UnknownFormat: A newer memctl wrote it.
        DamagedStore: It is not, naming `where` and the field.
    """
    try:
        fields = orjson.loads(data)
        if isinstance(fields, dict) and isinstance(version := fields.get("format", FORMAT), int):
            require_format(version, where)
        require_finite(fields, where)
        record = msgspec.convert(fields, kind)
    except (orjson.JSONDecodeError, msgspec.ValidationError, NonFinite) as error:
        raise damaged(where, str(error)) from error
    if encode(record) != data:
        raise damaged(where, "its bytes are not the ones memctl wrote")
    return record


def require_format(version: int, where: str) -> None:
    """Refuses any format version but this one's.

    Raises:
        UnknownFormat: Always, for any other version.
    """
    if version != FORMAT:
        raise UnknownFormat(f"{where} has format {version}; this memctl reads format {FORMAT}", "install a newer memctl")


def damaged(where: str, what: str) -> DamagedStore:
    """The error for a damaged file of a store, with the command that shows the whole extent."""
    return DamagedStore(f"{where} is damaged: {what}", "`memctl verify` lists all damage and the last good snapshot")


def _json(fields: Any, options: int) -> bytes:
    try:
        return orjson.dumps(fields, option=options | orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError as error:
        raise UsageError(f"a text or number cannot be stored: {error}", "texts must be valid Unicode") from error


def require_finite(value: Any, where: str) -> None:
    """Raises `NonFinite`, naming the place, where a number in the nested value is NaN or infinite."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NonFinite(f"{where} is {value}", "nothing was changed")
    elif isinstance(value, dict):
        for key, item in value.items():
            require_finite(item, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            require_finite(item, f"{where}[{index}]")
