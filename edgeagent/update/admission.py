# SPDX-License-Identifier: AGPL-3.0-or-later
"""When the work on a version may begin: at a moment of this node's own in a roll-out, and when it is its turn."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

import structlog

from edgeagent.core.events import Event, GaveWay, PrepareCandidate, StageReached
from edgeagent.core.fetch_spread import fetch_delay
from edgeagent.core.lifecycle import Stage
from edgeagent.core.update_queue import Precedence
from edgeagent.errors import EdgeAgentError
from edgeagent.store.cache import Cache
from edgeagent.update.trial_runner import PrepareSettings
from edgeagent.update.update_queue import Turn, UpdateQueue

_log = structlog.get_logger(__name__)


class Admission:
    """Of one candidate. What has to wait is ASPIRED meanwhile, and FETCHING then."""

    def __init__(
        self,
        model: str,
        command: PrepareCandidate,
        settings: PrepareSettings,
        queue: UpdateQueue,
        precedence: Callable[[], Precedence],
        report: Callable[[Event], None],
    ) -> None:
        """precedence: what it is worth beside others, asked for when it comes to the queue."""
        self._model = model
        self._command = command
        self._settings = settings
        self._queue = queue
        self._precedence = precedence
        self._report = report
        self._fetches_at: float | None = None
        self._turn: Turn | None = None

    @property
    def waits(self) -> str:
        """What it waits for, "" when it doesn't."""
        if self._fetches_at is not None:
            return f"fetches in {max(0.0, self._fetches_at - time.monotonic()):.0f} s"
        return self._turn.waits if self._turn else ""

    async def come(self) -> bool:
        """Return when the work may begin, and whether it had to wait for that. Whoever calls it calls `end`, too."""
        delay_s = await self._fetch_delay()
        if delay_s:
            self._fetches_at = time.monotonic() + delay_s
            self._say(Stage.ASPIRED)
            await asyncio.sleep(delay_s)
            self._fetches_at = None
        self._turn = self._queue.enter(
            self._model, self._precedence(), lambda: self._report(GaveWay(self._command.id))
        )
        waits = self._turn.waits
        if waits:
            version = self._command.goal.version
            _log.info("candidate.waits", model=self._model, version=version, why=waits)
            self._say(Stage.ASPIRED)
            await self._turn.come()
        if delay_s or waits:
            self._say(Stage.FETCHING)
        return bool(delay_s or waits)

    def end(self) -> None:
        """It is over, or as far as an update counts: the next may begin. Idempotent."""
        if self._turn:
            self._turn.end()

    async def _fetch_delay(self) -> float:
        """Seconds until it is fetched; what is in the cache is here already, and what is known to be good is missed."""
        goal = self._command.goal
        delay_s = fetch_delay(goal.directive, self._settings.fetch_spread_s, random.random())
        if not delay_s or not self._command.mode.is_unproven:
            return 0.0
        return 0.0 if await asyncio.to_thread(self._is_cached) else delay_s

    def _is_cached(self) -> bool:
        goal = self._command.goal
        try:
            return (
                Cache(self._settings.cache).lookup(self._model, goal.version, goal.digest or None) is not None
            )
        except (EdgeAgentError, OSError):
            return False  # whoever fetches says what is wrong with it

    def _say(self, stage: Stage) -> None:
        self._report(StageReached(self._command.id, stage))
