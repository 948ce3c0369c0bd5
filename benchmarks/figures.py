"""Medians, spreads, pair ratios and the fit.  Pure: numbers in, numbers out."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """Of some positive numbers: the median, the least, the greatest, and how many there were."""

    median: float
    least: float
    greatest: float
    count: int


def spread(values: Sequence[float]) -> Spread | None:
    """None when there are no values."""
    if not values:
        return None
    return Spread(statistics.median(values), min(values), max(values), len(values))


def pair_ratios(peer: Mapping[int, float], ours: Mapping[int, float]) -> list[float]:
    """``peer / ours`` for every round number that both have: above 1, the peer took longer."""
    return [peer[number] / ours[number] for number in sorted(peer.keys() & ours.keys())]


def fit_cost(item_count: int, points: Sequence[tuple[int, float]]) -> tuple[float, float]:
    """Split the time of a run into ``a * items + b * mini_batches``.

    ``points`` are (mini-batch count, seconds) of two or more runs over the same ``item_count`` items; the line of least
    squares through them gives seconds per item and seconds per mini-batch.

    Raises ``ValueError`` with fewer than two different mini-batch counts.
    """
    counts = [float(count) for count, _ in points]
    times = [seconds for _, seconds in points]
    if len(set(counts)) < 2:
        raise ValueError(f"a fit needs two different numbers of mini-batches, points={len(points)}")
    slope, intercept = statistics.linear_regression(counts, times)
    return intercept / item_count, slope


def fit_line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Intercept and slope of the line of least squares through ``points``, (place, value).

    Places are weighted by 1 ÷ value², so that a curve over decades is fitted at its low end too.
    """
    weights = [1 / max(value, 1e-12) ** 2 for _, value in points]
    total = sum(weights)
    x_mean = sum(w * x for w, (x, _) in zip(weights, points, strict=True)) / total
    y_mean = sum(w * y for w, (_, y) in zip(weights, points, strict=True)) / total
    spread_x = sum(w * (x - x_mean) ** 2 for w, (x, _) in zip(weights, points, strict=True))
    slope = sum(w * (x - x_mean) * (y - y_mean) for w, (x, y) in zip(weights, points, strict=True)) / spread_x
    return y_mean - slope * x_mean, slope


def far_exponent(points: Sequence[tuple[float, float]]) -> float:
    """How the value grows between the two farthest places: 0 not at all, 1 in proportion, 2 with the square."""
    (x_before, y_before), (x_last, y_last) = sorted(points)[-2:]
    return math.log(max(y_last, 1e-12) / max(y_before, 1e-12)) / math.log(x_last / x_before)
