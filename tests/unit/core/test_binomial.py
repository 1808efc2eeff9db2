# SPDX-License-Identifier: AGPL-3.0-or-later
"""Exact binomial figures, against sums of whole numbers."""

from __future__ import annotations

from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.binomial import at_least, fewest_worse, share_within, sign_test, trials_to_see


@given(st.integers(0, 60), st.integers(0, 60))
def test_sign_test_is_the_exact_tail(worse: int, better: int) -> None:
    """Whole numbers over a power of two, nothing approximated."""
    n = worse + better
    exact = sum(comb(n, i) for i in range(worse, n + 1)) / 2**n
    assert sign_test(worse, better) == pytest.approx(exact, rel=1e-9)


@given(st.integers(0, 40), st.integers(0, 40), st.floats(0.01, 0.99))
def test_tail_of_any_chance(count: int, trials: int, chance: float) -> None:
    """Also where the tail is nearly all, or nearly nothing."""
    exact = sum(comb(trials, i) * chance**i * (1 - chance) ** (trials - i) for i in range(count, trials + 1))
    assert at_least(count, trials, chance) == pytest.approx(exact, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("count", "trials"), [(50_000, 100_000), (60_000, 100_000), (40_000, 100_000)])
def test_many_trials_neither_overflow_nor_take_long(count: int, trials: int) -> None:
    """Sets may be large."""
    assert 0 <= at_least(count, trials, 0.5) <= 1


def test_nothing_differs() -> None:
    """Then nothing speaks for the one or the other."""
    assert sign_test(0, 0) == 1


@pytest.mark.parametrize(("p_value", "count"), [(0.05, 5), (0.0125, 7), (0.001, 10), (0.5, 1)])
def test_fewest_that_can_tell(p_value: float, count: int) -> None:
    """0.5 ** count is what they come to."""
    assert fewest_worse(p_value) == count


@pytest.mark.parametrize(
    ("count", "chance", "trials"), [(5, 0.5, 12), (7, 0.5, 17), (5, 1.0, 5), (5, 0.1, 66), (1, 0.999999, 1)]
)
def test_trials_that_it_takes(count: int, chance: float, trials: int) -> None:
    """The least number that shows so many with a power of 0.8: one fewer doesn't."""
    assert trials_to_see(count, chance, 0.8) == trials
    if trials > count:
        assert at_least(count, trials - 1, chance) < 0.8 <= at_least(count, trials, chance)


@pytest.mark.parametrize(
    ("count", "trials", "low", "high"),
    # By R 4, binom.test(count, trials)$conf.int.
    [
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.0025, 0.4450),
        (5, 10, 0.1871, 0.8129),
        (10, 10, 0.6915, 1.0),
        (0, 1, 0, 0.975),
    ],
)
def test_where_a_chance_lies(count: int, trials: int, low: float, high: float) -> None:
    """Exact, also where nothing or everything happened."""
    found = share_within(count, trials, 0.95)
    assert found == (pytest.approx(low, abs=1e-4), pytest.approx(high, abs=1e-4))
