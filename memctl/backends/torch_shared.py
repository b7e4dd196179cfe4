"""A pass that several things share, for products of many tokens run faster than those of few; no bit is to depend on it.

Whatever acts on tokens one by one rounds alike for few and many, where attention is computed for each thing by itself. That is
what kernels were seen to do, not what they promise, so it is looked at while they run.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

CHECKED = 8
"""Things of a pass that are run alone, too."""

LARGER = 1.25
"""How many times the tokens of all that were looked at make a pass one that is to be looked at."""

Item = TypeVar("Item")
Found = TypeVar("Found")


class SharedPasses(Generic[Item, Found]):
    """Runs things together as long as each comes out as it does alone.

    The first of a pass are run alone, too, when it is much larger than all that were looked at; where that makes a
    difference, everything is run alone from then on.

    Args:
        equal: Whether two results are the same to the bit.
        trusted: False runs everything alone from the beginning.

    Attributes:
        trusted: Whether no difference was seen yet.
    """

    def __init__(self, equal: Callable[[Found, Found], bool], trusted: bool = True) -> None:
        self.equal, self.trusted = equal, trusted
        self._looked_at = 0

    def run(self, items: Sequence[Item], tokens: int, run: Callable[[Sequence[Item]], list[Found]]) -> list[Found]:
        """What each item comes to.

        Args:
            tokens: How many all items have together.
            run: What some items come to in one pass.
        """
        if not self.trusted or len(items) <= 1:
            return self._alone(items, run)
        found = run(items)
        if tokens <= LARGER * self._looked_at:
            return found
        self._looked_at = tokens
        some = items[:CHECKED]
        alone = self._alone(some, run)
        self.trusted = all(map(self.equal, found, alone))
        return found if self.trusted else alone + self._alone(items[len(some) :], run)

    @staticmethod
    def _alone(items: Sequence[Item], run: Callable[[Sequence[Item]], list[Found]]) -> list[Found]:
        return [found for item in items for found in run([item])]
