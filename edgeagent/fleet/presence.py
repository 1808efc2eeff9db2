# SPDX-License-Identifier: AGPL-3.0-or-later
"""This node's key in a config store: there while the node lives, gone soon after it."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

import structlog

from edgeagent.core.presence import Rivalry, holder_of, until_asked_again_s, until_next_look_s
from edgeagent.core.write_pace import WritePace
from edgeagent.errors import EdgeAgentError
from edgeagent.intent.port import Entry, KeyValueStore, Lease
from edgeagent.observe.bus import AuditAppended, Bus, EventStream

log = structlog.get_logger(__name__)

NODES = "/edgeagent/nodes/"
TTL_S = 45.0
_TODO = "give each node an id of its own (node.id)"

Summary = Callable[[float], bytes]
"""What there is to say, as the key's value once it is known when it is written (Unix seconds)."""


def presence_key(node: str) -> str:
    """Key of a node's presence."""
    return f"{NODES}{node}"


class Announcer:
    """Keeps this node's key alive while the store is there, and its value true to what `describe` gives.

    Every 10 to 15 seconds, and when something was decided about a model, the lease is kept alive, which leaves no trace
    in the store's history; the value is written when it has changed, else seldom (core/write_pace.py), and at once
    when the key had vanished. Another process with the same node id is noticed, said, and not fought
    (core/presence.py). The store is closed with it.

    instance: of this process, which must stand in the value as `instance`.
    """

    def __init__(
        self, store: KeyValueStore, node: str, describe: Callable[[], Summary], bus: Bus, *, instance: str
    ) -> None:
        self._store = store
        self._bus = bus
        self._key = presence_key(node)
        self._describe = describe
        self._instance = instance
        self._lease: Lease | None = None
        self._written: tuple[float, bytes] | None = None  # when, and what; None while the key isn't ours
        self._pace = WritePace(time.monotonic())
        self._rivalry = Rivalry()
        self._failure = ""
        self.is_there = False
        """Whether the key was there, and this process's, when that was asked last."""

    @property
    def conflict(self) -> str:
        """What is wrong with this node's id; "" for nothing."""
        rivalry = self._rivalry
        if not rivalry.goes_on(time.monotonic()):
            return ""
        where = f", with its status at {rivalry.other.url}" if rivalry.other.url else ""
        return f"another process writes {self._key}, too{where}; {_TODO}"

    async def run(self, connected: Callable[[], bool]) -> None:
        """For ever, on the event loop; `connected` says whether it is worth trying."""
        with self._bus.stream(AuditAppended, size=1) as decisions:  # several while one is written are one
            while True:
                if not connected():
                    self.is_there = False
                    await asyncio.sleep(until_asked_again_s(random.uniform))
                    continue
                failure = ""
                try:
                    await asyncio.to_thread(self.announce, self._describe())
                except EdgeAgentError as e:
                    failure = str(e)
                if failure and failure != self._failure:
                    log.warning("presence.failed", key=self._key, why=failure)
                self._failure = failure
                self.is_there = not failure and self._written is not None
                await _wait(decisions)

    def announce(self, summary: Summary) -> None:
        """Keep the key alive, and write it where that is due. Raises UnavailableError, UsageError."""
        if self._lease is None or not self._lease.keep_alive():
            self._lease = self._store.lease(TTL_S)
            self._written = None
        now = time.monotonic()
        if not self._may_write(self._store.get(self._key), now):
            return
        if self._written is not None:
            written_at, value = self._written
            if not self._pace.is_due(summary(written_at) != value, now):
                return
        ts = time.time()
        self._rivalry = self._rivalry.writing()  # before: it may be written although the answer gets lost
        self._store.put(self._key, summary(ts), self._lease)
        self._written = (ts, summary(ts))
        self._pace = self._pace.after_writing(now)

    def _may_write(self, found: Entry, now: float) -> bool:
        """Whether the key is this node's, or nobody's, or may be taken from whoever has it."""
        if found.value is None:
            self._written = None
            self._rivalry = self._rivalry.finding_nobody()
            return True
        holder = holder_of(found.value)
        if holder.instance == self._instance:
            return True
        self._written = None
        was_known = self._rivalry.goes_on(now)
        self._rivalry = self._rivalry.finding(holder, now)
        if self._rivalry.goes_on(now) and not was_known:
            log.warning(
                "presence.conflict",
                key=self._key,
                instance=self._instance,
                other_instance=holder.instance,
                other_status_url=holder.url,
                todo=_TODO,
            )
        if not self._rivalry.may_take(now):
            return False
        self._rivalry = self._rivalry.taking(now)
        return True

    def close(self) -> None:
        """Nothing is written any more; the key vanishes with its lease. Idempotent."""
        self._store.close()


async def _wait(decisions: EventStream) -> None:
    """Until the next one, or the next look is due."""
    with suppress(TimeoutError):
        await asyncio.wait_for(anext(decisions), until_next_look_s(random.uniform))
