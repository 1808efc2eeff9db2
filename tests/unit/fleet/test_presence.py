# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a node writes its presence."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from edgeagent.errors import UnavailableError
from edgeagent.fleet import presence
from edgeagent.fleet.presence import Announcer, presence_key
from edgeagent.observe.audit import AuditRecord
from edgeagent.observe.bus import AuditAppended, Bus

SWAP = AuditAppended(AuditRecord("update", "yolo", result="swapped"))
PATIENCE_S = 30.0


class PaperStore:
    """A key-value store whose leases live as long as the test wants, and which may fail."""

    def __init__(self) -> None:
        self.written: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.leases = 0
        self.alive = True
        self.failures = 0
        self._loop = asyncio.get_running_loop()

    def lease(self, ttl_s: float) -> PaperStore:
        self.leases += 1
        return self

    def keep_alive(self) -> bool:
        return self.alive

    def put(self, key: str, value: bytes, lease: object) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("config store", "away", "wait")
        self._loop.call_soon_threadsafe(self.written.put_nowait, (key, value))


async def announced(bus: Bus, scenario: Any) -> None:
    """Run the scenario beside an announcer of node n1, whose status is a number that grows."""
    store, count = PaperStore(), iter(range(100))
    announcer = Announcer(cast("Any", store), "n1", lambda: str(next(count)).encode(), bus)
    task = asyncio.create_task(announcer.run(lambda: True))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await scenario(store)
    finally:
        task.cancel()


def test_a_decision_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when the time has come: who watches the fleet sees a swap when it happens."""
    monkeypatch.setattr(presence, "EVERY_S", 1e6)
    bus = Bus()

    async def scenario(store: PaperStore) -> None:
        assert await store.written.get() == (presence_key("n1"), b"0")
        bus.publish(SWAP)
        assert (await store.written.get())[1] == b"1"
        assert store.leases == 1

    asyncio.run(announced(bus, scenario))


def test_the_time_makes_it_write_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any decision; under a new lease where the old one is gone."""
    monkeypatch.setattr(presence, "EVERY_S", 0.01)

    async def scenario(store: PaperStore) -> None:
        store.alive = False
        assert [(await store.written.get())[1] for _ in range(3)] == [b"0", b"1", b"2"]
        assert store.leases >= 3

    asyncio.run(announced(Bus(), scenario))


def test_a_store_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next time, or with the next decision."""
    monkeypatch.setattr(presence, "EVERY_S", 0.01)

    async def scenario(store: PaperStore) -> None:
        store.failures = 2
        assert (await store.written.get())[1] == b"2"

    asyncio.run(announced(Bus(), scenario))
