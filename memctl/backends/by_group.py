"""A value problem whose groups never meet in one product of matrices."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from memctl.backends.protocol import Float, Gradient, Row, ValueProblem


class ByGroup:
    """One problem for each group: for engines whose products round a row by the rows beside it.

    Args:
        make: Makes the problem of some rows, all of group 0.
    """

    def __init__(self, rows: Sequence[Row], make: Callable[[Sequence[Row]], ValueProblem]) -> None:
        self.group = np.array([row.group for row in rows])
        members = {int(group): np.flatnonzero(self.group == group) for group in np.unique(self.group)}
        self.place = np.zeros(len(rows), np.int64)
        for own in members.values():
            self.place[own] = np.arange(len(own))
        self.problems = {
            group: make([replace(rows[index], group=0) for index in own.tolist()]) for group, own in members.items()
        }

    def evaluate(self, rows: NDArray[np.int64], residuals: Float, weights: Float, scales: Float) -> Gradient:
        losses, hits = np.zeros(len(rows), np.float32), np.zeros(len(rows), np.bool_)
        gradient = np.zeros_like(residuals)
        for group, problem in self.problems.items():
            mine = np.flatnonzero(self.group[rows] == group)
            if len(mine):
                found = problem.evaluate(self.place[rows[mine]], residuals[[group]], weights[mine], scales[mine])
                losses[mine], hits[mine], gradient[group] = found.losses, found.hits, found.gradient[0]
        return Gradient(losses, hits, gradient)
