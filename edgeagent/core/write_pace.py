# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often a node may write what it says of itself: every writing stays in the config store's history."""

from __future__ import annotations

from dataclasses import dataclass

REFRESH_S = 300.0
"""After so long the same is written again."""
BURST = 20
"""Changes that are written one after another, each at once."""
REFILL_S = 60.0
"""After a burst, one more change for each of these: a camera that comes and goes all day fills no store."""


@dataclass(frozen=True)
class WritePace:
    """at: when it was written last, in seconds of a monotonic clock; left: of the burst, then."""

    at: float
    left: float = BURST

    def is_due(self, changed: bool, now: float) -> bool:
        """Whether it is time to write, where what there is to say has changed or not."""
        return self._left(now) >= 1 if changed else now - self.at >= REFRESH_S

    def after_writing(self, now: float) -> WritePace:
        """What holds once it was written."""
        return WritePace(now, max(0.0, self._left(now) - 1))

    def _left(self, now: float) -> float:
        return min(BURST, self.left + (now - self.at) / REFILL_S)
