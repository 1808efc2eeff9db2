# SPDX-License-Identifier: AGPL-3.0-or-later
"""How old the frames of a live stream are. Pure: times are arguments, in seconds of the monotonic clock.

A network, a camera's buffer and the kernel's hold frames back, and hand them on later, as if they were new. What tells
is the time that the stream itself gives each frame; and where it gives none, the rhythm in which frames come.
"""

from __future__ import annotations

import math

UNKNOWN = math.inf
"""The age of a frame that came out of a backlog of unknown length."""

# A camera's clock and ours differ by a few parts in a million; one that counts 30 frames a second and takes 29.97 is
# off by one in a thousand. A delay that grows faster than this is a delay.
_DRIFT = 0.002
# Frames are sent in the order of decoding, so that their times go back by less; by more, the stream began anew.
_RESTART_S = 1.0
# Of a stream without times: what comes after so long a pause, and so many usual distances, may have been held back.
_PAUSE_S, _PAUSE_FRAMES = 0.5, 3.0
_CALM = 0.1  # how much a distance counts in the usual one


class StreamClock:
    """Maps the times that a stream gives its frames to our clock, by the frame that took least time to arrive.

    At the start that is a guess. It is settled when a frame comes no sooner after the one before than the stream's
    times say: until then a backlog is being handed over.
    """

    def __init__(self) -> None:
        self._offset = 0.0  # our time minus the stream's, of a frame that wasn't delayed
        self._latest: float | None = None  # of the stream's times
        self._now = 0.0
        self._settled = False

    def arrived(self, stream_s: float, now: float) -> None:
        """A frame to which the stream gives the time `stream_s` has arrived."""
        offset = now - stream_s
        if self._latest is None or stream_s < self._latest - _RESTART_S:
            self._offset, self._latest, self._settled = offset, stream_s, False
        else:
            known = self._offset + _DRIFT * (now - self._now)
            self._settled = self._settled or known - offset <= (stream_s - self._latest) / 2
            self._offset, self._latest = min(offset, known), max(self._latest, stream_s)
        self._now = now

    @property
    def begun(self) -> bool:
        """Whether the stream has given a time at all."""
        return self._latest is not None

    def age_s(self, stream_s: float, now: float) -> float:
        """How long ago the frame of this time was taken, UNKNOWN while nothing tells."""
        return max(0.0, now - stream_s - self._offset) if self._settled else UNKNOWN


class ArrivalClock:
    """The same for a stream that gives no times: by the pauses in it.

    What comes after a long pause may be as old as that, until frames come in their usual rhythm again: then nothing is
    held back any more.
    """

    def __init__(self) -> None:
        self._last: float | None = None
        self._usual = 0.0  # seconds between frames
        self._paused = False  # before the frame that arrived last
        self._behind = 0.0

    def arrived(self, now: float) -> None:
        """A frame has arrived."""
        last, self._last = self._last, now
        if last is None:
            return
        distance, usual, paused = now - last, self._usual, self._paused
        self._paused = bool(usual) and distance > max(_PAUSE_S, _PAUSE_FRAMES * usual)
        if self._paused and not paused:
            self._behind += distance - usual
        elif self._behind and distance < usual / 2:
            self._behind = max(0.0, self._behind - (usual - distance))
        else:  # also a pause after a pause: a slow rhythm
            self._behind = 0.0
            self._usual = usual + _CALM * (distance - usual) if usual else distance

    @property
    def age_s(self) -> float:
        """How old the frame that arrived last may be."""
        return self._behind
