# SPDX-License-Identifier: AGPL-3.0-or-later
"""The lead: of several coordinators, the one whose key is there decides about roll-outs.

The key lies under a lease, which elects: it vanishes with its leader. A lease excludes nobody, for who was suspended
doesn't know that it has ended. So each writing of the leader is a transaction that demands the leader's own key, and
the config store refuses it once that is gone or another's (docs/adr/0039-who-leads-may-write.md).
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from edgeagent.core.leader import Leader, decode_leader, encode_leader
from edgeagent.core.rollout import COORDINATOR_KEY
from edgeagent.errors import EdgeAgentError
from edgeagent.intent.port import ABSENT, Entry, Expected, KeyValueStore, Lease
from edgeagent.util.backoff import Backoff

log = structlog.get_logger(__name__)

TTL_S = 15.0
LOOK_S = (0.2, 0.5)
"""Limits of the time between two looks of one that waits for the lead (seconds)."""
_PER_TTL = 5  # looks of the leader in the time of its lease, at least
_FAILED_S = (0.5, 5.0)  # limits of the delay after the first and after many looks that failed


@dataclass(frozen=True)
class _Held:
    """The lead that this process has. created: of its key; until: when its lease may end, by the monotonic clock."""

    created: str
    until: float


class Lead:
    """Takes the lead when nobody has it, and keeps it. `run` on the event loop; the rest is for any thread.

    The store isn't closed with it. name: by which others know this one, "" for that of the machine. ttl_s: for how long
    the lead of one that gives no sign any more lasts (seconds). clock: monotonic, in seconds.
    """

    def __init__(
        self,
        store: KeyValueStore,
        *,
        name: str = "",
        ttl_s: float = TTL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.failure = ""
        """Why it isn't known who leads, while that can't be asked."""
        self.leader: Leader | None = None
        """Who led when that was last read, this process or another; None for nobody, or somebody who doesn't say."""
        self._store = store
        self._ttl_s = ttl_s
        self._clock = clock
        self._me = Leader(secrets.token_hex(8), name or socket.gethostname(), os.getpid(), 0.0)
        self._lease: Lease | None = None
        self._held: _Held | None = None
        self._unread = ""  # revision of a key that says nobody
        self._created = ""  # of the key that this process had last
        self._led_at: float | None = None  # when it was last known that somebody led
        self._took_after_s: float | None = None
        self._resigned = False
        self._lock = threading.Lock()  # of `look` and `resign`

    @property
    def expected(self) -> Expected | None:
        """What each writing of the leader has to demand; None while this process doesn't lead."""
        held = self._held
        if held is None or self._clock() >= held.until:
            return None
        return Expected(COORDINATOR_KEY, created=held.created)

    @property
    def leaderless_s(self) -> float | None:
        """For how many seconds, at most, no leader's key was there: until this process took the lead, else until now.

        None: this process has never seen a leader, so it doesn't know.
        """
        if self._held is not None:
            return self._took_after_s
        return None if self._led_at is None else self._clock() - self._led_at

    async def run(self) -> None:
        """For ever. To be cancelled before `resign`."""
        backoff = Backoff(*_FAILED_S)
        while True:
            try:
                await asyncio.to_thread(self.look)
            except EdgeAgentError as e:
                if str(e) != self.failure:
                    log.warning("lead.failed", key=COORDINATOR_KEY, why=str(e))
                self.failure = str(e)
                await asyncio.sleep(backoff.next_s())
                continue
            backoff.reset()
            self.failure = ""
            step = self._ttl_s / _PER_TTL
            await asyncio.sleep(random.uniform(*((step / 2, step) if self._held else LOOK_S)))

    def look(self) -> None:
        """Read who leads; take the lead if nobody does, and keep it if this process has it.

        Raises UnavailableError; UsageError where the store has no leases, or refuses the user.
        """
        with self._lock:
            if self._resigned:
                return
            now = self._clock()
            if self._held and now >= self._held.until:
                self._lose("its lease may have ended: no answer of the config store in time")
            entry = self._store.get(
                COORDINATOR_KEY
            )  # first: who can't read it is not to keep it from the others
            if self._lease and not self._lease.keep_alive():
                self._lose("its lease has ended")
                self._lease = None
                entry = self._store.get(COORDINATOR_KEY)
            if entry.value is None:
                self._lose("its key has vanished")
                entry = self._try_to_take()
            self._heed(entry, until=now + self._ttl_s)

    def resign(self) -> None:
        """Give up the lead, so that another has it at once, and take none any more. It blocks. Idempotent."""
        self._resigned = True
        self._held = None  # from now on, however long a look that is under way takes
        with self._lock:
            self._held = None
            lease, self._lease = self._lease, None
            if lease is None:
                return
            try:
                lease.revoke()
            except EdgeAgentError as e:
                log.warning("lead.lingers", key=COORDINATOR_KEY, why=str(e), for_s=self._ttl_s)
            else:
                log.info("lead.resigned", key=COORDINATOR_KEY)

    def _try_to_take(self) -> Entry:
        """The key afterwards, which says what came of it: another may have been quicker, or the answer got lost."""
        if self._lease is None:
            self._lease = self._store.lease(self._ttl_s)
        value = encode_leader(replace(self._me, since=time.time()))
        vacant = Expected(COORDINATOR_KEY, ABSENT)
        self._store.compare_and_set([vacant], {COORDINATOR_KEY: value}, self._lease)
        return self._store.get(COORDINATOR_KEY)

    def _heed(self, entry: Entry, until: float) -> None:
        """What was read of the key. until: when the lease ends that was renewed or asked for since."""
        before, self.leader = self.leader, None
        if entry.value is None:
            return
        self.leader = decode_leader(entry.value)
        if self._lease and self.leader and self.leader.id == self._me.id:
            self._hold(_Held(entry.created, until))
        else:
            self._lose("another one has it")
            self._give_back()
            if self.leader is None and self._unread != entry.revision:
                todo = f"if no newer release wrote it, delete it: etcdctl del {COORDINATOR_KEY}"
                log.warning("lead.unreadable", key=COORDINATOR_KEY, todo=todo)
            elif self.leader and self.leader != before:
                log.info("lead.followed", key=COORDINATOR_KEY, **_about(self.leader))
            self._unread = "" if self.leader else entry.revision
        self._led_at = self._clock()

    def _hold(self, held: _Held) -> None:
        if self._resigned:
            return
        if self._held is None:
            # Where the key outlived an outage of the store, this process led all the time, and couldn't know it.
            unknown = None if self._led_at is None else self._clock() - self._led_at
            self._took_after_s = 0.0 if held.created == self._created else unknown
            log.info(
                "lead.taken", key=COORDINATOR_KEY, leaderless_s=self._took_after_s, **_about(self.leader)
            )
        self._held, self._created = held, held.created

    def _lose(self, why: str) -> None:
        if self._held is not None:
            log.warning("lead.lost", key=COORDINATOR_KEY, why=why)
        self._held = None

    def _give_back(self) -> None:
        """A lease that there is no use for, nor for a key that is still on its way under it."""
        lease, self._lease = self._lease, None
        if lease:
            try:
                lease.revoke()
            except EdgeAgentError as e:  # it ends by itself
                log.debug("lease.left", key=COORDINATOR_KEY, why=str(e))


def _about(leader: Leader | None) -> dict[str, object]:
    return {"host": leader.host, "pid": leader.pid} if leader else {}
