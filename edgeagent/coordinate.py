# SPDX-License-Identifier: AGPL-3.0-or-later
"""A coordinator of roll-outs as a process of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from edgeagent.fleet.coordinator import Coordinator
from edgeagent.observe.foreground import run_foreground
from edgeagent.observe.logs import setup_logging
from edgeagent.observe.systemd import SystemdNotifier, watchdog_interval
from edgeagent.update.background import for_ever

_log = structlog.get_logger(__name__)
_TOLD_S = 1.0


def run_coordinator(coordinator: Coordinator, store_url: str) -> int:
    """Run in the foreground until SIGTERM or SIGINT. Returns the exit code. store_url: for the log."""
    level = "debug" if logging.getLogger().isEnabledFor(logging.DEBUG) else "info"
    setup_logging(level, "auto")
    return run_foreground(partial(_run, coordinator, store_url))


async def _run(coordinator: Coordinator, store_url: str, stop: asyncio.Event) -> None:
    notifier = SystemdNotifier()
    telling: Callable[[], Awaitable[None]] = partial(_tell, coordinator, notifier)
    running = [asyncio.create_task(for_ever(task)) for task in (*coordinator.tasks, telling)]
    _log.info("coordinator.started", config_store=store_url)
    notifier.ready(coordinator.state.in_words())
    await stop.wait()
    notifier.stopping()
    for task in running:
        task.cancel()
    await coordinator.stop()
    _log.info("coordinator.stopped")


async def _tell(coordinator: Coordinator, notifier: SystemdNotifier) -> None:
    """Once a second: the status line; and the watchdog, which each look feeds, also one that found the store away."""
    interval = watchdog_interval()
    seen = -1
    while True:
        await asyncio.sleep(_TOLD_S)
        notifier.status(coordinator.state.in_words())
        if interval is not None and coordinator.looks != seen:
            seen = coordinator.looks
            notifier.watchdog()
