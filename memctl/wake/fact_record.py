"""A fact as the user writes it: one JSON object a line."""

from dataclasses import dataclass
from datetime import datetime

import msgspec

from memctl.errors import UsageError
from memctl.facts import Fact, Provenance, make_fact

EXAMPLE = '{"subject": "Priya Okonkwo", "relation": "lives in", "object": "Jakarta"}'


@dataclass(frozen=True)
class Told:
    """A fact as it was told, and where."""

    fact: Fact
    provenance: Provenance


class FactRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line of input.

    Attributes:
        prompt: Raw completion prompt that contains the subject and ends right before the object.
        questions: Chat questions used for training as they are.
        source: Where the fact came from; by default the name of the input.
        time: ISO 8601: when it was told.
    """

    subject: str
    relation: str
    object: str
    prompt: str = ""
    questions: tuple[str, ...] = ()
    source: str = ""
    time: str = ""


def read_fact(text: str, source: str, line: int) -> tuple[Fact, Provenance]:
    """The fact on a line of input, and where it came from.

    Raises:
        UsageError: The line is no JSON object, has an unknown field, lacks one, or its parts make no fact.
    """
    try:
        record = msgspec.json.decode(text, type=FactRecord)
    except msgspec.ValidationError as error:
        raise UsageError(f"{error}", f"a line reads {EXAMPLE}") from error
    except msgspec.DecodeError as error:
        raise UsageError(f"no JSON: {error}", f"a line reads {EXAMPLE}") from error
    if record.time:
        try:
            datetime.fromisoformat(record.time)
        except ValueError as error:
            raise UsageError(f"{record.time!r} is no time", "write 2025-01-31T12:00:00Z") from error
    fact = make_fact(record.subject, record.relation, record.object, prompt=record.prompt, questions=record.questions)
    return fact, Provenance(source=record.source or source, line=line, time=record.time)
