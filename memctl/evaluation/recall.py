"""Recall: does the model say the object when it is asked for the fact?

Greedy decoding, at most 16 tokens raw and 32 in chat. The object's normalised form has to occur at a word boundary, before
any other object of the same relation.
"""

import re
import unicodedata
from collections.abc import Iterable, Sequence

import msgspec
import numpy as np

from memctl.backends.protocol import Backend
from memctl.editing.cues import measuring_cues, relation_of
from memctl.facts import Cue, Fact, Mode
from memctl.progress import Progress

MAX_TOKENS: dict[Mode, int] = {"raw": 16, "chat": 32}
PROMPTS_AT_ONCE = 64

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = re.compile(r"[^\w\s]")


class FactRecall(msgspec.Struct, frozen=True):
    """Share of cues answered with the object, 0 to 1: as a user would ask, and in wordings not trained on."""

    raw: float
    chat: float
    raw_new: float
    chat_new: float


def normalised(text: str) -> str:
    """Case, articles, punctuation and double spaces taken out."""
    text = _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(_ARTICLES.sub(" ", text).split())


def position(text: str, phrase: str) -> int:
    """Where a phrase begins in a text at word boundaries, both normalised; −1 if it does not."""
    said, wanted = normalised(text), normalised(phrase)
    if not wanted:  # an object of punctuation or emoji alone
        return text.find(phrase)
    if not wanted.isascii():  # scripts without spaces have no word boundaries
        return said.find(wanted)
    found = re.search(rf"\b{re.escape(wanted)}\b", said)
    return found.start() if found else -1


def names(text: str, wanted: str, others: Iterable[str]) -> bool:
    """Whether a text names the wanted object, and none of the others before it."""
    at = position(text, wanted)
    if at < 0:
        return False
    mine = normalised(wanted)
    rivals = (other for other in others if normalised(other) not in mine and mine not in normalised(other))
    return all(not 0 <= position(text, rival) < at for rival in rivals)


def states(text: str, fact: Fact) -> bool:
    """Whether a text names the fact's object, and no other object of its relation before it."""
    return names(text, fact.object, relation_of(fact).objects)


def completions(backend: Backend, prompts: Sequence[tuple[Mode, str]], progress: Progress, what: str) -> list[str]:
    """Greedy continuations of prompts, as text."""
    texts = [""] * len(prompts)
    ordered = sorted(range(len(prompts)), key=lambda k: MAX_TOKENS[prompts[k][0]])
    for begin in range(0, len(ordered), PROMPTS_AT_ONCE):
        part = ordered[begin : begin + PROMPTS_AT_ONCE]
        tokens = [backend.encode(prompt, mode).tokens for mode, prompt in (prompts[k] for k in part)]
        replies = backend.generate(tokens, [MAX_TOKENS[prompts[k][0]] for k in part])
        for k, reply in zip(part, replies, strict=True):
            texts[k] = backend.decode(reply)
        progress(what, begin + len(part), len(prompts))
    return texts


def recall(backend: Backend, facts: Sequence[Fact], progress: Progress, what: str = "asking") -> list[FactRecall]:
    """Recall of facts under what is attached."""
    return judged(facts, completions(backend, recall_prompts(facts), progress, what))


def recall_prompts(facts: Sequence[Fact]) -> list[tuple[Mode, str]]:
    """What facts are asked for with, in the order in which `judged` takes the answers."""
    return [(cue.mode, cue.prompt) for _, _, cue in _asked(facts)]


def judged(facts: Sequence[Fact], texts: Sequence[str]) -> list[FactRecall]:
    """Recall of facts from the answers to `recall_prompts`."""
    hits: dict[tuple[int, Mode, bool], list[bool]] = {}
    for (k, unseen, cue), text in zip(_asked(facts), texts, strict=True):
        hits.setdefault((k, cue.mode, unseen), []).append(states(text, facts[k]))
    return [
        FactRecall(
            raw=_mean(hits, k, "raw", False),
            chat=_mean(hits, k, "chat", False),
            raw_new=_mean(hits, k, "raw", True),
            chat_new=_mean(hits, k, "chat", True),
        )
        for k in range(len(facts))
    ]


def stated_facts(facts: Sequence[Fact], texts: Sequence[str]) -> list[Fact | None]:
    """For each answer to `recall_prompts` the fact that it was asked for and states; None where it does not state it."""
    return [facts[k] if states(text, facts[k]) else None for (k, _, _), text in zip(_asked(facts), texts, strict=True)]


def _asked(facts: Sequence[Fact]) -> list[tuple[int, bool, Cue]]:
    """Number of the fact, whether the wording was never trained on, and the cue."""
    asked: list[tuple[int, bool, Cue]] = []
    for k, found in enumerate(map(measuring_cues, facts)):
        asked += [(k, False, cue) for cue in found.plain]
        asked += [(k, True, cue) for cue in found.unseen]
    return asked


def _mean(hits: dict[tuple[int, Mode, bool], list[bool]], k: int, mode: Mode, unseen: bool) -> float:
    return float(np.mean(hits.get((k, mode, unseen), [False])))
