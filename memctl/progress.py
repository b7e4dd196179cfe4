"""How long jobs say how far they are: what is being done, how many of how many."""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with what is being done, steps done, and steps in all."""


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""
