# SPDX-License-Identifier: AGPL-3.0-or-later
"""One captured frame as the node knows it: where its pixels stand, never the pixels themselves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from edgeagent.core.state import VersionRef
from edgeagent.workers.ring import Ring


@dataclass(slots=True, eq=False)
class Frame:
    """A frame in a slot of a ring. It comes with one user; each user calls `release` once, or hands it on.

    seq: number of the frame in its pipeline, from 0; width, height: pixels; ts: when it was captured, Unix
    seconds; mono: the same on the monotonic clock; attempts: how many engines have failed on it; failed_on: the
    version of the first of them; lender: the frame that it was lent of.
    """

    pipeline: str
    seq: int
    ring: Ring
    slot: int
    width: int
    height: int
    ts: float
    mono: float
    on_free: Callable[[Ring], None]
    attempts: int = 0
    failed_on: VersionRef | None = None
    users: int = 1
    lender: Frame | None = None

    def retain(self) -> Frame:
        """One more user, who calls `release` too. Returns the frame. Raises ValueError if nobody uses it any more."""
        if not self.users:
            raise ValueError(f"frame {self.seq} of {self.pipeline} is released already")
        self.users += 1
        return self

    def lend(self, on_free: Callable[[Ring], None]) -> Frame:
        """The same pixels, for users who are counted apart: `on_free` is called when the last of them released it.

        Raises ValueError if nobody uses the frame any more.
        """
        return replace(self.retain(), on_free=on_free, attempts=0, failed_on=None, users=1, lender=self)

    def release(self) -> None:
        """One user less; with the last, the slot goes back to the camera. Raises ValueError if there is none.

        Counted here and not by slot: the slot is granted anew at once, and a release too many would hit the next frame.
        """
        if not self.users:
            raise ValueError(f"frame {self.seq} of {self.pipeline} is released already")
        self.users -= 1
        if not self.users:
            if self.lender:
                self.lender.release()
            else:
                self.ring.release(self.slot)
            self.on_free(self.ring)
