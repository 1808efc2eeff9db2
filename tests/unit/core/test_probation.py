# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a version on probation has failed too often."""

from __future__ import annotations

import pytest

from edgeagent.core.probation import WINDOW_S, exceeds_failure_budget


@pytest.mark.parametrize(
    ("failures", "answer"),
    [
        ([], False),
        ([100.0], False),  # one can be the machine's doing
        ([99.0, 100.0], True),
        ([100.0 - WINDOW_S, 100.0], True),
        ([99.0 - WINDOW_S, 100.0], False),  # separate mishaps
    ],
)
def test_two_failures_within_the_window_are_the_version_s_own(failures: list[float], answer: bool) -> None:
    """Judged at t = 100 s."""
    assert exceeds_failure_budget(failures, now=100.0) is answer
