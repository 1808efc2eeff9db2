# SPDX-License-Identifier: AGPL-3.0-or-later
"""Exact binomial figures: the sign test, and how many trials it takes to see something. Pure."""

from __future__ import annotations

from math import exp, lgamma, log


def at_least(count: int, trials: int, chance: float) -> float:
    """The probability that `count` or more of `trials` happen, each with `chance`, strictly between 0 and 1."""
    if count <= 0:
        return 1.0
    if count > trials:
        return 0.0
    below = count - 1 < trials * chance
    # The shorter tail, from its largest term on: what is small isn't lost in the rounding of what is large.
    first, step = (count - 1, -1) if below else (count, 1)
    odds = chance / (1 - chance)
    term = exp(
        lgamma(trials + 1)
        - lgamma(first + 1)
        - lgamma(trials - first + 1)
        + first * log(chance)
        + (trials - first) * log(1 - chance)
    )
    total, at = 0.0, first
    while 0 <= at <= trials and term > total * 1e-17:
        total += term
        term *= (trials - at) / (at + 1) * odds if step > 0 else at / ((trials - at + 1) * odds)
        at += step
    return min(1.0, max(0.0, 1 - total if below else total))


def sign_test(worse: int, better: int) -> float:
    """The probability of so many cases or more for the worse among those that differ, if each of two is as likely the
    better one: one-sided, exact (the sign test; on found and missed objects also known as McNemar's exact test)."""
    return at_least(worse, worse + better, 0.5)


def fewest_worse(p_value: float) -> int:
    """With how many cases for the worse, and none for the better, the sign test can fall to `p_value` at all."""
    count = 1
    while 0.5**count > p_value:
        count += 1
    return count


def trials_to_see(count: int, chance: float, power: float) -> int:
    """Of how many trials `count` or more happen with the probability `power`, each with `chance` above 0."""
    if chance >= 1:
        return count
    trials = count
    while at_least(count, trials, chance) < power:
        trials += max(1, trials // 64) if trials > 1024 else 1
    return trials


def share_within(count: int, trials: int, confidence: float) -> tuple[float, float]:
    """Where the chance lies, when `count` of `trials` happened: the exact interval (C. J. Clopper and E. S. Pearson,
    "The use of confidence or fiducial limits illustrated in the case of the binomial", Biometrika 26, 1934)."""
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else _chance_at(count, trials, tail)
    high = 1.0 if count == trials else _chance_at(count + 1, trials, 1 - tail)
    return low, high


def _chance_at(count: int, trials: int, probability: float) -> float:
    """The chance at which `count` or more of `trials` happen with this probability."""
    low, high = 0.0, 1.0
    while (middle := (low + high) / 2) not in (low, high):
        low, high = (low, middle) if at_least(count, trials, middle) > probability else (middle, high)
    return low
