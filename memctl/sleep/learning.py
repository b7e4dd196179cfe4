"""Training of a sleep's adapter, once over all facts, and again with more effort where facts stay behind."""

from collections.abc import Sequence

import msgspec

from memctl.adapters import Adapter
from memctl.backends.protocol import Backend
from memctl.consolidation.train import consolidate
from memctl.editing.edit import edited_layer
from memctl.facts import Fact
from memctl.progress import Progress
from memctl.settings import LoraSettings, Settings, settings_hash


def learn(backend: Backend, facts: Sequence[Fact], effort: int, settings: Settings, progress: Progress) -> Adapter:
    """An adapter that carries these facts alone: a function of the base, the facts, the settings and the effort."""
    layer = edited_layer(backend, settings.edit)
    return consolidate(backend, facts, layer, harder(settings.lora, effort), progress).adapter


def mark_of(settings: LoraSettings, effort: int) -> str:
    """The hash that an adapter trained with this effort is named with."""
    return settings_hash(harder(settings, effort))


def effort_of(mark: str, settings: LoraSettings, most: int) -> int | None:
    """The effort that an adapter was trained with, up to a most; None where the settings were other ones."""
    return next((effort for effort in range(most + 1) if mark_of(settings, effort) == mark), None)


def harder(settings: LoraSettings, effort: int) -> LoraSettings:
    """The settings with twice the passes for each effort."""
    return msgspec.structs.replace(settings, passes=settings.passes * 2**effort)
