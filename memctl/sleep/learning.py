"""The adapter of a sleep: a function of the base, its facts, the settings, and how often it was tried again.

Neurons that give way to units leave a trace in the last bits of everything, and in bfloat16 that turns an answer here and
there which hung on them. So where an adapter does not hold, the next least used neurons are tried, which costs no more than
asking. One that is trained is trained twice as long each time.
"""

from collections.abc import Sequence

import msgspec

from memctl.adapters import Adapter
from memctl.backends.protocol import Backend
from memctl.consolidation.train import consolidate
from memctl.deltas import Composition
from memctl.editing.edit import edited_layer
from memctl.facts import Fact
from memctl.progress import Progress
from memctl.settings import LoraSettings, Settings, settings_hash

PASSES = 40
"""Lessons of each fact, at least, where there are no units to take over."""

OTHER_NEURONS = 8
"""Efforts at most where nothing is trained."""


def learn(
    backend: Backend, facts: Sequence[Fact], edits: Composition, effort: int, settings: Settings, progress: Progress
) -> Adapter:
    """An adapter that carries these facts alone.

    Args:
        edits: Those of the facts, at full scale.
        effort: How often other adapters of these facts did not hold.
    """
    layer = edited_layer(backend, settings.edit)
    units = edits.columns(layer)
    lora = _lora(settings, trained=units is None, effort=effort)
    return consolidate(backend, facts, layer, units, lora, progress, skipped=effort).adapter


def trains(settings: Settings) -> bool:
    """Whether an adapter is trained, which takes minutes, or only takes units over, which takes seconds."""
    return bool(settings.lora.passes) or not settings.edit.units


def most_efforts(settings: Settings) -> int:
    """How often other adapters of the same facts are tried."""
    return settings.sleep.efforts if trains(settings) else OTHER_NEURONS


def efforts_after(last: int | None, settings: Settings) -> tuple[int, ...]:
    """The efforts that are left after the last one that was made; all of them where none was."""
    return tuple(range(0 if last is None else last + 1, most_efforts(settings) + 1))


def mark_of(settings: Settings, effort: int) -> str:
    """The hash of the settings, edits' among them, and how many efforts were made: what an adapter is named with."""
    return f"{settings_hash(settings.edit, settings.lora)}.{effort}"


def effort_of(mark: str, settings: Settings) -> int | None:
    """The last effort made for an adapter's facts; None where the settings were other ones."""
    made_with, _, effort = mark.partition(".")
    return int(effort) if made_with == settings_hash(settings.edit, settings.lora) else None


def _lora(settings: Settings, *, trained: bool, effort: int) -> LoraSettings:
    passes = max(settings.lora.passes, PASSES) if trained else settings.lora.passes
    return msgspec.structs.replace(settings.lora, passes=passes * 2**effort)
