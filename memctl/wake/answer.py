"""Answers to prompts, in batches, with the memory attached or without."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from memctl.backends.protocol import Backend, Tokens
from memctl.deltas import Composition
from memctl.errors import UsageError
from memctl.facts import Mode

EXAMPLE = 'a line reads {"prompt": "Where does Priya Okonkwo live?"}'

DEEPEST = 100
"""Levels of a record: what is read has to be written again, and writers of JSON recurse."""

BATCH = 16
"""Prompts that are answered together at most."""


class Prompt(msgspec.Struct, frozen=True):
    """One prompt, how it is put to the model, and what else its record said."""

    text: str
    mode: Mode
    fields: dict[str, Any] = {}  # msgspec copies an empty default for each instance


def read_prompt(text: str, mode: Mode) -> Prompt:
    """The prompt on a line of NDJSON; `mode` is for those that name none.

    Raises:
        UsageError: The line is no JSON object with a text `prompt`, or its mode is neither `raw` nor `chat`.
    """
    try:
        record = msgspec.json.decode(text, type=dict[str, Any])
    except (msgspec.MsgspecError, RecursionError) as error:
        raise UsageError(f"no JSON object: {error}", EXAMPLE) from error
    if _depth(record) > DEEPEST:
        raise UsageError(f"its fields are nested deeper than {DEEPEST} levels", EXAMPLE)
    fields = {name: value for name, value in record.items() if name not in ("prompt", "mode")}
    return make_prompt(record.get("prompt"), record.get("mode", mode), fields)


def _depth(record: object) -> int:
    """How many levels of objects and lists a JSON value has."""
    depth, level = 0, [record]
    while level := [value for value in level if isinstance(value, dict | list)]:
        depth += 1
        level = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]
    return depth


def make_prompt(text: object, mode: object, fields: dict[str, Any]) -> Prompt:
    """A prompt of checked parts.

    Raises:
        UsageError: The text is empty or no text, or the mode is neither `raw` nor `chat`.
    """
    if not isinstance(text, str) or not text.strip():
        raise UsageError("`prompt` is missing, empty, or no text", EXAMPLE)
    if mode != "raw" and mode != "chat":
        raise UsageError(f"there is no mode {mode!r}", "raw or chat")
    return Prompt(text, mode, fields)


@dataclass(frozen=True)
class Answer:
    """What the model said, and the tokens of the prompt and of the answer together."""

    text: str
    tokens: Tokens


def answer(backend: Backend, composition: Composition, prompts: Sequence[Prompt], max_tokens: int) -> list[Answer]:
    """Greedy completions of the prompts, in order, without what ends a turn."""
    asked = [backend.encode(prompt.text, prompt.mode).tokens for prompt in prompts]
    with backend.attached(composition):
        said = backend.generate(asked, max_tokens)
    return [Answer(backend.decode(reply), prompt + reply) for prompt, reply in zip(asked, said, strict=True)]
