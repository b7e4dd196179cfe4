"""The journal: append-only NDJSON of conversation turns and facts that wait to be written.

Every line carries the hash of its record chained to the line before, and `journal/position` says how many bytes
have been acknowledged and what chain they end in. So a line that was cut or lost later is damage, while bytes
beyond the position are an append that a crash interrupted: a whole line counts, a torn one never happened.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import orjson

from memctl.errors import UsageError
from memctl.store import atomic
from memctl.store.encoding import damaged, require_finite, sha256
from memctl.store.layout import Layout, sealed
from memctl.store.lock import hold

LOCK_WAIT = 10.0
"""Seconds to wait for the journal's own lock; an append holds it for milliseconds."""


class Position(NamedTuple):
    """How many bytes of the journal are acknowledged, and the chain hash of the last line in them."""

    size: int
    chain: str


class Scan(NamedTuple):
    """What a journal holds: its records, where they end, and how many bytes of a torn append follow."""

    records: list[dict[str, Any]]
    end: Position
    torn: int


EMPTY = Position(0, "0" * 64)


class _Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    chain: str
    record: dict[str, Any]


class Journal:
    """The journal of one store. Reads take no lock; appends take one of their own, not the store's."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self.path = layout.journal / "journal.ndjson"
        self.position_path = layout.journal / "position"

    def create(self) -> None:
        """Makes an empty journal."""
        atomic.make_directory(self._layout.journal)
        atomic.replace(self.path, b"")
        atomic.replace(self.position_path, _encode_position(EMPTY))

    def append(self, record: Mapping[str, Any]) -> None:
        """Adds one JSON object; it is on the disk when this returns.

        Raises:
            NonFinite: A number in it is NaN or infinite.
            UsageError: Something in it is no JSON.
            DamagedStore: The journal before it is not what was acknowledged.
        """
        fields = dict(record)
        require_finite(fields, "journal record")
        try:
            body = orjson.dumps(fields)
        except orjson.JSONEncodeError as error:
            raise UsageError(f"this cannot be journalled: {error}", "texts must be valid Unicode") from error
        with self.locked():
            atomic.remove(self.temporaries())
            end = self.scan().end
            chain = _next_chain(end.chain, body)
            line = b'{"chain":"%b","record":%b}\n' % (chain.encode(), body)
            atomic.append(self.path, end.size, line)
            atomic.replace(self.position_path, _encode_position(Position(end.size + len(line), chain)))

    def read(self) -> list[dict[str, Any]]:
        """All records, oldest first.

        Raises:
            DamagedStore: A record that was acknowledged is not there as it was, naming its line.
        """
        return self.scan().records

    def scan(self) -> Scan:
        """Reads and checks the whole journal; raises what `read` does."""
        position = self.read_position()  # before the lines: they only grow, so they hold at least what it says
        data = self._layout.read(self.path)
        if len(data) < position.size:
            raise damaged(self._name(), f"{position.size - len(data)} bytes are missing at its end")
        records, chain = [], EMPTY.chain
        for number, line in enumerate(data[: position.size].splitlines(keepends=True), start=1):
            found = _parse(line, chain)
            if found is None:
                raise damaged(self._name(), f"line {number} is not the one that was written")
            chain = found.chain
            records.append(found.record)
        if chain != position.chain:
            raise damaged(self._name(), "its lines do not end where its position says")
        tail = data[position.size :]
        if (found := _parse(tail, chain)) is None:
            return Scan(records, position, len(tail))
        return Scan([*records, found.record], Position(len(data), found.chain), 0)

    def locked(self) -> AbstractContextManager[None]:
        """Holds the journal's lock."""
        return hold(self._layout.journal / "lock", LOCK_WAIT, "journal")

    def temporaries(self) -> list[Path]:
        """What cut-short writes have left in the journal's folder. Removing them needs the journal's lock."""
        return sorted(self._layout.journal.glob(f".*{atomic.TEMPORARY}"))

    def read_position(self) -> Position:
        """What has been acknowledged; raises `DamagedStore` where it cannot be read."""
        lines = self._layout.read_sealed(self.position_path)
        try:
            size, chain = lines[0].split(" ")
            return Position(int(size), chain)
        except (IndexError, ValueError) as error:
            raise damaged(self._layout.name(self.position_path), "it holds no position") from error

    def proven(self) -> Position | None:
        """The position that the lines prove by themselves; None where one of them is not whole: what was acknowledged of it,
        the position alone had known."""
        data, size, chain = self._layout.read(self.path), 0, EMPTY.chain
        for line in data.splitlines(keepends=True):
            if (found := _parse(line, chain)) is None:
                return None
            size, chain = size + len(line), found.chain
        return Position(size, chain)

    def recount(self) -> bool:
        """Rebuilds the position from the lines, if they prove one. Needs the journal's lock."""
        if (position := self.proven()) is None:
            return False
        atomic.replace(self.position_path, _encode_position(position))
        return True

    def _name(self) -> str:
        return self._layout.name(self.path)


def _encode_position(position: Position) -> bytes:
    return sealed([f"{position.size} {position.chain}"])


def _next_chain(chain: str, body: bytes) -> str:
    return sha256(chain.encode() + body)


def _parse(line: bytes, chain: str) -> _Line | None:
    """The line, if it is whole and continues `chain`."""
    body = line[len(b'{"chain":"","record":') + 64 : -2]
    expected = _next_chain(chain, body)
    if line != b'{"chain":"%b","record":%b}\n' % (expected.encode(), body):
        return None
    try:
        return msgspec.convert(orjson.loads(line), _Line)
    except (orjson.JSONDecodeError, msgspec.ValidationError):
        return None
