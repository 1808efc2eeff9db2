# SPDX-License-Identifier: AGPL-3.0-or-later
"""Work for a version that is begun anew when somebody else's signal ended its worker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import TypeVar

import structlog

from edgeagent.core.interruption import MAX_ENDS, pause_after
from edgeagent.errors import WorkerKilledError
from edgeagent.update.worker_task import TaskKilledError

_log = structlog.get_logger(__name__)
T = TypeVar("T")


async def repeat_when_killed(work: Callable[[], Awaitable[T]], on_pause: Callable[[str], None]) -> T:
    """What `work` gives, however often it has to be begun until then (`core.interruption`).

    on_pause: called with why it waits, and with "" when it goes on. Raises what `work` raises; a TaskKilledError or
    WorkerKilledError only when it was killed time and again.
    """
    for ends in count(1):
        try:
            return await work()
        except (TaskKilledError, WorkerKilledError) as e:
            pause_s = pause_after(ends)
            if pause_s is None:
                raise
            why = f"{e.why}; end {ends} of {MAX_ENDS}, tried again in {pause_s:g} s"
        _log.warning("worker.killed", why=why)
        on_pause(why)
        await asyncio.sleep(pause_s)
        on_pause("")
    raise AssertionError  # `count` doesn't end
