"""What a memory is before any model sees it: the fact, where it came from, and the ways to ask for it."""

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal

import msgspec

from memctl.errors import UsageError
from memctl.first_person import canonical_subject, mentions_of, said_by_user

MAX_SUBJECT = 200
"""Longest subject, in characters: a subject is a name, not a document."""

MAX_RELATION = 200
MAX_OBJECT = 400
MAX_PROMPT = 2000

ARTICLES = ("a", "an", "the")
"""They stand in every other sentence: the grade "A" is told from them by its case."""

RECALLS = 20
"""Measurements that are kept of a fact."""

Mode = Literal["raw", "chat"]
State = Literal["active", "superseded", "forgotten"]


_INVISIBLE = re.compile(r"[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff]")
"""Soft hyphens, spaces of no width and marks of direction; the joiners U+200C and U+200D stay, scripts and emoji need them."""


def canonical(text: str) -> str:
    """The form under which a text is compared and hashed: nothing invisible, Unicode NFC, single spaces, none at the ends."""
    return " ".join(unicodedata.normalize("NFC", _INVISIBLE.sub("", text)).split())


class Provenance(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a fact came from.

    Attributes:
        source: A file name, `cli`, `chat`, or what the input record said.
        session: The id of the chat session, if any.
        line: The line of the input or of the session's journal, counted from 1.
        time: ISO 8601, UTC: when the fact was told.
    """

    source: str = ""
    session: str = ""
    line: int = 0
    time: str = ""


class Fact(msgspec.Struct, frozen=True, omit_defaults=True):
    """Subject, relation, object, and the user's own wordings.

    Attributes:
        prompt: Raw completion prompt that contains the subject and ends right before the object.
        questions: Chat questions that are used for training as they are.
    """

    subject: str
    relation: str
    object: str
    prompt: str = ""
    questions: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Twelve hexadecimal digits of the SHA-256 of the canonical triple: the same everywhere."""
        text = "\x1f".join((self.subject, self.relation, self.object))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def completion_prompt(self) -> str:
        """The raw prompt, `"{subject} {relation}"` as the user says it, unless the user gave one."""
        return self.prompt or f"{said_by_user(self.subject, '{s} ').rstrip()} {self.relation}"

    def __str__(self) -> str:
        return f"{self.subject} · {self.relation} · {self.object}"


def make_fact(subject: str, relation: str, object: str, *, prompt: str = "", questions: tuple[str, ...] = ()) -> Fact:
    """Checks and canonicalises the parts of a fact; "my dog" is the user's.

    Raises:
        UsageError: A part is empty, too long or holds control characters, or a prompt or question lacks the subject or
            names the object.
    """
    fact = Fact(
        subject=canonical_subject(canonical(subject)),
        relation=canonical(relation),
        object=canonical(object),
        prompt=canonical(prompt),
        questions=tuple(canonical(question) for question in questions),
    )
    for name, text, limit in (
        ("subject", fact.subject, MAX_SUBJECT),
        ("relation", fact.relation, MAX_RELATION),
        ("object", fact.object, MAX_OBJECT),
        ("prompt", fact.prompt, MAX_PROMPT),
        *(("question", question, MAX_PROMPT) for question in fact.questions),
    ):
        if not text and name != "prompt":
            raise UsageError(f"the {name} is empty", f"give every fact a {name}")
        if len(text) > limit:
            raise UsageError(
                f"the {name} has {len(text):,} characters; {limit} is the most",
                "a fact is one short statement: split a long text into several facts",
            )
        if any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
            raise UsageError(f"the {name} holds a control character", "remove it and try again")
    if fact.prompt and not _mentions(fact.prompt, fact.subject):
        raise UsageError(
            f"the prompt {fact.prompt!r} does not contain the subject {fact.subject!r}",
            "the edit is written at the subject's last token, so the prompt must name it",
        )
    if gives_away(fact.prompt, fact.subject, fact.object):
        raise UsageError(f"the prompt {fact.prompt!r} gives the object away", "end it right before the object")
    for question in fact.questions:
        if not _mentions(question, fact.subject):
            raise UsageError(
                f"the question {question!r} does not contain the subject {fact.subject!r}",
                "the edit is written at the subject's last token, so every question must name it",
            )
        if gives_away(question, fact.subject, fact.object):
            raise UsageError(f"the question {question!r} gives the object away", "ask for the object, do not name it")
    return fact


def spans(text: str, subject: str) -> Iterator[tuple[int, int]]:
    """Characters `[start, end)` of each mention of a subject in a text, whole words only."""
    start = text.find(subject)
    while start >= 0:
        end = start + len(subject)
        before, after = text[start - 1 : start], text[end : end + 1]
        if not one_word(subject[0], before) and not one_word(subject[-1], after):
            yield start, end
        start = text.find(subject, start + 1)


def one_word(inner: str, outer: str) -> bool:
    """Whether a neighbour continues the word; scripts without case are written without spaces, or with prefixes or suffixes."""
    return inner.isalnum() and outer.isalnum() and (outer.isdigit() or outer.lower() != outer.upper())


def gives_away(text: str, subject: str, object: str) -> bool:
    """Whether a question or a prompt names the object, outside of the subject and in words of its own."""
    fold = str if object.casefold() in ARTICLES else str.casefold
    within = [
        (len(fold(text[:start])), len(fold(text[:end]))) for said in mentions_of(subject) for start, end in spans(text, said)
    ]
    found = spans(fold(text), fold(object))
    return any(not any(first <= start and end <= last for first, last in within) for start, end in found)


def _mentions(text: str, subject: str) -> bool:
    return any(next(spans(text, mention), None) for mention in mentions_of(subject))


class Recall(msgspec.Struct, frozen=True):
    """Share of cues (0 to 1) that were answered with the object, in each mode."""

    raw: float
    chat: float


class RecallRecord(msgspec.Struct, frozen=True):
    """One measurement of a fact, as kept in the ledger."""

    time: str
    recall: Recall


class LedgerEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A fact with its state.

    Attributes:
        stage: 0 (edit only) to 3 (carried by the adapter alone).
        scale: Factor on its edit at which the fact has been answered, 1.0 to 0.0.
        effort: How often its subject was searched anew because it was degraded, each time with twice the steps.
        tried: The last effort that did not help: its edit is still of `effort`, and the next attempt makes one more than this.
        waits: What the adapter under which it failed a gate was trained on: it is asked for again under another one only.
        stuck: What the adapter was trained on beside which the next stronger scale of its edit did not help.
        superseded_by: Id of the newer fact about the same subject and relation.
        recalls: The newest measurements, oldest first.
    """

    id: str
    fact: Fact
    provenance: Provenance = Provenance()
    state: State = "active"
    stage: int = 0
    scale: float = 1.0
    effort: int = 0
    tried: int = 0
    waits: str = ""
    stuck: str = ""
    superseded_by: str = ""
    recalls: tuple[RecallRecord, ...] = ()


def with_recall(entry: LedgerEntry, time: str, raw: float, chat: float) -> LedgerEntry:
    """The entry with one more measurement; of many, the newest are kept."""
    recalls = (*entry.recalls, RecallRecord(time, Recall(raw, chat)))[-RECALLS:]
    return msgspec.structs.replace(entry, recalls=recalls)


class Cue(msgspec.Struct, frozen=True):
    """One way to ask for a fact.

    Attributes:
        mode: `raw` continues the prompt; `chat` puts it as a user's turn through the model's template.
        prompt: The text; contains the subject.
        span: Characters `[start, end)` of the subject in the prompt. Keys are taken at its last token.
        target: What the model is to say next: ` Jakarta.` or `Priya Okonkwo lives in Jakarta.`
        purpose: Training and measuring never share a wording; the cue says which it is for.
    """

    mode: Mode
    prompt: str
    span: tuple[int, int]
    target: str
    purpose: Literal["train", "measure"]
