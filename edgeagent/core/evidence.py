# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evidence that something happens more often than it may, valid at every look.

Something is seen again and again, and each time it does or doesn't show what is looked for: a hit, or a miss. The
hypothesis is that a hit has at most the probability q, whatever came before. For one alternative p > q the likelihood
ratio of x hits and y misses, (p/q)^x ((1-p)/(1-q))^y, is a non-negative supermartingale that begins at 1: the
expectation of one factor under a true probability r is r p/q + (1-r)(1-p)/(1-q), which grows with r and is 1 at r = q.
So is its mean over p, here with the weight of a Beta(a, b) distribution cut off below q:

    E(x, y) = B(a+x, b+y) S(a+x, b+y) / ( B(a, b) S(a, b) q^x (1-q)^y )

where S is the probability that a Beta variable of these parameters is above q. By Ville's inequality the chance that E
ever reaches 1/alpha, at any of arbitrarily many looks, is at most alpha: one may look after each object and stop when
one likes. For q = 1/2 this is the one-sided form of the beta-mixture test of the sign of discordant pairs,
B(a+x, a+y) / B(a, a) * 2^(x+y).

Sources: Lindon and Malek, "Anytime-Valid Inference for Multinomial Count Data", NeurIPS 2022 (arXiv 2011.03567);
Lindon et al., "Rapid Regression Detection in Software Deployments through Sequential Testing" (arXiv 2205.14762); Shin,
Ramdas and Rinaldo, "E-detectors: a nonparametric framework for sequential change detection", 2022. A mean of such
figures with weights that were fixed before has the same property (Vovk and Wang, "E-values: Calibration, combination
and applications", 2021), which is how classes, kinds of difference and beginnings are put together.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import exp, inf, lgamma, log

_A, _B = 1.0, 1.0
"""Of the Beta distribution: any probability above q is as likely as another."""


def log_evidence(hits: int, misses: int, most: float) -> float:
    """Natural logarithm of E: the evidence that a hit has a probability above `most` (between 0 and 1)."""
    a, b = _A + hits, _B + misses
    mixture = _log_beta(a, b) + _log_above(a, b, most) - _log_beta(_A, _B) - _log_above(_A, _B, most)
    return mixture - hits * log(most) - misses * log(1 - most)


def log_mean(weighted: Iterable[tuple[float, float]]) -> float:
    """Logarithm of the weighted sum of figures whose logarithms are given: (weight, logarithm) each."""
    terms = [log(weight) + value for weight, value in weighted if weight > 0]
    top = max(terms, default=-inf)
    return top + log(sum(exp(term - top) for term in terms)) if top > -inf else -inf


def _log_beta(a: float, b: float) -> float:
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def _log_above(a: float, b: float, x: float) -> float:
    """Logarithm of the chance that a Beta(a, b) variable is above x.

    By the continued fraction of the incomplete beta function (DLMF 8.17.22), evaluated with Lentz's method on the side
    where it converges fast.
    """
    front = a * log(x) + b * log(1 - x) - _log_beta(a, b)
    if x > (a + 1) / (a + b + 2):
        return front + log(_fraction(b, a, 1 - x) / b)
    below = exp(front + log(_fraction(a, b, x) / a))
    return log(max(1 - below, 1e-300))


def _fraction(a: float, b: float, x: float, most_steps: int = 10_000) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1), tiny)
    value = d
    for m in range(1, most_steps):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + step * d, tiny)
            c = _not_zero(1 + step / c, tiny)
            value *= d * c
        if abs(d * c - 1) < 1e-12:
            break
    return value


def _not_zero(value: float, tiny: float) -> float:
    return value if abs(value) > tiny else tiny
