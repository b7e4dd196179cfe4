"""Recall: does the model say the object when it is asked for the fact?

Greedy decoding, at most 16 tokens raw and 32 in chat, and more for a long object. The object's normalised form has to occur at
word boundaries, before any other object of the same relation; what is part of the subject's name is neither.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence

import msgspec
import numpy as np

from memctl.backends.protocol import Backend
from memctl.editing.cues import measuring_cues, relation_of
from memctl.facts import Cue, Fact, Mode
from memctl.first_person import mentions_of
from memctl.progress import Progress

MAX_TOKENS: dict[Mode, int] = {"raw": 16, "chat": 32}
AROUND: dict[Mode, int] = {"raw": 4, "chat": 16}
"""Tokens that an answer may have around its object: white space and quotes, or a sentence that repeats the question."""

PROMPTS_AT_ONCE = 64

_SYMBOLS = r"(?:[+#]|(?<=\w)[-−](?!\w))"
"""What tells C++ from C#, and the blood type O− from O+; a hyphen within a word does not."""

_ARTICLES = re.compile(rf"\b(?:a|an|the)\b(?!{_SYMBOLS})")
_PUNCTUATION = re.compile(rf"(?!{_SYMBOLS})[^\w\s]")


class FactRecall(msgspec.Struct, frozen=True):
    """Share of cues answered with the object, 0 to 1: as a user would ask, and in wordings not trained on."""

    raw: float
    chat: float
    raw_new: float
    chat_new: float


def normalised(text: str) -> str:
    """Case, articles, punctuation and double spaces taken out; symbols that tell names apart (C++, C#, O−) stay."""
    text = _PUNCTUATION.sub(" ", unicodedata.normalize("NFKC", text).casefold().replace("−", "-"))
    return " ".join(_ARTICLES.sub(" ", text).split())


def position(text: str, phrase: str, subject: str = "") -> int:
    """Where a phrase begins in a text at word boundaries, both normalised; −1 if it does not.

    Within a longer mention of the subject it does not count: "Violet Okonkwo" names no color.
    """
    wanted, said = normalised(phrase), normalised(text)
    if not wanted:  # an article, or punctuation and emoji alone: as it is written
        return next((start for start, _ in _found(text, unicodedata.normalize("NFKC", phrase))), -1)
    mentions = [normalised(mention) for mention in mentions_of(subject)] if subject else []
    within = [span for mention in mentions if len(mention) > len(wanted) for span in _found(said, mention)]
    for start, end in _found(said, wanted):
        if not any(first <= start and end <= last for first, last in within):
            return start
    return -1


def _found(text: str, phrase: str) -> Iterator[tuple[int, int]]:
    """Characters `[start, end)` of each occurrence at word boundaries; scripts without spaces have none."""
    bounded = rf"(?<!\w){re.escape(phrase)}(?![\w+#])" if phrase.isascii() else re.escape(phrase)
    return (match.span() for match in re.finditer(bounded, text))


def names(text: str, wanted: str, others: Iterable[str], subject: str = "") -> bool:
    """Whether a text names the wanted object, and none of the others before it; not as part of the subject's name."""
    at = position(text, wanted, subject)
    if at < 0:
        return False
    mine = normalised(wanted)
    rivals = (other for other in others if normalised(other) not in mine and mine not in normalised(other))
    return all(not 0 <= position(text, rival, subject) < at for rival in rivals)


def states(text: str, fact: Fact) -> bool:
    """Whether a text names the fact's object, and no other object of its relation before it."""
    return names(text, fact.object, relation_of(fact).objects, fact.subject)


def completions(
    backend: Backend, prompts: Sequence[tuple[Mode, str]], progress: Progress, what: str, objects: Sequence[str] = ()
) -> list[str]:
    """Greedy continuations of prompts, as text; with the `objects` that are asked for, each has room for its own."""
    texts = [""] * len(prompts)
    limits = [MAX_TOKENS[mode] for mode, _ in prompts]
    for k, object in enumerate(objects):
        mode = prompts[k][0]
        limits[k] = max(limits[k], len(backend.encode(f" {object}", "raw").tokens) + AROUND[mode])
    ordered = sorted(range(len(prompts)), key=lambda k: limits[k])
    for begin in range(0, len(ordered), PROMPTS_AT_ONCE):
        part = ordered[begin : begin + PROMPTS_AT_ONCE]
        tokens = [backend.encode(prompt, mode).tokens for mode, prompt in (prompts[k] for k in part)]
        replies = backend.generate(tokens, [limits[k] for k in part])
        for k, reply in zip(part, replies, strict=True):
            texts[k] = backend.decode(reply)
        progress(what, begin + len(part), len(prompts))
    return texts


def recall(backend: Backend, facts: Sequence[Fact], progress: Progress, what: str = "asking") -> list[FactRecall]:
    """Recall of facts under what is attached."""
    return judged(facts, completions(backend, recall_prompts(facts), progress, what, recall_objects(facts)))


def recall_prompts(facts: Sequence[Fact]) -> list[tuple[Mode, str]]:
    """What facts are asked for with, in the order in which `judged` takes the answers."""
    return [(cue.mode, cue.prompt) for _, _, cue in _asked(facts)]


def recall_objects(facts: Sequence[Fact]) -> list[str]:
    """The object that each of the `recall_prompts` asks for."""
    return [facts[k].object for k, _, _ in _asked(facts)]


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
