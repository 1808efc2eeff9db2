# SPDX-License-Identifier: AGPL-3.0-or-later
"""A mean with its interval, and the difference of two means, by Student's t. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import cos, floor, isfinite, pi, sin, sqrt, tan
from statistics import fmean, variance

CONFIDENCE = 0.95
_HALVINGS = 60  # of the angle that is looked for: more than a float tells apart


@dataclass(frozen=True)
class Estimate:
    """A mean over so many values, and where it lies with `CONFIDENCE`.

    mean: None without values. low, high: None where they don't say how much they differ, so under two of them.
    """

    count: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None


def mean_of(values: Sequence[float]) -> Estimate:
    """The mean of values that are independent, with Student's interval."""
    n = len(values)
    if n < 2:
        return Estimate(n, values[0] if values else None)
    mean = fmean(values)
    half = t_quantile(n - 1) * sqrt(variance(values, mean) / n)
    return Estimate(n, mean, mean - half, mean + half)


def difference_of(these: Sequence[float], those: Sequence[float]) -> Estimate:
    """Mean of `these` less mean of `those`, with Welch's interval: their variances may differ.

    count: how many of both there are. B. L. Welch, "The generalization of 'Student's' problem when several different
    population variances are involved", Biometrika 34, 1947; the degrees of freedom are rounded down.
    """
    count = len(these) + len(those)
    if not these or not those:
        return Estimate(count)
    difference = fmean(these) - fmean(those)
    if min(len(these), len(those)) < 2:
        return Estimate(count, difference)
    a, b = variance(these) / len(these), variance(those) / len(those)
    if a + b == 0:
        return Estimate(count, difference, difference, difference)
    freedom = (a + b) ** 2 / (a * a / (len(these) - 1) + b * b / (len(those) - 1))
    half = t_quantile(max(1, floor(freedom)) if isfinite(freedom) else 1) * sqrt(a + b)
    return Estimate(count, difference, difference - half, difference + half)


@lru_cache(maxsize=256)
def t_quantile(freedom: int) -> float:
    """Between minus this and this, Student's t of so many degrees of freedom lies with `CONFIDENCE`.

    Found by halving the angle whose tangent is t / √freedom.
    """
    low, high = 0.0, pi / 2
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, freedom) < CONFIDENCE else (low, middle)
    return sqrt(freedom) * tan(low)


def _within(angle: float, freedom: int) -> float:
    """The probability that |t| is below √freedom · tan(angle).

    M. Abramowitz and I. A. Stegun, "Handbook of Mathematical Functions", 1964, 26.7.3 and 26.7.4.
    """
    is_odd = freedom % 2
    square, term, total = cos(angle) ** 2, 1.0, 0.0
    for n in range(2 + is_odd, freedom + 1, 2):
        total += term
        term *= square * (n - 1) / n
    if not is_odd:
        return sin(angle) * total
    return 2 / pi * (angle + sin(angle) * cos(angle) * total)
