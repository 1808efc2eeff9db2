# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a version on probation has failed too often."""

from __future__ import annotations

import pytest

from edgeagent.core.probation import WINDOW_S, Failures, count_failure, exceeds_failure_budget

OWN, OUTSIDE = False, True


@pytest.mark.parametrize(
    ("failures", "answer"),
    [
        ([(100.0, OWN)], False),  # one may be bad luck
        ([(99.0, OWN), (100.0, OWN)], True),
        ([(100.0, OWN), (100.0 + WINDOW_S, OWN)], True),
        ([(100.0, OWN), (101.0 + WINDOW_S, OWN)], False),  # separate mishaps
        ([(99.0, OUTSIDE), (100.0, OUTSIDE)], False),  # the machine's doing
        ([(98.0, OUTSIDE), (99.0, OWN), (100.0, OWN)], True),
        ([(98.0, OUTSIDE), (99.0, OUTSIDE), (100.0, OUTSIDE)], True),  # time and again in the same place
        ([(98.0, OUTSIDE), (99.0, OUTSIDE), (100.0, OWN)], True),
    ],
)
def test_repeated_failures_are_the_version_s_own(failures: list[tuple[float, bool]], answer: bool) -> None:
    """Two of its own; three when somebody else's signals were among them. Each: seconds, and whether it was one."""
    counted: Failures | None = None
    for at, from_outside in failures:
        counted = count_failure(counted, at, from_outside)
    assert counted is not None
    assert exceeds_failure_budget(counted) is answer
