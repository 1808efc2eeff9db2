# SPDX-License-Identifier: AGPL-3.0-or-later
"""When the next frame of a file, folder or synthetic line is due. Pure: the time is an argument."""

from __future__ import annotations

_MAX_LATE_S = 1.0
# A live source that is late by no more has lost nothing: cameras and their drivers buffer a few frames too.
_BUFFERED_FRAMES = 4


class FramePacer:
    """`fps` frames a second without drift: each due time is counted from the first, not from when the last was taken.

    Whoever is late catches up; after more than a second it starts afresh instead, so that no burst follows. A live
    source catches up with the few frames that a camera would buffer; when it is later, it leaves out all of them.
    """

    def __init__(self, fps: float, live: bool) -> None:
        self._period = 1 / fps
        self._live = live
        self._due: float | None = None

    def restart(self) -> None:
        """The next frame is due now, and the times of the others count from it."""
        self._due = None

    def wait_s(self, now: float) -> float:
        """Seconds until the next frame is due; 0 or less: take it."""
        return 0.0 if self._due is None else self._due - now

    def take(self, now: float) -> int:
        """The frame that is due is taken. Returns how many to leave out before it."""
        due = now if self._due is None else self._due
        late = max(0.0, now - due)
        # Leaving out takes time too: never more than a second's frames, or a slow decoder would show none at all.
        missed = int(min(late, _MAX_LATE_S) / self._period)
        skip = missed if self._live and missed > _BUFFERED_FRAMES else 0
        if late > _MAX_LATE_S:
            due = now - skip * self._period
        self._due = due + (skip + 1) * self._period
        return skip
