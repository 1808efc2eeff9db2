# SPDX-License-Identifier: AGPL-3.0-or-later
"""On-delay and off-delay: what holds for a moment raises nothing, what fails to hold for a moment clears nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Delayed:
    """active: as it counts; since: from when on the condition has been otherwise, seconds, None: it isn't."""

    active: bool = False
    since: float | None = None

    def step(self, holds: bool, now: float, on_s: float, off_s: float) -> Delayed:
        """The condition holds now, or doesn't. on_s, off_s: for how long it has to be so until it counts."""
        if holds == self.active:
            return self if self.since is None else Delayed(self.active)
        since = now if self.since is None else self.since
        if now - since >= (on_s if holds else off_s):
            return Delayed(holds)
        return self if since == self.since else Delayed(self.active, since)

    def hold(self) -> Delayed:
        """Nothing is known now: what was under way begins anew."""
        return Delayed(self.active)
