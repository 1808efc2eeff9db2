# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a version on probation has failed too often."""

from __future__ import annotations

import pytest

from edgeagent.core.probation import (
    MAX_STABLE_FAILURES,
    Failures,
    count_failure,
    exceeds_failure_budget,
    keeps_failing,
)

OWN, OUTSIDE = False, True
WINDOW_S = 60.0


def counted(*failures: tuple[float, bool]) -> Failures:
    """What is kept of failures at these times, seconds; True: somebody else's signal."""
    found: Failures | None = None
    for at, from_outside in failures:
        found = count_failure(found, at, "NaN", from_outside, WINDOW_S)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("failures", "answer"),
    [
        ([(100.0, OWN)], True),
        ([(99.0, OUTSIDE), (100.0, OWN)], True),
        ([(100.0, OUTSIDE)], False),
        ([(99.0, OUTSIDE), (100.0, OUTSIDE)], False),  # the machine's doing
        ([(98.0, OUTSIDE), (99.0, OUTSIDE), (100.0, OUTSIDE)], True),  # time and again in the same place
        ([(38.0, OUTSIDE), (99.0, OUTSIDE), (100.0, OUTSIDE)], False),  # the first was a mishap of its own
    ],
)
def test_whose_failure_it_is(failures: list[tuple[float, bool]], answer: bool) -> None:
    """One of its own is enough, for the version before is warm; three when they were somebody else's signals."""
    assert exceeds_failure_budget(counted(*failures)) is answer


@pytest.mark.parametrize(
    ("times", "answer"),
    [
        ([0.1 * n for n in range(90)], False),  # a hand before the camera
        ([0.1 * n for n in range(110)], True),
        ([3.0 * n for n in range(MAX_STABLE_FAILURES)], True),
        ([0.0, 60.0, 120.0, 180.0], False),  # too few
        ([61.0 * n for n in range(50)], False),  # each by itself
    ],
)
def test_a_stable_version_has_more_patience(times: list[float], answer: bool) -> None:
    """Whoever has earned its place loses it for what lasts, and not for what passes."""
    assert keeps_failing(counted(*((at, OWN) for at in times))) is answer
