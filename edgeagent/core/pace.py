# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a version is fast enough for the frames that its pipelines have, and beside what serves.

One rule, asked twice. The gate `latency` asks before the version is loaded to serve, of a picture from its letterbox
to its boxes (`Latency`). What has passed is remembered, and rates change; so it is asked again of the loaded engine, of
the frames that all pipelines send together, batches and streams included (`Pace`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

MARGIN = 1.25
"""By how much a version may miss the rate. It was measured once, beside a line at work."""

SLOWER = 1.5
"""From how many times the time of what serves on a version is slower than that. A line whose camera is faster than its
model drops frames already, and would drop as many."""

NOISE_MS = 2.0
"""A difference that no line feels, and that a measurement beside a busy one may invent."""


def misses(ms: float, active_ms: float, interval_ms: float) -> bool:
    """Whether a frame that takes `ms` misses the interval at which frames come, by a margin, and is slower than what
    serves. Milliseconds; 0 where there is no such thing, or it isn't known.

    What can't hold the rate is no worse than what can't either, and better than nothing.
    """
    too_late = interval_ms > 0 and ms > MARGIN * interval_ms
    return too_late and active_ms > 0 and ms > SLOWER * active_ms


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
        """Why it must not take the place of what serves; "" when it may."""
        interval_ms = 1000 / self.rate if self.rate else 0.0
        if not misses(self.frame_ms, self.active_ms, interval_ms):
            return ""
        return (
            f"too slow here: at least {self.frame_ms:.0f} ms a frame, while its pipelines send one every"
            f" {interval_ms:.0f} ms and what serves takes {self.active_ms:.0f} ms"
            " (allow_slow lets it in all the same)"
        )


@dataclass(frozen=True)
class Latency:
    """What a picture takes, from its letterbox to its boxes: milliseconds that 95 % of the pictures don't exceed.

    active_ms: of what serves, in turns with it, 0 while nothing does. interval_ms: between two frames of the fastest
    live pipeline, 0 without one.
    """

    p95_ms: float
    active_ms: float
    interval_ms: float

    @property
    def ratio(self) -> float:
        """Of how many times the time of what serves it takes; 0 while nothing does."""
        return self.p95_ms / self.active_ms if self.active_ms else 0.0

    def reasons(self, budget_ms: float | None, max_ratio: float) -> list[str]:
        """Why it is too slow. budget_ms: the operator's, in the place of the interval: then the version has to keep to
        it, whatever serves."""
        found = []
        if budget_ms is not None:
            if self.p95_ms > budget_ms:
                found.append(f"p95 is {self.p95_ms:.1f} ms a frame, budget_ms is {budget_ms:g}")
        elif misses(self.p95_ms, self.active_ms, self.interval_ms):
            found.append(
                f"p95 is {self.p95_ms:.1f} ms a frame, while a pipeline sends one every {self.interval_ms:.0f} ms"
                f" and what serves takes {self.active_ms:.1f} ms"
            )
        if self.ratio > max_ratio and self.p95_ms - self.active_ms > NOISE_MS:
            found.append(
                f"p95 is {self.p95_ms:.1f} ms a frame, {self.ratio:.1f} times that of what serves"
                f" ({self.active_ms:.1f} ms), max_ratio is {max_ratio:g}"
            )
        return found


def p95(values: Sequence[float]) -> float:
    """What 95 % of the values don't exceed, by nearest rank. There must be one."""
    return sorted(values)[ceil(0.95 * len(values)) - 1]
