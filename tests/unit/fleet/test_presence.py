# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a node writes its presence."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from edgeagent.core.write_pace import BURST
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
        self._kept_alive = 0
        self._looked = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def lease(self, ttl_s: float) -> PaperStore:
        self.leases += 1
        return self

    def keep_alive(self) -> bool:
        self._kept_alive += 1
        self._loop.call_soon_threadsafe(self._looked.set)
        return self.alive

    async def looks(self, times: int) -> None:
        """Until the lease was kept alive so many times in all."""
        while self._kept_alive < times:
            self._looked.clear()
            await self._looked.wait()

    def put(self, key: str, value: bytes, lease: object) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("config store", "away", "wait")
        self._loop.call_soon_threadsafe(self.written.put_nowait, (key, value))


async def announced(bus: Bus, scenario: Any, value: Any = lambda: b"same") -> None:
    """Run the scenario beside an announcer of node n1, which has `value()` to say at any time."""
    store = PaperStore()
    announcer = Announcer(cast("Any", store), "n1", lambda: _summary(value()), bus)
    task = asyncio.create_task(announcer.run(lambda: True))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await scenario(store)
    finally:
        task.cancel()


def _summary(value: bytes) -> presence.Summary:
    return lambda ts: value


def counting() -> Any:
    """Something else to say each time, numbers that grow."""
    count = iter(range(100_000))
    return lambda: str(next(count)).encode()


def test_a_decision_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when the time has come: who watches the fleet sees a swap when it happens."""
    monkeypatch.setattr(presence, "EVERY_S", 1e6)
    bus = Bus()

    async def scenario(store: PaperStore) -> None:
        assert await store.written.get() == (presence_key("n1"), b"0")
        bus.publish(SWAP)
        assert (await store.written.get())[1] == b"1"
        assert store.leases == 1

    asyncio.run(announced(bus, scenario, counting()))


def test_the_time_makes_it_write_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any decision: a camera that is lost is seen at the next look."""
    monkeypatch.setattr(presence, "EVERY_S", 0.01)

    async def scenario(store: PaperStore) -> None:
        assert [(await store.written.get())[1] for _ in range(3)] == [b"0", b"1", b"2"]

    asyncio.run(announced(Bus(), scenario, counting()))


def test_what_has_not_changed_is_only_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writing stays in the store's history and fills it; keeping a lease alive leaves nothing behind."""
    monkeypatch.setattr(presence, "EVERY_S", 0.001)

    async def scenario(store: PaperStore) -> None:
        await store.looks(100)
        assert store.written.qsize() == 1
        store.alive = False
        await store.looks(101)
        store.alive = True
        await store.looks(103)
        assert 2 <= store.written.qsize() == store.leases  # its key had vanished with the lease

    asyncio.run(announced(Bus(), scenario))


def test_what_changes_all_the_time_is_written_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that comes and goes must not fill the store."""
    monkeypatch.setattr(presence, "EVERY_S", 0.001)

    async def scenario(store: PaperStore) -> None:
        await store.looks(200)
        assert store.written.qsize() <= BURST + 1

    asyncio.run(announced(Bus(), scenario, counting()))


def test_a_key_that_vanished_comes_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much was written before: a node that has no key is taken for dead."""
    monkeypatch.setattr(presence, "EVERY_S", 0.001)

    async def scenario(store: PaperStore) -> None:
        await store.looks(200)
        spent = store.written.qsize()
        store.alive = False
        await store.looks(210)
        assert store.written.qsize() >= spent + 5

    asyncio.run(announced(Bus(), scenario, counting()))


def test_a_store_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next time, or with the next decision; it is said once, not each time."""
    monkeypatch.setattr(presence, "EVERY_S", 0.01)

    async def scenario(store: PaperStore) -> None:
        store.failures = 3
        assert (await store.written.get())[1] == b"3"

    with capture_logs() as logs:
        asyncio.run(announced(Bus(), scenario, counting()))
    assert [line["event"] for line in logs] == ["presence.failed"]
