"""Whether `ask --why` names the memory that an answer came from, and none where no memory is needed."""

from collections.abc import Sequence

from memctl.backends.protocol import Backend
from memctl.deltas import Delta
from memctl.editing.attribution import attribute
from memctl.facts import Mode

AT_ONCE = 256
"""Answers that are looked at together; bounds the memory of what the layer sees at their tokens."""


def first_named(
    backend: Backend, memories: Sequence[tuple[str, Delta]], prompts: Sequence[tuple[Mode, str]], said: Sequence[str]
) -> list[str | None]:
    """The subject whose memory acted most on each prompt and its answer; None where none acted."""
    whole = [backend.encode(prompt, mode, text or None).tokens for (mode, prompt), text in zip(prompts, said, strict=True)]
    found: list[str | None] = []
    for begin in range(0, len(whole), AT_ONCE):
        firings = attribute(backend, memories, whole[begin : begin + AT_ONCE])
        found += [fired[0].subject if fired else None for fired in firings]
    return found


def rightly_named(named: Sequence[str | None], wanted: Sequence[str | None]) -> float:
    """Share of answers for which the named subject is the wanted one, or none where None is wanted; 1 of no answers."""
    return sum(a == b for a, b in zip(named, wanted, strict=True)) / len(wanted) if wanted else 1.0
