# SPDX-License-Identifier: AGPL-3.0-or-later
"""A config store in memory, for tests of what reads and writes one: clock, answers and failures are the test's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgeagent.errors import UnavailableError
from edgeagent.intent.port import ABSENT, Entry, Expected, OnConnection, OnEntry, Outcome, Watch, check_prefix


class MemoryLease:
    """Lives for its time by the store's clock."""

    def __init__(self, store: MemoryStore, ttl_s: float) -> None:
        self._store = store
        self.ttl_s = ttl_s
        self.ends = store.now + ttl_s

    def keep_alive(self) -> bool:
        self._store.ask()
        if self._store.now >= self.ends:
            return False
        self.ends = self._store.now + self.ttl_s
        return True

    def revoke(self) -> None:
        self._store.ask()
        self.ends = self._store.now


class MemoryStore:
    """A KeyValueStore.

    now: its clock, in seconds, by which leases end. away: nothing is answered. transacting: called with the writes of
    each transaction before it is tried; what it returns, if anything, is what the caller learns of it, while the
    transaction does what it does.
    """

    url = "memory:"

    def __init__(self) -> None:
        self.now = 100.0
        self.away = False
        self.closed = False
        self.transacting: Callable[[Mapping[str, bytes | None]], Outcome | None] = lambda writes: None
        self._revision = 0
        self._entries: dict[str, tuple[Entry, MemoryLease | None]] = {}

    def clock(self) -> float:
        """The time, for whoever takes a clock."""
        return self.now

    def ask(self) -> None:
        """Raises UnavailableError while it is away."""
        if self.away:
            raise UnavailableError("config store", "away", "wait")

    def keys(self) -> list[str]:
        """What there is."""
        return sorted(key for key, (_, lease) in self._entries.items() if not lease or self.now < lease.ends)

    def value(self, key: str) -> bytes | None:
        """What lies under a key, whether the store is away or not."""
        return self._entries[key][0].value if key in self.keys() else None

    def get(self, key: str) -> Entry:
        self.ask()
        return self._entries[key][0] if key in self.keys() else Entry(key, None, ABSENT)

    def list(self, prefix: str) -> Sequence[Entry]:
        self.ask()
        check_prefix(prefix)
        return [self._entries[key][0] for key in self.keys() if key.startswith(prefix)]

    def put(self, key: str, value: bytes, lease: MemoryLease | None = None) -> None:
        self.ask()
        self.write({key: value}, lease)

    def lease(self, ttl_s: float) -> MemoryLease:
        self.ask()
        return MemoryLease(self, ttl_s)

    def compare_and_set(
        self,
        expected: Sequence[Expected],
        writes: Mapping[str, bytes | None],
        lease: MemoryLease | None = None,
    ) -> Outcome:
        self.ask()
        told = self.transacting(writes)
        found = [(e, self.get(e.key)) for e in expected]
        holds = all(
            e.revision in (None, now.revision) and e.created in (None, now.created) for e, now in found
        )
        if holds:
            self.write(writes, lease)
        return told or (Outcome.WRITTEN if holds else Outcome.REFUSED)

    def write(self, writes: Mapping[str, bytes | None], lease: MemoryLease | None = None) -> None:
        """By anybody, in one step; None deletes."""
        self._revision += 1
        for key, value in writes.items():
            before = self._entries[key][0] if key in self.keys() else None
            if value is None:
                self._entries.pop(key, None)
            else:
                created = before.created if before else str(self._revision)
                self._entries[key] = Entry(key, value, str(self._revision), created), lease

    def watch(self, keys: Sequence[str], on_entry: OnEntry, on_connection: OnConnection) -> Watch:
        raise NotImplementedError

    def close(self) -> None:
        self.closed = True
