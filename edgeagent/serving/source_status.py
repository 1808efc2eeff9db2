# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the source of a pipeline is, and what it has given so far: what the status shows of it."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable

import structlog

_log = structlog.get_logger(__name__)

STATES = (
    "starting",  # a worker opens the source
    "running",  # frames come
    "absent",  # the source can't be opened: the worker tries again
    "lost",  # it was open and gives nothing any more: likewise
    "unreadable",  # it is there, and nothing in it can be decoded: likewise
    "frozen",  # frames come, and are all the same
    "waiting",  # all pictures of a folder that is watched were taken
    "ended",  # a file is at its end
    "restarting",  # the worker died or was killed; the next one starts after a pause
    "stopped",
)
_EXPECTED = ("starting", "running", "waiting", "ended", "stopped")
_FPS_FRAMES = 90


class SourceStatus:
    """State and figures of one source; also numbers its frames. Lives on the event loop.

    state: one of STATES, with the reason in `why`, since `since` (Unix seconds). captured: frames taken from the
    source, which is the next frame's `seq`; frames: those of them that were handed on. width, height: pixels of the
    last frame.
    """

    def __init__(self, pipeline: str, on_dropped: Callable[[str, int], None]) -> None:
        """on_dropped(reason, n): n numbers were given to frames that are not handed on (see `CaptureObserver`)."""
        self.state, self.why, self.since = "starting", "", time.time()
        self.last_error = ""
        self.captured = self.frames = 0
        self.restarts = 0
        self.width = self.height = 0
        self._on_dropped = on_dropped
        self._log = _log.bind(pipeline=pipeline)
        self._said: Counter[str] = (
            Counter()
        )  # reasons told, and not yet counted among the frames that were left out
        self._monos: deque[float] = deque(maxlen=_FPS_FRAMES)

    def go_on_from(self, before: SourceStatus) -> None:
        """It is the source of the same pipeline: its frames are numbered and counted on."""
        self.captured, self.frames, self.restarts = before.captured, before.frames, before.restarts

    @property
    def fps(self) -> float:
        """Frames a second, measured over the last 90 frames; 0 when they have stopped coming."""
        period = (self._monos[-1] - self._monos[0]) / (len(self._monos) - 1) if len(self._monos) > 1 else 0.0
        quiet = not period or time.monotonic() - self._monos[-1] > max(2.0, 3 * period)
        return 0.0 if quiet else 1 / period

    def enter(self, state: str, why: str = "") -> None:
        """From now on the source is in this state; a change is logged."""
        changed = (state, why) != (self.state, self.why)
        if state != self.state:
            self.since = time.time()
        self.state, self.why = state, why
        if changed:
            log = self._log.info if state in _EXPECTED else self._log.warning
            log("source.changed", state=state, why=why)

    def next_seq(self, width: int, height: int, mono: float) -> int:
        """Count a frame of this size, captured at `mono` (monotonic seconds), that is handed on. Returns its number."""
        if self.state not in ("running", "frozen"):
            self.enter("running")
        self._monos.append(mono)
        self.width, self.height = width, height
        self.captured += 1
        self.frames += 1
        return self.captured - 1

    def unreadable_frame(self, why: str) -> None:
        """One of the frames that will be said to be left out could not be decoded."""
        self._said["unreadable"] += 1
        if self.last_error != why:
            self.last_error = why
            self._log.warning("frame.unreadable", why=why)

    def stale_frame(self) -> None:
        """One of the frames that will be said to be left out came too late."""
        self._said["stale"] += 1

    def left_out(self, count: int) -> None:
        """Count frames that the source gave and that are not handed on: for the reasons told, else for being busy."""
        self.captured += count
        for reason in ("unreadable", "stale"):
            n = min(count, self._said[reason])
            count -= n
            self._said[reason] -= n
            if n:
                self._on_dropped(reason, n)
        if count:
            self._on_dropped("busy", count)

    def begin_anew(self) -> None:
        """The worker is gone; the next one meets the same unreadable frames again."""
        self._said.clear()

    def left_out_fatal(self, position: int, last: str) -> None:
        """Count the frame at `position` as unreadable: worker after worker died while reading it, at last of `last`."""
        self._log.error("frame.skipped", position=position, why="workers die of it", last=last)
        self._said["unreadable"] = 1
        self.left_out(1)
