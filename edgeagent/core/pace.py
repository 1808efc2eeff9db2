# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a version is fast enough for the frames that its pipelines have."""

from __future__ import annotations

from dataclasses import dataclass

MARGIN = 1.25
"""By how much a version may miss the rate. It was measured once, beside a line at work."""

SLOWER = 1.5
"""From how many times the time of what serves on a version is slower than that. A line whose camera is faster than its
model drops frames already, and would drop as many."""


@dataclass(frozen=True)
class Pace:
    """How fast a version is on this node, and how fast it has to be.

    frame_ms: what it needs for a frame at least, active_ms: what the version that serves does; milliseconds, 0 where
    that isn't known, or nothing serves. rate: frames a second that its live pipelines send, together.
    """

    frame_ms: float
    active_ms: float
    rate: float

    def rejection_reason(self) -> str:
        """Why it must not take the place of what serves; "" when it may.

        What can't hold the rate is no worse than what can't either, and better than nothing.
        """
        holds = self.frame_ms * self.rate <= MARGIN * 1000
        if holds or not self.active_ms or self.frame_ms <= SLOWER * self.active_ms:
            return ""
        return (
            f"too slow here: at least {self.frame_ms:.0f} ms a frame, while its pipelines send one every"
            f" {1000 / self.rate:.0f} ms and what serves takes {self.active_ms:.0f} ms"
            " (allow_slow lets it in all the same)"
        )
