# SPDX-License-Identifier: AGPL-3.0-or-later
"""When the next frame of a file, folder or synthetic line is due. Pure: the time is an argument."""

from __future__ import annotations

_MAX_LATE_S = 1.0


class Pace:
    """`fps` frames a second without drift: each due time is counted from the first, not from when the last was taken.

    Whoever is late catches up; after more than a second it starts afresh instead, so that no burst follows. A live
    source doesn't catch up: it leaves out the frames whose time has passed, as a camera would.
    """

    def __init__(self, fps: float, live: bool) -> None:
        self._period = 1 / fps
        self._live = live
        self._due: float | None = None

    def restart(self) -> None:
        """The next frame is due now, and the beat counts from it."""
        self._due = None

    def wait_s(self, now: float) -> float:
        """Seconds until the next frame is due; 0 or less: take it."""
        return 0.0 if self._due is None else self._due - now

    def take(self, now: float) -> int:
        """The frame that is due is taken. Returns how many to leave out before it."""
        due = now if self._due is None else self._due
        late = max(0.0, now - due)
        skip = int(late / self._period) if self._live and late <= _MAX_LATE_S else 0
        if late > _MAX_LATE_S:
            # Leaving out takes time too: never more than a second's frames, or a slow decoder would show none at all.
            skip = int(_MAX_LATE_S / self._period) if self._live else 0
            due = now - skip * self._period
        self._due = due + (skip + 1) * self._period
        return skip
