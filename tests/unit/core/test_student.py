# SPDX-License-Identifier: AGPL-3.0-or-later
"""Means and differences with their intervals, held against printed tables and worked examples."""

from __future__ import annotations

import random

import pytest

from edgeagent.core.student import Estimate, difference_of, mean_of, t_quantile


@pytest.mark.parametrize(
    ("freedom", "t"),
    # D. S. Moore and G. P. McCabe, "Introduction to the Practice of Statistics", Table D: 95 % confidence.
    [(1, 12.71), (2, 4.303), (3, 3.182), (4, 2.776), (5, 2.571), (10, 2.228), (29, 2.045), (100, 1.984)],
)
def test_the_quantile_is_that_of_the_table(freedom: int, t: float) -> None:
    """To the digits that are printed, for odd and even degrees of freedom."""
    assert t_quantile(freedom) == pytest.approx(t, rel=5e-4)


def test_with_many_values_it_is_the_normal_one() -> None:
    """As for a fleet of 2,000 nodes."""
    assert t_quantile(1999) == pytest.approx(1.9611, abs=1e-4)


def test_no_figure_is_invented() -> None:
    """Nothing says how much values differ of which there is one."""
    assert mean_of([]) == Estimate(0)
    assert mean_of([3.0]) == Estimate(1, 3.0)
    assert difference_of([], [1.0, 2.0]) == Estimate(2)
    assert difference_of([4.0], [1.0, 2.0]) == Estimate(3, 2.5)


def test_a_mean_with_its_interval() -> None:
    """Four values: 2.5, give or take 3.182 times their standard error."""
    found = mean_of([1.0, 2.0, 3.0, 4.0])
    assert found.mean == 2.5
    assert (found.low, found.high) == (pytest.approx(0.4457, abs=1e-4), pytest.approx(4.5543, abs=1e-4))
    assert mean_of([2.0, 2.0]) == Estimate(2, 2.0, 2.0, 2.0)


def test_a_difference_with_its_interval() -> None:
    """By Welch: what varies much counts with its own degrees of freedom."""
    found = difference_of([5.0, 5.0, 5.0], [1.0, 2.0, 3.0])
    assert found.mean == 3.0
    assert found.low is not None
    assert found.low == pytest.approx(3 - 4.303 / 3**0.5, abs=1e-3)  # two degrees: those of the second
    assert difference_of([1.0, 1.0], [1.0, 1.0]) == Estimate(4, 0.0, 0.0, 0.0)


def holds(estimate: Estimate, value: float) -> bool:
    """Whether the interval has the value."""
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low <= value <= estimate.high


def test_the_intervals_cover_what_they_say() -> None:
    """Of small samples of a known mean: 95 % of the intervals have it, and of two alike 95 % have no difference."""
    rng = random.Random(7)
    hits = differences = 0
    for _ in range(2000):
        these = [rng.gauss(10, 3) for _ in range(5)]
        those = [rng.gauss(10, 1) for _ in range(8)]
        mean, difference = mean_of(these), difference_of(these, those)
        hits += holds(mean, 10)
        differences += holds(difference, 0)
    assert 0.93 < hits / 2000 < 0.97
    assert 0.93 < differences / 2000 < 0.98
