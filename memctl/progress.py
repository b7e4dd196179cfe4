"""How jobs say what they do and how far they are: what is being done, how many of how many."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def plural(count: int, noun: str) -> str:
    """`1 fact`, `2 facts`."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
