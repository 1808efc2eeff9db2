# SPDX-License-Identifier: AGPL-3.0-or-later
"""The e-process, against its definition and against what it promises."""

from __future__ import annotations

import math
import random

import pytest

from edgeagent.core.evidence import log_evidence, log_mean


@pytest.mark.parametrize("most", [0.05, 0.25, 0.5])
@pytest.mark.parametrize(
    ("hits", "misses"), [(0, 0), (7, 0), (0, 30), (7, 8), (3, 120), (40, 60), (900, 900)]
)
def test_it_is_the_mean_likelihood_ratio(hits: int, misses: int, most: float) -> None:
    """Over all probabilities above the one that may be, by the midpoint rule."""
    steps = 2000
    log_ratios = [
        hits * math.log(p / most) + misses * math.log((1 - p) / (1 - most))
        for p in (most + (1 - most) * (i + 0.5) / steps for i in range(steps))
    ]
    expected = log_mean((1 / steps, value) for value in log_ratios)
    assert log_evidence(hits, misses, most) == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("most", [0.05, 0.5])
def test_without_a_difference_it_hardly_ever_reaches_its_limit(most: float) -> None:
    """At any of 100 looks, in at most a share alpha of 400 runs."""
    rng, alpha, alarms = random.Random(7), 0.05, 0
    for _ in range(400):
        hits = 0
        for seen in range(1, 101):
            hits += rng.random() < most
            if log_evidence(hits, seen - hits, most) >= -math.log(alpha):
                alarms += 1
                break
    assert alarms <= 400 * alpha


def test_a_difference_shows_soon() -> None:
    """Nine of nine, or a third where a twentieth may be."""
    assert log_evidence(13, 0, 0.5) > math.log(1000)
    assert log_evidence(12, 24, 0.05) > math.log(1000)


def test_the_mean_of_very_large_and_very_small_figures() -> None:
    """They are too large for floats themselves."""
    assert log_mean([(0.5, 2000.0), (0.5, -2000.0)]) == pytest.approx(2000 + math.log(0.5))
    assert log_mean([(0.0, 5.0)]) == -math.inf
    assert log_mean([]) == -math.inf
