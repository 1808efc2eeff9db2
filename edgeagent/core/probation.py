# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a version that serves has used up its failure budget."""

from __future__ import annotations

from collections.abc import Sequence

MAX_FAILURES = 2
"""Failures of the worker within the window that a version may not have. One can be the machine's (an operator's
`kill`, the OOM killer for another's sake): the worker is restarted. Two in a row are the version's own."""

WINDOW_S = 60.0
"""Failures further apart than this (seconds) are counted as separate mishaps."""

KEPT_FAILURES = 10
"""Of how many failures the times are kept; more than any budget."""


def exceeds_failure_budget(failures: Sequence[float], now: float) -> bool:
    """Whether failures at these monotonic times (seconds) are too many for a version on probation."""
    return sum(1 for at in failures if now - at <= WINDOW_S) >= MAX_FAILURES
