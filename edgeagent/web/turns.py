# SPDX-License-Identifier: AGPL-3.0-or-later
"""Requests get on one after the other: frames pass between any two, and all together take a part of the loop's time."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable

import structlog

SHARE = 0.25
BURST_S = 0.5
MAX_PAUSE_S = 0.05
_log = structlog.get_logger(__name__)


class LoopShare:
    """How long to pause after some work, so that all of it takes `share` of the time; a part that was not used is
    kept for `burst_s` seconds, in which nothing need pause. No pause is longer than MAX_PAUSE_S: who waits gets on."""

    def __init__(self, share: float = SHARE, burst_s: float = BURST_S) -> None:
        self._share = share
        self._burst_s = burst_s
        self._paid_until = 0.0

    def pause(self, used_s: float, now: float) -> float:
        """Seconds to pause at `now` (monotonic), after work that took `used_s`."""
        self._paid_until = max(self._paid_until, now - self._burst_s) + used_s / self._share
        self._paid_until = min(self._paid_until, now + MAX_PAUSE_S)
        return max(0.0, self._paid_until - now)


class Turns:
    """Whoever has something to do for a client asks for a turn. To be used on the event loop.

    The addresses take turns, whatever each of them wants: who is alone with his gets it next, beside a crowd.
    """

    def __init__(self, share: LoopShare | None = None) -> None:
        self._share = share or LoopShare()
        self._queues: dict[str, deque[tuple[Callable[[], None], int]]] = {}
        self._some = asyncio.Event()

    def ask(self, peer: str, act: Callable[[], None], rounds: int = 1) -> None:
        """Call `act` when it is this address's turn. rounds: of the loop, until what it has set going is done."""
        self._queues.setdefault(peer, deque()).append((act, rounds))
        self._some.set()

    async def run(self) -> None:
        """Give turns, for ever."""
        while True:
            await self._some.wait()
            begin = time.thread_time()
            act, rounds = self._next()
            try:
                act()
            except Exception:  # noqa: BLE001  (a fault in one client's turn must not end those of the others)
                _log.exception("request.failed")
            await self.rest(begin, rounds)

    async def rest(self, begin: float, rounds: int = 1) -> None:
        """After work for a client that began at `begin` (thread_time): let frames pass, and keep to the share.

        The loop makes some rounds before the time is taken: what the work has set going belongs to it. It is processor
        time, for whatever else keeps the machine busy is not the clients' doing.
        """
        for _ in range(rounds):
            await asyncio.sleep(0)
        await asyncio.sleep(self._share.pause(time.thread_time() - begin, time.monotonic()))

    def _next(self) -> tuple[Callable[[], None], int]:
        peer, queue = next(iter(self._queues.items()))
        del self._queues[peer]
        turn = queue.popleft()
        if queue:
            self._queues[peer] = queue  # behind the other addresses
        if not self._queues:
            self._some.clear()
        return turn
