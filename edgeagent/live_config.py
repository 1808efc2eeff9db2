# SPDX-License-Identifier: AGPL-3.0-or-later
"""The configuration that is in force on a running node: how another one takes its place, and what came of that."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from edgeagent.config import Config, load_config
from edgeagent.config.changes import Changes, changes_between
from edgeagent.core.events import AppendAudit
from edgeagent.core.text import MAX_TEXT, cut
from edgeagent.errors import EdgeAgentError
from edgeagent.lines import NodeLines
from edgeagent.observe.bus import Bus, ConfigChanged
from edgeagent.observe.logs import setup_logging
from edgeagent.status.config_status import ConfigStatus

_log = structlog.get_logger(__name__)


class LiveConfig:
    """One change at a time, in the order in which they are asked for. On the event loop; files are read in threads.

    A configuration with mistakes changes nothing. What can't be changed without a restart stays as it is, and is said.
    """

    def __init__(
        self, path: Path | None, lines: NodeLines, record: Callable[[str, AppendAudit], None], bus: Bus
    ) -> None:
        """path: of the configuration file; None where there is none. record: into the audit log."""
        self.path = path
        self._lines = lines
        self._record = record
        self._bus = bus
        self._lock = asyncio.Lock()
        self._started = asyncio.Event()
        self._users: list[Callable[[Config], None]] = []
        self._loaded = time.time()
        self._last = Changes(lines.config)
        self._error = ""

    @property
    def config(self) -> Config:
        """What is in force."""
        return self._lines.config

    def follow(self, user: Callable[[Config], None]) -> None:
        """Tell of each configuration that is in force from now on."""
        self._users.append(user)

    def status(self) -> ConfigStatus:
        """What there is to say of it."""
        return ConfigStatus(
            path=str(self.path) if self.path else None,
            loaded=self._loaded,
            changed=list(self._last.said),
            needs_restart=list(self._last.restart),
            error=self._error or None,
        )

    def start(self) -> None:
        """The lines run: from now on they can be changed. Who asked before that waits no longer."""
        self._started.set()

    async def reload(self, by: str) -> None:
        """Take over what the file says now. Raises EdgeAgentError when it has mistakes; then nothing has changed."""
        await self._started.wait()
        async with self._lock:
            await self._reload(by)

    async def close(self, timeout_s: float) -> None:
        """Return when no change is under way any more; none begins after that. timeout_s: seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._lock.acquire(), timeout_s)

    async def _reload(self, by: str) -> None:
        if self.path is None:
            return
        try:
            config = await asyncio.to_thread(load_config, self.path)
            changes = changes_between(self.config, config)
            self._lines.check(changes)
        except EdgeAgentError as e:
            self._error = str(e)
            _log.error("config.refused", note="the old one stays", why=str(e))
            raise
        await self._take_over(changes, by)

    async def _take_over(self, changes: Changes, by: str) -> None:
        setup_logging(changes.config.log.level, changes.config.log.format)
        await self._lines.carry_out(changes)
        for user in self._users:
            user(changes.config)
        self._last, self._loaded, self._error = changes, time.time(), ""
        _log.info("config.changed", by=by, changed=list(changes.said), needs_restart=list(changes.restart))
        if changes.said:
            why = cut("; ".join(changes.said), MAX_TEXT)
            self._record("", AppendAudit("config", "changed", by, why=why))
        self._bus.publish(
            ConfigChanged(
                by,
                changes.said,
                added=tuple(p.name for p in changes.added),
                removed=tuple(p.name for p in changes.removed),
                changed=tuple(c.now.name for c in changes.changed),
            )
        )
