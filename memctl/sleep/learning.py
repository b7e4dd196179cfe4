"""Training of a sleep's adapter, once over all facts, and again with more effort where facts stay behind."""

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
"""Lessons of each fact in the first effort, at least."""


def learn(
    backend: Backend, facts: Sequence[Fact], edits: Composition, effort: int, settings: Settings, progress: Progress
) -> Adapter:
    """An adapter that carries these facts alone: a function of the base, the facts, the settings and the effort.

    Args:
        edits: Those of the facts, at full scale.
    """
    layer = edited_layer(backend, settings.edit)
    return consolidate(backend, facts, layer, edits.columns(layer), harder(settings.lora, effort), progress).adapter


def mark_of(settings: Settings, effort: int) -> str:
    """The hash that an adapter trained with this effort is named with: edits go into it too."""
    return settings_hash(settings.edit, harder(settings.lora, effort))


def effort_of(mark: str, settings: Settings, most: int) -> int | None:
    """The effort that an adapter was trained with, up to a most; None where the settings were other ones."""
    return next((effort for effort in range(most + 1) if mark_of(settings, effort) == mark), None)


def harder(settings: LoraSettings, effort: int) -> LoraSettings:
    """The settings with more passes for each effort; after edits that were taken over as they are, the first one trains."""
    passes = max(settings.passes, PASSES) * 2 ** (effort - 1) if effort else settings.passes
    return msgspec.structs.replace(settings, passes=passes)
