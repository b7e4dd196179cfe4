"""The adapter of a sleep: a function of the base, its facts, the settings, and how often it was tried again.

One that is trained is trained twice as long each time; one that takes units over has them in other neurons (see `efforts`).
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
from memctl.settings import LoraSettings, Settings

PASSES = 40
"""Lessons of each fact, at least, where there are no units to take over."""


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


def _lora(settings: Settings, *, trained: bool, effort: int) -> LoraSettings:
    passes = max(settings.lora.passes, PASSES) if trained else settings.lora.passes
    return msgspec.structs.replace(settings.lora, passes=passes * 2**effort)
