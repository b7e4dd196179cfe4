"""General questions, and questions about the model itself: what a change is to leave alone.

Both are asked of the base as well, and only what it answers counts, so that one set serves every model.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import msgspec

from memctl.backends.protocol import PRISTINE, Backend
from memctl.deltas import Composition
from memctl.evaluation.recall import completions, normalised, position
from memctl.facts import Mode
from memctl.models.cache import cache_dir, replacing
from memctl.progress import Progress

ALIKE = 0.6
"""Share of the words of the base's answer about itself that have to be in the new one."""


class Questions(msgspec.Struct, frozen=True):
    """General questions with what counts in their answers, and questions about the model itself."""

    general: tuple[tuple[str, str], ...]
    identity: tuple[str, ...]


class Kept(msgspec.Struct, frozen=True):
    """Shares, 0 to 1.

    Attributes:
        general: Of the general questions that the base answers, those that are still answered.
        identity: Of the questions about the model itself, those whose answer is in most of its words the base's.
    """

    general: float
    identity: float


@cache
def questions() -> Questions:
    """The questions that ship with the package."""
    return msgspec.json.decode((files("memctl.data") / "sleep_questions.json").read_bytes(), type=Questions)


def questions_kept(backend: Backend, composition: Composition, progress: Progress) -> Kept:
    """Asks all questions with the composition attached; the base's answers are kept under its fingerprint."""
    asked = questions()
    prompts: list[tuple[Mode, str]] = [("chat", question) for question, _ in asked.general]
    prompts += [("chat", question) for question in asked.identity]
    before = _of_base(backend, prompts, progress)
    if not composition:
        return Kept(1.0, 1.0)
    with backend.attached(composition):
        after = completions(backend, prompts, progress, "asking general questions")
    split = len(asked.general)
    known = [k for k, (_, wanted) in enumerate(asked.general) if position(before[k], wanted) >= 0]
    general = [position(after[k], asked.general[k][1]) >= 0 for k in known]
    return Kept(_share(general), _share([_alike(a, b) for a, b in zip(before[split:], after[split:], strict=True)]))


def _of_base(backend: Backend, prompts: Sequence[tuple[Mode, str]], progress: Progress) -> list[str]:
    """The base's answers, cached under its fingerprint and the questions."""
    mark = hashlib.sha256(msgspec.json.encode((backend.hardware, prompts))).hexdigest()[:16]
    path = cache_dir() / "questions" / f"{backend.fingerprint[:16]}-{mark}.json"
    try:
        found = msgspec.json.decode(path.read_bytes(), type=list[str])
        if len(found) == len(prompts):
            return found
    except (FileNotFoundError, msgspec.MsgspecError):
        pass
    with backend.attached(PRISTINE):
        found = completions(backend, prompts, progress, "asking the base general questions")
    with replacing(path) as partial:
        partial.write_bytes(msgspec.json.encode(found))
    return found


def _alike(before: str, after: str) -> bool:
    words = set(normalised(before).split())
    return len(words & set(normalised(after).split())) >= ALIKE * len(words)


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else 1.0
