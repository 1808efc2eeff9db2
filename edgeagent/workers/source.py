# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a capture worker reads frames from, whatever that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # H×W×3, BGR

OPEN_TIMEOUT_S = 15.0  # a camera may send a key frame every few seconds only


class SourceError(Exception):
    """The source gives nothing now. why: the cause, without credentials."""

    def __init__(self, state: Literal["absent", "lost", "unreadable"], why: str) -> None:
        super().__init__(why)
        self.state = state
        self.why = why


class UnreadableFrameError(Exception):
    """One frame can't be decoded; the next may."""


class Source(Protocol):
    """An open source.

    fps: frames a second of its own, 0 if it has none; total: frames of a pass, 0 if unknown or endless; resumable: a
    position can be found again after a restart; camera: it gives frames at its own rate, and can freeze; watches: where
    it has come to an end, more may follow later; position: index of the frame that the next `grab` takes, from 0;
    age_s: seconds since the frame that `grab` took was taken by the camera, as far as that
    can be told: 0 where it comes at once, infinite where it may be any.
    """

    fps: float
    total: int
    resumable: bool
    camera: bool
    watches: bool
    position: int
    age_s: float

    def grab(self) -> int:
        """Take the next frame, not decoded as yet where that can be told apart. Returns how many frames that took:
        1, or more when some before it can't be decoded; 0 at the end. Raises SourceError when the source is gone."""

    def retrieve(self, out: Image | None) -> Image:
        """The frame taken: in `out` (which is returned) when it has the frame's shape, else in a new array where
        the source can write in place. Raises UnreadableFrameError."""

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """Go to `position`, or to the end. Calls `heartbeat` now and then, for it may take long."""

    def close(self) -> None:
        """Let go of the file or device."""
