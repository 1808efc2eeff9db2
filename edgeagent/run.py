# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node as a process."""

from __future__ import annotations

import asyncio
import signal
from functools import partial
from pathlib import Path

import structlog

from edgeagent.config import Config, clear_text_secrets, load_config
from edgeagent.node import Node
from edgeagent.observe.foreground import run_foreground
from edgeagent.observe.logs import setup_logging
from edgeagent.update.background import BackgroundTasks

_log = structlog.get_logger(__name__)


def run_node(config_path: Path) -> int:
    """Run in the foreground until SIGTERM or SIGINT. Returns the exit code. Raises UsageError, UnavailableError."""
    config = load_config(config_path)
    setup_logging(config.log.level, config.log.format)
    for where, why in clear_text_secrets(config):
        _log.warning("secret.exposed", where=where, why=why)
    return run_foreground(partial(_run, config, config_path))


async def _run(config: Config, config_path: Path, stop: asyncio.Event) -> None:
    node = Node(config, config_path)
    reloads = BackgroundTasks(signal="SIGHUP")
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: reloads.start(node.reload()))
    try:
        await node.start()
        await stop.wait()
    finally:
        await node.stop()
