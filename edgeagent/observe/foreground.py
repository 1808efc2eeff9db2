# SPDX-License-Identifier: AGPL-3.0-or-later
"""A process in the foreground: its signals, its log, and its end, which comes in time whatever hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from typing import Any

from edgeagent.observe.logs import stop_logging

STOP_S = 9
"""How long an end in order may take; a service manager, or somebody at a terminal, waits for ten seconds at most."""


def run_foreground(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> int:
    """Run `main` until SIGTERM or SIGINT, which set the event that it is given, and nine seconds longer at most.

    Returns the exit code. The log is written to its end, and stopped. Raises what `main` raises.
    """
    code = 1
    try:
        asyncio.run(_until_asked(main))
        code = 0
    finally:
        if not stop_logging():
            # Whoever reads the log has stopped: the interpreter would wait for its lines at the end, or abort.
            os._exit(code)
    return code


async def _until_asked(main: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end(*_: object) -> None:
        # Whatever hangs then, be it a disk, a sink or the event loop: the kernel ends the process, and its workers go
        # with it.
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        if not signal.getitimer(signal.ITIMER_REAL)[0]:  # who asks again gets no more time for it
            signal.alarm(STOP_S)
        loop.call_soon_threadsafe(stop.set)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    await main(stop)
