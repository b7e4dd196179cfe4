"""General questions, and questions about the model itself: what a change is to leave alone.

Both are asked of the base as well, and only what it answers counts, so that one set serves every model. A small model answers
some questions in one wording and not in the next, and then any change to the last bits turns the answer. So a general
question counts if the base answers it in both of its wordings, and it is kept while one of them is answered. What it says of
itself is long and free: there the base's answer is kept while it is as likely as it was.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

import msgspec

from memctl.backends.protocol import PRISTINE, Backend
from memctl.deltas import Composition
from memctl.evaluation.recall import completions, position
from memctl.facts import Mode
from memctl.models.cache import cache_dir, replacing
from memctl.progress import Progress

WORDINGS = ("{q}", "Please answer in one sentence: {q}")

AS_LIKELY = 0.1
"""Nats a token by which the base's answer about itself may become less likely."""


class Questions(msgspec.Struct, frozen=True):
    """General questions with what counts in their answers, and questions about the model itself."""

    general: tuple[tuple[str, str], ...]
    identity: tuple[str, ...]


class Kept(msgspec.Struct, frozen=True):
    """Shares, 0 to 1.

    Attributes:
        general: Of the general questions that the base answers in both wordings, those still answered in one of them.
        identity: Of the questions about the model itself, those to which the base's answer is as likely as it was.
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
    prompts: list[tuple[Mode, str]] = [("chat", form.replace("{q}", q)) for form in WORDINGS for q, _ in asked.general]
    prompts += [("chat", question) for question in asked.identity]
    before = _of_base(backend, prompts, progress)
    if not composition:
        return Kept(1.0, 1.0)
    split = len(asked.general) * len(WORDINGS)
    with backend.attached(composition):
        after = completions(backend, prompts[:split], progress, "asking general questions")
        identity = [
            _as_likely(backend, prompt, said) for (_, prompt), said in zip(prompts[split:], before[split:], strict=True)
        ]
    known = [all(hits) for hits in _answered(asked.general, before)]
    general = [any(hits) for hits, counts in zip(_answered(asked.general, after), known, strict=True) if counts]
    return Kept(_share(general), _share(identity))


def _answered(general: Sequence[tuple[str, str]], said: Sequence[str]) -> list[list[bool]]:
    """For each general question whether each of its wordings is answered."""
    count = len(general)
    return [[position(said[k + n * count], wanted) >= 0 for n in range(len(WORDINGS))] for k, (_, wanted) in enumerate(general)]


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


def _as_likely(backend: Backend, question: str, answer: str) -> bool:
    asked, whole = backend.encode(question, "chat").tokens, backend.encode(question, "chat", answer).tokens
    scores = backend.score([whole])
    own = slice(len(asked) - 1, None)
    return float((scores.nll[own] - scores.base[own]).mean()) <= AS_LIKELY


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else 1.0
