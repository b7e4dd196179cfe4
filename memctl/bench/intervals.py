"""Means over seeds with Student's t intervals: few seeds, unknown variance."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev

import msgspec
from scipy.special import stdtrit

CONFIDENCE = 0.95


class Estimate(msgspec.Struct, frozen=True):
    """A mean and its 95 % interval; without ends where one seed says nothing about the spread."""

    mean: float
    low: float | None
    high: float | None
    seeds: int


def estimate(values: Sequence[float], least: float = -math.inf, most: float = math.inf) -> Estimate:
    """`mean ± t(.975, n − 1) s / √n` over n seeds.

    Args:
        least, most: What a value can be: the interval ends there.
    """
    mean = fmean(values)
    if len(values) < 2:
        return Estimate(mean, None, None, len(values))
    half = float(stdtrit(len(values) - 1, (1 + CONFIDENCE) / 2)) * stdev(values) / len(values) ** 0.5
    return Estimate(mean, max(least, mean - half), min(most, mean + half), len(values))
