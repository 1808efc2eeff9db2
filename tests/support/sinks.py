# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records to write, and sinks that do what the test says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

from edgeagent.sinks.port import Record, SinkError


def record(seq: int, name: str = "dent") -> Record:
    """One detection in frame `seq`."""
    box = (0.0, 0.0, 1.0, 1.0, 0.5, 0.0)
    return Record("line-1", seq, 1.5, "yolo", "v1", "sha256:a", 1, 9.5, (name,), (box,))


def records(first: int, count: int) -> list[Record]:
    """So many frames, one after the other."""
    return [record(seq) for seq in range(first, first + count)]


class StuckSink:
    """Writes nothing until it may, and remembers what it got. `fails`: what the next batches end with."""

    def __init__(self, name: str = "stuck", stuck: bool = True) -> None:
        self.name = name
        self._permits = threading.Semaphore(0)
        self._free = not stuck
        self.seen: list[int] = []
        self.fails: list[BaseException] = []
        self.closed = 0

    def permit(self, batches: int) -> None:
        """Let it write so many."""
        self._permits.release(batches)

    def free(self) -> None:
        """Let it write whatever comes."""
        self._free = True
        self._permits.release(100)  # whoever waits now

    def write(self, batch: Sequence[Record]) -> None:
        """Wait until it may; a SinkError loses the last of the batch."""
        if not self._free:
            self._permits.acquire()
        error = self.fails.pop(0) if self.fails else None
        kept = batch[: len(batch) - error.lost] if isinstance(error, SinkError) else batch
        self.seen += [r.seq for r in kept if error is None or isinstance(error, SinkError)]
        if error:
            raise error

    def close(self) -> None:
        """Counted."""
        self.closed += 1


async def until(fulfilled: Callable[[], object], deadline_s: float = 60.0) -> None:
    """Return when it is fulfilled; fails after the deadline."""
    async with asyncio.timeout(deadline_s):
        while not fulfilled():
            await asyncio.sleep(0.002)
