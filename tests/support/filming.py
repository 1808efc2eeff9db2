# SPDX-License-Identifier: AGPL-3.0-or-later
"""A Capture with a real worker, whose frames a test reads out of the ring."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from edgeagent.config import PipelineConfig
from edgeagent.serving.camera import Capture, CaptureObserver
from edgeagent.serving.frame import Frame
from edgeagent.workers.ring import RingView
from tests.support import films


class Filming:
    """An async context manager. Frames are looked at and released as they come, unless `keep` says to hold them.

    numbers: what the frames themselves say (see films); seqs: what the node says.
    """

    def __init__(self, url: object, keep: bool = False, **source: Any) -> None:
        config = {"name": "line", "model": "m", "source": {"url": str(url), **source}}
        self.keep = keep
        self.numbers: list[int] = []
        self.seqs: list[int] = []
        self.monos: list[float] = []
        self.sizes: list[tuple[int, int]] = []
        self.kept: list[Frame] = []
        self.dropped: dict[str, int] = {"busy": 0, "unreadable": 0}
        self.rings_gone: list[int] = []
        self.restarts = 0
        self._views: dict[int, RingView] = {}
        self.capture = Capture(
            PipelineConfig.model_validate(config),
            CaptureObserver(self._frame, self._dropped, self.rings_gone.append, self._restarted),
        )

    async def __aenter__(self) -> Filming:
        self.capture.start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.capture.stop()
        self.release()

    def release(self) -> None:
        """Give back what is kept, and keep no more."""
        self.keep = False
        kept, self.kept = self.kept, []
        for frame in kept:
            frame.release()

    async def until(self, fulfilled: Callable[[], bool], deadline_s: float = 60.0) -> None:
        """Wait for a condition; fails with what is so at the deadline."""
        try:
            async with asyncio.timeout(deadline_s):
                while not fulfilled():
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(
                f"not within {deadline_s} s: {self.capture.source.state} {self.capture.source.why}, {self.seqs[-5:]}"
            ) from None

    async def until_state(self, state: str, deadline_s: float = 60.0) -> None:
        """Wait until the source is in this state."""
        await self.until(lambda: self.capture.source.state == state, deadline_s)

    def _frame(self, frame: Frame) -> None:
        ring = frame.ring
        if ring.id not in self._views:
            self._views[ring.id] = RingView(os.dup(ring.fd), ring.slots, ring.slot_bytes)
        self.numbers.append(films.number(self._views[ring.id].image(frame.slot, frame.height, frame.width)))
        self.seqs.append(frame.seq)
        self.monos.append(frame.mono)
        self.sizes.append((frame.width, frame.height))
        if self.keep:
            self.kept.append(frame)
        else:
            frame.release()

    def _dropped(self, reason: str, count: int) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count

    def _restarted(self) -> None:
        self.restarts += 1
