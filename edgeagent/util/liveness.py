# SPDX-License-Identifier: AGPL-3.0-or-later
"""The clock by which what stands still is told from what could not run."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from weakref import WeakKeyDictionary

BEAT_S = 0.25
"""How often the event loop shows that it runs."""
GAP_S = 1.0
"""A longer time (seconds) without a beat is one in which this process did not run, but for so much of it."""


class LivenessClock:
    """Monotonic seconds, without those in which this process did not run.

    A freezer, SIGSTOP or a hypervisor stops a node and its workers alike, and the kernel's clock goes on: by that one
    all of them were silent for too long, and a version on probation was watched while nothing served. By this one
    nothing has happened. Safe to read from any thread; `beat` is for one.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen = clock(), 0.0  # the last beat, and what has not counted until then; replaced as one

    def now(self) -> float:
        """Seconds, on a scale of its own."""
        return self._read()[0]

    def beat(self) -> None:
        """This process runs. To be called every BEAT_S."""
        now, at = self._read()
        self._seen = at, at - now

    def _read(self) -> tuple[float, float]:
        at = self._clock()
        last, lost = self._seen
        return at - lost - max(0.0, at - last - GAP_S), at


_clocks: WeakKeyDictionary[asyncio.AbstractEventLoop, LivenessClock] = WeakKeyDictionary()


def liveness_clock() -> LivenessClock:
    """That of the running event loop, which beats as long as the loop runs. One for all who wait for a sign of life."""
    loop = asyncio.get_running_loop()
    if loop not in _clocks:
        clock = _clocks[loop] = LivenessClock()

        def beat() -> None:
            clock.beat()
            loop.call_later(BEAT_S, beat)

        beat()
    return _clocks[loop]
