# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a version that serves has used up its failure budget."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeagent.core.interruption import MAX_ENDS

MAX_FAILURES = 2
"""Failures of its own that a version on probation may not have. One may be bad luck: the worker is restarted."""

WINDOW_S = 60.0
"""Failures further apart than this (seconds) are counted as separate mishaps."""


@dataclass(frozen=True)
class Failures:
    """Failures of the version that serves, of which none came more than WINDOW_S after the one before.

    since, last: when the first and the last came, monotonic seconds; count: of all; from_outside: of those that a
    signal from outside was.
    """

    since: float
    last: float
    count: int
    from_outside: int


def count_failure(failures: Failures | None, now: float, from_outside: bool) -> Failures:
    """With one more; those before are forgotten when they are long ago."""
    if failures is None or now - failures.last > WINDOW_S:
        failures = Failures(now, now, 0, 0)
    return replace(
        failures, last=now, count=failures.count + 1, from_outside=failures.from_outside + from_outside
    )


def exceeds_failure_budget(failures: Failures) -> bool:
    """Whether these are too many for a version on probation. Ends from outside are its own only when they repeat."""
    return failures.count - failures.from_outside >= MAX_FAILURES or failures.count >= MAX_ENDS
