"""How often another adapter of the same facts is tried, and how an adapter says which attempt it is.

Neurons that give way to units leave a trace in the last bits of everything, and in bfloat16 that turns an answer here and
there which hung on them. So where an adapter does not hold, the next least used neurons are tried, which costs no more than
asking.
"""

from memctl.settings import Settings, settings_hash

OTHER_NEURONS = 8
"""Efforts at most where nothing is trained."""


def trains(settings: Settings) -> bool:
    """Whether an adapter is trained, which takes minutes, or only takes units over, which takes seconds."""
    return bool(settings.lora.passes) or not settings.edit.units


def most_efforts(settings: Settings) -> int:
    """How often other adapters of the same facts are tried."""
    return settings.sleep.efforts if trains(settings) else OTHER_NEURONS


def left_after(last: int | None, settings: Settings, choices: int) -> tuple[int, ...]:
    """The efforts that are left after the last one that was made; all of them where none was.

    Args:
        choices: How many sets of neurons there are: where nothing is trained, no other adapter comes of one that was tried.
    """
    most = most_efforts(settings) if trains(settings) else min(most_efforts(settings), choices - 1)
    return tuple(range(0 if last is None else last + 1, most + 1))


def mark_of(settings: Settings, effort: int) -> str:
    """The hash of the settings, edits' among them, and how many efforts were made: what an adapter is named with."""
    return f"{settings_hash(settings.edit, settings.lora)}.{effort}"


def effort_of(mark: str, settings: Settings) -> int | None:
    """The last effort made for an adapter's facts; None where the settings were other ones."""
    made_with, _, effort = mark.partition(".")
    return int(effort) if made_with == settings_hash(settings.edit, settings.lora) else None
