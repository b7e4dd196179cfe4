"""Facts that wait in the journal until a sleep writes them.

A record that waits is `{"type": "fact", "subject": …, "relation": …, "object": …}` with the other fields of an input fact and,
beside them, `session` and `line`. How many records are worked in is noted after the commit: a sleep that is killed before has
worked in none, and one killed in between finds its facts in the ledger.
"""

from typing import Any

from memctl.errors import UsageError
from memctl.facts import Provenance, make_fact
from memctl.store.store import Store
from memctl.wake.outcomes import Told


def waiting(store: Store) -> tuple[list[Told], int]:
    """The facts that wait, oldest first, and how many records the journal has."""
    records = store.journal.read()
    found = [_told(record) for record in records[store.workroom.worked_in() :] if record.get("type") == "fact"]
    return [told for told in found if told is not None], len(records)


def _told(record: dict[str, Any]) -> Told | None:
    """The fact of a record; None where its parts make none."""
    try:
        fact = make_fact(
            str(record["subject"]),
            str(record["relation"]),
            str(record["object"]),
            prompt=str(record.get("prompt", "")),
            questions=tuple(map(str, record.get("questions", ()))),
        )
    except (KeyError, UsageError):
        return None
    place = Provenance(
        source=str(record.get("source", "chat")),
        session=str(record.get("session", "")),
        line=int(record.get("line", 0)),
        time=str(record.get("time", "")),
    )
    return Told(fact, place)
