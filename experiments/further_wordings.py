"""Wordings of relations beyond the bank's, which experiments train on: `wordings.json`, and `more_wordings.json` on request."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

ALIKE = 0.7
"""Share of words in common from which a further wording is too near a held-out one to be trained on."""

COMMON = {"a", "the", "of", "is", "in", "to", "s", "what", "which", "does", "do", "it", "and", "would", "i", "for", "on", "at"}


def further_wordings(*, more: bool = False) -> dict[str, dict[str, Any]]:
    """By the relation's id: what it is about, its `raw` prompts and its `questions`."""
    found = {one["id"]: one for one in json.loads((HERE / "wordings.json").read_text(encoding="utf-8"))}
    if more:
        for one in json.loads((HERE / "more_wordings.json").read_text(encoding="utf-8")):
            known = found.get(one["id"], {"about": ["person"], "raw": [], "questions": []})
            found[one["id"]] = known | {key: [*known[key], *one[key]] for key in ("raw", "questions")}
    return found


def too_near(text: str, held_out: Iterable[str]) -> bool:
    """Whether a wording is nearly one of those that are measured with."""
    return any(len(_words(text) & _words(one)) >= ALIKE * len(_words(text) | _words(one)) for one in held_out)


def _words(text: str) -> set[str]:
    """A wording's words of content."""
    plain = "".join(letter if letter.isalpha() else " " for letter in text.replace("{s}", "").casefold())
    return set(plain.split()) - COMMON
