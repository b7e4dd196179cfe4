"""Facts that wait in the journal until a sleep writes them.

A record that waits is `{"type": "fact", "subject": …, "relation": …, "object": …}` with the other fields of an input fact and,
beside them, `session` and `line`. Every snapshot says how many records are worked in: a sleep that is killed has worked in
none, and behind a rollback what came after waits again.
"""

from typing import Any

import msgspec

from memctl.errors import UsageError
from memctl.store.records import Snapshot
from memctl.store.store import Store
from memctl.wake.fact_record import Told, read_fact


def waiting(store: Store, head: Snapshot) -> tuple[list[Told], int]:
    """The facts that wait beside a snapshot, oldest first, and how many records the journal has."""
    records = store.journal.read()
    found = [_told(record) for record in records[head.journal :] if record.get("type") == "fact"]
    return [told for told in found if told is not None], len(records)


def _told(record: dict[str, Any]) -> Told | None:
    """The fact of a record; None where its parts make none: one odd record must not end every sleep."""
    line, session = record.get("line", 0), record.get("session", "")
    parts = {name: part for name, part in record.items() if name not in ("type", "session", "line")}
    if not isinstance(line, int) or not isinstance(session, str):
        return None
    try:
        fact, place = read_fact(msgspec.json.encode(parts).decode(), "chat", line)
    except UsageError:
        return None
    return Told(fact, msgspec.structs.replace(place, session=session))
