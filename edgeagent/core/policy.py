# SPDX-License-Identifier: AGPL-3.0-or-later
"""The settings that decisions follow."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class EntryTerms:
    """How a version is to come in. seconds, frames: of the shadow, 0: none, or not limited by that; approval: auto or
    manual; at: now, between-parts or window."""

    seconds: float = 0.0
    frames: int = 0
    approval: str = "auto"
    at: str = "now"

    @property
    def has_shadow(self) -> bool:
        """Whether it is to be seen beside what serves."""
        return self.seconds > 0 or self.frames > 0

    @property
    def at_once(self) -> bool:
        """Whether nothing stands between READY and the swap."""
        return not self.has_shadow and self.approval == "auto" and self.at == "now"


@dataclass(frozen=True)
class PairRules:
    """What comes of pairs of frames. shadow_needs_evidence: a shadow goes on while too little was seen to tell.
    reports: the watches, shadow or probation, of which what pairs say against a version is only told."""

    shadow_needs_evidence: bool = True
    reports: frozenset[str] = frozenset()


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

    probation_*: how long the watch after a swap takes, and so many times as long at most while too little was seen to
    tell; past_s: or for so long, where nothing but this line's past is held against the version. entry: how versions
    come in where the operator says nothing of it. pairs: what comes of pairs. switch_max_wait_s: how long the moment
    between two parts is waited for. has_windows: the node knows the times of day at which it may switch. stop_start:
    what serves may be stopped before the next version is loaded.
    """

    probation_s: float = 60.0
    probation_longest: float = 1.0
    past_s: float = 600.0
    entry: EntryTerms = EntryTerms()
    pairs: PairRules = PairRules()
    switch_max_wait_s: float = 300.0
    has_windows: bool = False
    retry_min_s: float = 1.0
    retry_max_s: float = 30.0
    keep_stable: int = 3
    rebuild_retry_s: float = 300.0
    settle_after_s: float = 60.0
    settle_max_s: float = 3600.0
    store_check_min_s: float = 2.0
    store_check_max_s: float = 30.0
    leave_failing: bool = True
    stop_start: bool = False
    failure_window_s: float = 60.0
    again_min_s: float = 30.0
    again_max_s: float = 3600.0
