# SPDX-License-Identifier: AGPL-3.0-or-later
"""What became of a model's frames: counted all the time, gaps between results only while somebody watches for them."""

from __future__ import annotations

from collections.abc import Mapping

NOT_OURS = "unreadable"
"""Why a frame has no result that no engine can change: the source's doing."""


class FrameTally:
    """Frames of all pipelines on one model. On the event loop's thread, with every frame: it only counts."""

    def __init__(self) -> None:
        self.results = 0
        self.boxes = 0  # found in them
        self.dropped: dict[str, int] = {}  # frames without a result, by reason
        self._last: dict[str, float] = {}  # when each pipeline had its last result, monotonic seconds
        self._windows: list[FrameWindow] = []

    def result(self, pipeline: str, now: float, boxes: int = 0) -> None:
        """A frame of the pipeline has a result, with so many boxes, at `now` (monotonic seconds)."""
        self.results += 1
        self.boxes += boxes
        if self._windows and (last := self._last.get(pipeline)) is not None:
            for window in self._windows:
                window.gap(now - last)
        self._last[pipeline] = now

    def drop(self, reason: str, count: int) -> None:
        """So many frames will have none."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def forget(self, pipeline: str) -> None:
        """It has stopped: what comes after that is no gap."""
        self._last.pop(pipeline, None)

    def open(self) -> FrameWindow:
        """Watch from now on, until `close`."""
        window = FrameWindow(self)
        self._windows.append(window)
        return window

    def close(self, window: FrameWindow) -> None:
        """Watch no more. Idempotent."""
        if window in self._windows:
            self._windows.remove(window)


class FrameWindow:
    """What happened to the frames since the window was opened."""

    def __init__(self, tally: FrameTally) -> None:
        self.longest_gap_s: float | None = None
        self._tally = tally
        self._results = tally.results
        self._dropped = dict(tally.dropped)

    def gap(self, seconds: float) -> None:
        """Between two results of one pipeline, the later of them just now."""
        if self.longest_gap_s is None or seconds > self.longest_gap_s:
            self.longest_gap_s = seconds

    @property
    def results(self) -> int:
        """Frames with a result."""
        return self._tally.results - self._results

    @property
    def dropped(self) -> Mapping[str, int]:
        """Frames without one, by reason."""
        since = {reason: n - self._dropped.get(reason, 0) for reason, n in self._tally.dropped.items()}
        return {reason: n for reason, n in since.items() if n}

    @property
    def lost(self) -> int:
        """Frames that were captured, and have no result."""
        return sum(n for reason, n in self.dropped.items() if reason != NOT_OURS)
