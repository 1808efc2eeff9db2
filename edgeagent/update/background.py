# SPDX-License-Identifier: AGPL-3.0-or-later
"""Work that goes on beside the callbacks of the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import structlog

PAUSE_S = 1.0
_log = structlog.get_logger(__name__)


async def for_ever(task: Callable[[], Awaitable[None]]) -> None:
    """A fault in a task is logged, and the task begun again: operators depend on it, the line doesn't."""
    while True:
        try:
            await task()
        except Exception:  # noqa: BLE001  (whatever it is, the watchdog must go on being fed)
            _log.exception("task.failed", task=str(task))
            await asyncio.sleep(PAUSE_S)


class BackgroundTasks:
    """Tasks that nobody waits for until all are ended. `context`: fields for the log, where an error of one goes."""

    def __init__(self, **context: str) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = context

    def start(
        self,
        work: Coroutine[Any, Any, None],
        failed: Callable[[BaseException], None] = lambda error: None,
    ) -> asyncio.Task[None]:
        """Run it. failed: called with the error that it ends with, if it does: one that nobody thought of."""

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            error = None if task.cancelled() else task.exception()
            if error:
                _log.error("background.failed", **self._context, exc_info=error)
                failed(error)

        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(done)
        return task

    def cancel(self) -> None:
        """Have all of them end."""
        for task in self._tasks:
            task.cancel()

    async def ended(self) -> None:
        """Return when none is left."""
        if self._tasks:
            await asyncio.wait(self._tasks)
