# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a replay of the golden pictures is like the first one."""

from __future__ import annotations

import pytest

from edgeagent.core.sentinel import MAX_PICTURES, DriftLimits, judge, spread
from edgeagent.core.tuning import Parity, Tolerance


def parity(frames: int, differing: int) -> Parity:
    """Of so many pictures."""
    return Parity(frames, 2 * frames, differing, 0, 0.95, 0.01, differing)


@pytest.mark.parametrize(
    ("frames", "differing", "unanswered", "share", "drifts"),
    [
        (20, 0, 0, 0.0, False),
        (20, 1, 0, 0.0, True),
        (20, 1, 0, 0.05, False),
        (20, 2, 0, 0.05, True),
        (18, 0, 2, 0.05, True),
        (19, 0, 1, 0.05, False),
        (0, 0, 5, 0.05, True),
    ],
)
def test_a_share_of_pictures_may_differ(
    frames: int, differing: int, unanswered: int, share: float, drifts: bool
) -> None:
    """One that isn't answered any more differs, too; the figures are said with what they were held against."""
    found = judge(parity(frames, differing), unanswered, DriftLimits(Tolerance(), share))
    assert found.passed == (not drifts)
    assert found.figures["pictures"] == frames + unanswered
    assert found.limits["differing"] <= found.figures["pictures"]
    if drifts:
        assert f"on {differing + unanswered} of {frames + unanswered} golden pictures" in found.reasons[0]


def test_pictures_are_spread_over_the_set() -> None:
    """The same ones each time, and not only its beginning."""
    assert list(spread(3)) == [0, 1, 2]
    places = list(spread(10_000))
    assert len(set(places)) == MAX_PICTURES
    assert places[-1] > 9_800
    assert places == list(spread(10_000))
