"""`baselines`: every way to give a model facts that is known here, on the same facts in one run."""

from memctl.bench.capacity import Capacity, compared
from memctl.bench.plots import Panel


class Baselines(Capacity):
    """The suite `capacity` over several methods."""

    title = "Ways to give a model facts"

    def panels(self) -> list[Panel]:
        return compared(self.config.sizes)
