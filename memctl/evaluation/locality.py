"""Locality: what an edit was not meant to touch, and whether it did."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from memctl.backends.protocol import Backend
from memctl.deltas import Composition
from memctl.editing.cues import probes, relation_of
from memctl.editing.relations import in_turn
from memctl.evaluation.recall import completions, position
from memctl.facts import Fact, Mode
from memctl.progress import Progress


class Locality(msgspec.Struct, frozen=True):
    """Shares, 0 to 1, raw and chat.

    Attributes:
        same: Unseen subjects whose answer is the base's to the token.
        bleed: Unseen subjects whose answer names a stored object that the base's does not name.
    """

    same_raw: float
    same_chat: float
    bleed_raw: float
    bleed_chat: float


class RelationBleed(msgspec.Struct, frozen=True):
    """Share of questions about another relation of a stored subject whose answer names the stored object, and whose answer
    without the memory does not."""

    raw: float
    chat: float


def locality(
    backend: Backend,
    composition: Composition,
    facts: Sequence[Fact],
    strangers: Sequence[str],
    progress: Progress,
) -> Locality:
    """Asks the facts' questions about people nobody told of, with and without the memory."""
    prompts = stranger_prompts(facts, strangers)
    return locality_of(facts, *_before_and_after(backend, composition, prompts, progress, "asking about strangers"))


def stranger_prompts(facts: Sequence[Fact], strangers: Sequence[str]) -> list[tuple[Mode, str]]:
    """A raw prompt and a question about each stranger, over the facts' relations in turn."""
    return [prompt for k, name in enumerate(strangers) for prompt in asked_about(name, facts[k % len(facts)], k)]


def asked_about(name: str, fact: Fact, k: int) -> list[tuple[Mode, str]]:
    """A raw prompt and a question with somebody in a fact's place: the k-th of the wordings that no unit was fitted with."""
    return [(mode, wording.replace("{s}", name)) for mode, wording in in_turn(relation_of(fact).held_out, k)]


def locality_of(facts: Sequence[Fact], before: Sequence[str], after: Sequence[str]) -> Locality:
    """Locality from the answers to `stranger_prompts` without and with the memory."""
    objects = {fact.object for fact in facts}
    same = [a == b for a, b in zip(before, after, strict=True)]
    bled = [any(position(new, o) >= 0 > position(old, o) for o in objects) for old, new in zip(before, after, strict=True)]
    return Locality(_share(same[::2]), _share(same[1::2]), _share(bled[::2]), _share(bled[1::2]))


@dataclass(frozen=True)
class OtherRelation:
    """A question about another relation of a subject, and the subject's facts."""

    mode: Mode
    prompt: str
    facts: tuple[Fact, ...]


def relation_bleed(
    backend: Backend, composition: Composition, facts: Sequence[Fact], progress: Progress, per_subject: int = 6
) -> RelationBleed:
    """Asks about other relations of the stored subjects, in wordings that training never uses."""
    asked = other_relations(facts, per_subject)
    prompts = [(one.mode, one.prompt) for one in asked]
    return bleed_of(asked, *_before_and_after(backend, composition, prompts, progress, "asking about other relations"))


def other_relations(facts: Sequence[Fact], per_subject: int = 6) -> list[OtherRelation]:
    """Raw prompts and questions about so many other relations of each subject of the facts."""
    by_subject: dict[str, list[Fact]] = {}
    for fact in facts:
        by_subject.setdefault(fact.subject, []).append(fact)
    return [
        OtherRelation(probe.mode, probe.prompt, tuple(own))
        for subject, own in by_subject.items()
        for probe in probes(subject, own, per_subject, held_out=True)
    ]


def bleed_of(asked: Sequence[OtherRelation], before: Sequence[str], after: Sequence[str]) -> RelationBleed:
    """Relation bleed from the answers to `other_relations` without and with the memory."""
    bled: dict[Mode, list[bool]] = {"raw": [], "chat": []}
    for one, old, new in zip(asked, before, after, strict=True):
        bled[one.mode].append(any(position(new, fact.object) >= 0 > position(old, fact.object) for fact in one.facts))
    return RelationBleed(_share(bled["raw"]), _share(bled["chat"]))


def _before_and_after(
    backend: Backend,
    composition: Composition,
    prompts: Sequence[tuple[Mode, str]],
    progress: Progress,
    what: str,
) -> tuple[list[str], list[str]]:
    with backend.attached(Composition()):
        before = completions(backend, prompts, progress, f"{what}, without memory")
    with backend.attached(composition):
        after = completions(backend, prompts, progress, f"{what}, with memory")
    return before, after


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits) if hits else 0.0
