# SPDX-License-Identifier: AGPL-3.0-or-later
"""This node's key in a config store: there while the node lives, gone soon after it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

import structlog

from edgeagent.errors import EdgeAgentError
from edgeagent.intent.port import KeyValueStore, Lease
from edgeagent.observe.bus import AuditAppended, Bus, EventStream

log = structlog.get_logger(__name__)

EVERY_S = 15.0
TTL_S = 45.0
AWAY_S = 1.0  # how often it is asked whether the store is back


def presence_key(node: str) -> str:
    """Key of a node's presence."""
    return f"/edgeagent/nodes/{node}"


class Announcer:
    """Writes what `describe` gives under a lease while the store is there: every EVERY_S seconds, and when something
    was decided about a model.

    The store is closed with it.
    """

    def __init__(self, store: KeyValueStore, node: str, describe: Callable[[], bytes], bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._key = presence_key(node)
        self._describe = describe
        self._lease: Lease | None = None

    async def run(self, connected: Callable[[], bool]) -> None:
        """For ever, on the event loop; `connected` says whether it is worth trying."""
        with self._bus.stream(AuditAppended, size=1) as decisions:  # several while one is written are one
            while True:
                if not connected():
                    await asyncio.sleep(AWAY_S)
                    continue
                try:
                    await asyncio.to_thread(self.announce, self._describe())
                except EdgeAgentError as e:
                    log.warning("presence.failed", key=self._key, why=str(e))
                await _wait(decisions)

    def announce(self, value: bytes) -> None:
        """Write the key under a lease that lives. Raises UnavailableError, UsageError."""
        if self._lease is None or not self._lease.keep_alive():
            self._lease = self._store.lease(TTL_S)
        self._store.put(self._key, value, self._lease)

    def close(self) -> None:
        """Nothing is written any more; the key vanishes with its lease. Idempotent."""
        self._store.close()


async def _wait(decisions: EventStream) -> None:
    """Until the next one, for at most EVERY_S seconds."""
    with suppress(TimeoutError):
        await asyncio.wait_for(anext(decisions), EVERY_S)
