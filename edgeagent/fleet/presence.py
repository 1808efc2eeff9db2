# SPDX-License-Identifier: AGPL-3.0-or-later
"""This node's key in a config store: there while the node lives, gone soon after it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from edgeagent.core.write_pace import WritePace
from edgeagent.errors import EdgeAgentError
from edgeagent.intent.port import KeyValueStore, Lease
from edgeagent.observe.bus import AuditAppended, Bus, EventStream

log = structlog.get_logger(__name__)

NODES = "/edgeagent/nodes/"
EVERY_S = 15.0
TTL_S = 45.0
AWAY_S = 1.0  # how often it is asked whether the store is back

Summary = Callable[[float], bytes]
"""What there is to say, as the key's value once it is known when it is written (Unix seconds)."""


def presence_key(node: str) -> str:
    """Key of a node's presence."""
    return f"{NODES}{node}"


class Announcer:
    """Keeps this node's key alive while the store is there, and its value true to what `describe` gives.

    Every EVERY_S seconds, and when something was decided about a model, the lease is kept alive, which leaves no trace
    in the store's history; the value is written when it has changed, else seldom (core/write_pace.py), and at once
    when the key had vanished with its lease. The store is closed with it.
    """

    def __init__(self, store: KeyValueStore, node: str, describe: Callable[[], Summary], bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._key = presence_key(node)
        self._describe = describe
        self._lease: Lease | None = None
        self._written: tuple[float, bytes] | None = None  # when, and what; None while the key isn't there
        self._pace = WritePace(time.monotonic())
        self._failure = ""

    async def run(self, connected: Callable[[], bool]) -> None:
        """For ever, on the event loop; `connected` says whether it is worth trying."""
        with self._bus.stream(AuditAppended, size=1) as decisions:  # several while one is written are one
            while True:
                if not connected():
                    await asyncio.sleep(AWAY_S)
                    continue
                failure = ""
                try:
                    await asyncio.to_thread(self.announce, self._describe())
                except EdgeAgentError as e:
                    failure = str(e)
                if failure and failure != self._failure:
                    log.warning("presence.failed", key=self._key, why=failure)
                self._failure = failure
                await _wait(decisions)

    def announce(self, summary: Summary) -> None:
        """Keep the key alive, and write it where that is due. Raises UnavailableError, UsageError."""
        if self._lease is None or not self._lease.keep_alive():
            self._lease = self._store.lease(TTL_S)
            self._written = None
        now = time.monotonic()
        if self._written is not None:
            written_at, value = self._written
            if not self._pace.is_due(summary(written_at) != value, now):
                return
        ts = time.time()
        self._store.put(self._key, summary(ts), self._lease)
        self._written = (ts, summary(ts))
        self._pace = self._pace.after_writing(now)

    def close(self) -> None:
        """Nothing is written any more; the key vanishes with its lease. Idempotent."""
        self._store.close()


async def _wait(decisions: EventStream) -> None:
    """Until the next one, for at most EVERY_S seconds."""
    with suppress(TimeoutError):
        await asyncio.wait_for(anext(decisions), EVERY_S)
