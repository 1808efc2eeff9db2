# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames in a real ring, without a camera."""

from __future__ import annotations

import asyncio
import mmap
import os
import time
from collections.abc import Callable

from edgeagent.serving.frame import Frame
from edgeagent.testing import PATIENCE_S
from edgeagent.workers.ring import Ring


async def until(look: Callable[[], object], what: str) -> None:
    """Until `look` gives something, while the event loop goes on."""
    deadline = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.002)


class Camera:
    """Frames of one size, each of one colour or of noise, in a real ring."""

    def __init__(self, width: int = 320, height: int = 192, slots: int = 4) -> None:
        self.width, self.height, self.seq = width, height, 0
        self.ring = Ring(1, slots, width * height * 3)
        self._memory = mmap.mmap(self.ring.fd, slots * self.ring.slot_bytes)

    def takes(self, grey: int | None = 128) -> Frame:
        """The next frame; None is noise."""
        slot = self.ring.acquire()
        assert slot is not None
        size = self.width * self.height * 3
        pixels = os.urandom(size) if grey is None else bytes([grey]) * size
        begin = slot * self.ring.slot_bytes
        self._memory[begin : begin + size] = pixels
        self.seq += 1
        now = time.monotonic()
        return Frame(
            "line-1", self.seq, self.ring, slot, self.width, self.height, time.time(), now, lambda _: None
        )

    @property
    def in_use(self) -> int:
        """Slots in use."""
        return self.ring.slots - self.ring.free
