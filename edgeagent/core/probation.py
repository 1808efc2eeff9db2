# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a version that serves has used up its failure budget."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeagent.core.interruption import MAX_ENDS

MAX_FAILURES = 1
"""Failures of its own that a version on probation may not have. One may be bad luck; but the version before is warm,
and takes the frame that this one died of. If that fails on it,
too, the failure is taken back (`core.rollback.frame_at_fault`)."""

MAX_STABLE_FAILURES, MIN_FAILING_S = 5, 10.0
"""A stable version has earned more patience: so many failures, over so long (seconds) at least."""


@dataclass(frozen=True)
class Failures:
    """Failures of the version that serves, of which none came long after the one before.

    since, last: when the first and the last came, monotonic seconds; count: of all; from_outside: of those that a
    signal from outside was; why: the last one's reason.
    """

    since: float
    last: float
    count: int
    from_outside: int
    why: str


def count_failure(
    failures: Failures | None, now: float, why: str, from_outside: bool, window_s: float
) -> Failures:
    """With one more; those before are forgotten when they are further away than `window_s` seconds."""
    if failures is None or now - failures.last > window_s:
        failures = Failures(now, now, 0, 0, "")
    count, ends = failures.count + 1, failures.from_outside + from_outside
    return replace(failures, last=now, count=count, from_outside=ends, why=why)


def exceeds_failure_budget(failures: Failures) -> bool:
    """Whether these are too many for a version on probation. Ends from outside are its own only when they repeat."""
    return failures.count - failures.from_outside >= MAX_FAILURES or failures.count >= MAX_ENDS


def keeps_failing(failures: Failures) -> bool:
    """Whether these are too many for a stable version."""
    lasts = failures.last - failures.since >= MIN_FAILING_S
    return failures.count >= MAX_STABLE_FAILURES and lasts
