# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node as a process: its log, its signals, and its end, which comes in time whatever hangs."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import structlog

from edgeagent.config import Config, clear_text_secrets, load_config
from edgeagent.node import Node
from edgeagent.observe.logs import setup_logging, stop_logging

STOP_S = 9
"""How long an end in order may take; a service manager, or somebody at a terminal, waits for ten seconds at most."""

_log = structlog.get_logger(__name__)


def run_node(config_path: Path) -> int:
    """Run in the foreground until SIGTERM or SIGINT, and nine seconds longer at most. Returns the exit code.

    Raises UsageError, UnavailableError.
    """
    config = load_config(config_path)
    setup_logging(config.log.level, config.log.format)
    for where, why in clear_text_secrets(config):
        _log.warning("secret.exposed", where=where, why=why)
    code = 1
    try:
        code = asyncio.run(_run(config, config_path))
    finally:
        if not stop_logging():
            # Whoever reads the log has stopped: the interpreter would wait for its lines at the end, or abort.
            os._exit(code)
    return code


async def _run(config: Config, config_path: Path) -> int:
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
    node = Node(config)
    loop.add_signal_handler(signal.SIGHUP, node.reload, config_path)
    try:
        await node.start()
        await stop.wait()
    finally:
        await node.stop()
    return 0
