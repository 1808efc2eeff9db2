# SPDX-License-Identifier: AGPL-3.0-or-later
"""The settings that decisions follow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Policy:
    """The operator's settings for updates, and what isn't set by anyone. Times in seconds.

    retry_*: the least and the most time until a candidate that failed through no fault of its own is tried again.
    keep_stable: versions that a roll-back can go to. rebuild_retry_s: until a rebuild that failed is tried again; so
    seldom that it may fail each time. settle_*: from when a provisional tuning result is there until it is looked at
    again, and the most time between two such looks. store_check_*: the least and the most time between two looks at
    what the store holds under a refused version. leave_failing: a stable version that keeps failing goes back to the
    one before. failure_window_s: failures further apart are separate mishaps. again_*: the least and the most time
    until a version that was rolled back by itself is tried again when the same value is written once more.
    """

    probation_s: float = 60.0
    retry_min_s: float = 1.0
    retry_max_s: float = 30.0
    keep_stable: int = 3
    rebuild_retry_s: float = 300.0
    settle_after_s: float = 60.0
    settle_max_s: float = 3600.0
    store_check_min_s: float = 2.0
    store_check_max_s: float = 30.0
    leave_failing: bool = True
    failure_window_s: float = 60.0
    again_min_s: float = 30.0
    again_max_s: float = 3600.0
