# SPDX-License-Identifier: AGPL-3.0-or-later
"""How sure a comparison on some pictures makes one of all of them."""

from __future__ import annotations

import pytest

from edgeagent.core.tuning import most_share


@pytest.mark.parametrize(
    ("found", "of", "share"),
    [
        *((0, 1, 0.95), (0, 8, 0.3123), (0, 50, 0.0582), (0, 100, 0.0295)),
        *((1, 100, 0.0466), (5, 100, 0.1024), (3, 8, 0.7108), (8, 8, 1.0), (0, 0, 1.0)),
    ],
)
def test_the_most_share_that_differs(found: int, of: int, share: float) -> None:
    """Clopper and Pearson's upper bound at 95 %, from tables (scipy.stats.beta.ppf(0.95, found + 1, of - found)):
    eight pictures leave room for a third of all."""
    assert most_share(found, of) == pytest.approx(share, abs=5e-4)


def test_without_a_difference_it_is_the_rule_of_three() -> None:
    """Three of as many."""
    for of in (50, 100, 300):
        assert most_share(0, of) == pytest.approx(1 - 0.05 ** (1 / of))
        assert most_share(0, of) == pytest.approx(3 / of, rel=0.05)
