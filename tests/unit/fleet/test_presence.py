# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a node writes its presence, and what it makes of another one that writes it, too."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from edgeagent.core.write_pace import BURST, REFRESH_S
from edgeagent.errors import UnavailableError
from edgeagent.fleet import presence
from edgeagent.fleet.presence import Announcer, presence_key
from edgeagent.intent.port import ABSENT, Entry
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
        self._value: bytes | None = None
        self._kept_alive = 0
        self._looked = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def lease(self, ttl_s: float) -> PaperStore:
        self.leases += 1
        return self

    def keep_alive(self) -> bool:
        self._kept_alive += 1
        self._loop.call_soon_threadsafe(self._looked.set)
        if not self.alive:
            self._value = None
        return self.alive

    def get(self, key: str) -> Entry:
        return Entry(key, self._value, ABSENT if self._value is None else "1")

    async def looks(self, times: int) -> None:
        """Until the lease was kept alive so many times in all."""
        while self._kept_alive < times:
            self._looked.clear()
            await self._looked.wait()

    def put(self, key: str, value: bytes, lease: object) -> None:
        if self.failures:
            self.failures -= 1
            raise UnavailableError("config store", "away", "wait")
        self._value = value
        said = json.loads(value)["said"].encode()
        self._loop.call_soon_threadsafe(self.written.put_nowait, (key, said))


async def announced(bus: Bus, scenario: Any, value: Any = lambda: b"same") -> None:
    """Run the scenario beside an announcer of node n1, which has `value()` to say at any time."""
    store = PaperStore()
    announcer = Announcer(cast("Any", store), "n1", lambda: _summary(value()), bus, instance="i1")
    task = asyncio.create_task(announcer.run(lambda: True))
    try:
        async with asyncio.timeout(PATIENCE_S):
            await scenario(store)
    finally:
        task.cancel()


def _summary(value: bytes) -> presence.Summary:
    return lambda ts: json.dumps({"instance": "i1", "said": value.decode()}).encode()


def looks_every(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """In the place of what is left to chance."""
    monkeypatch.setattr(presence, "until_next_look_s", lambda uniform: seconds)


def counting() -> Any:
    """Something else to say each time, numbers that grow."""
    count = iter(range(100_000))
    return lambda: str(next(count)).encode()


def test_a_decision_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not only when the time has come: who watches the fleet sees a swap when it happens."""
    looks_every(monkeypatch, 1e6)
    bus = Bus()

    async def scenario(store: PaperStore) -> None:
        assert await store.written.get() == (presence_key("n1"), b"0")
        bus.publish(SWAP)
        assert (await store.written.get())[1] == b"1"
        assert store.leases == 1

    asyncio.run(announced(bus, scenario, counting()))


def test_the_time_makes_it_write_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any decision: a camera that is lost is seen at the next look."""
    looks_every(monkeypatch, 0.01)

    async def scenario(store: PaperStore) -> None:
        assert [(await store.written.get())[1] for _ in range(3)] == [b"0", b"1", b"2"]

    asyncio.run(announced(Bus(), scenario, counting()))


def test_what_has_not_changed_is_only_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each writing stays in the store's history and fills it; keeping a lease alive leaves nothing behind."""
    looks_every(monkeypatch, 0.001)

    async def scenario(store: PaperStore) -> None:
        await store.looks(100)
        await store.written.get()
        assert store.written.empty()
        store.alive = False
        await store.looks(101)
        store.alive = True
        await store.written.get()  # its key had vanished with the lease

    asyncio.run(announced(Bus(), scenario))


def test_what_changes_all_the_time_is_written_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    """A camera that comes and goes must not fill the store."""
    looks_every(monkeypatch, 0.001)

    async def scenario(store: PaperStore) -> None:
        await store.looks(200)
        assert store.written.qsize() <= BURST + 1

    asyncio.run(announced(Bus(), scenario, counting()))


def test_a_key_that_vanished_comes_back_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much was written before: a node that has no key is taken for dead."""
    looks_every(monkeypatch, 0.001)

    async def scenario(store: PaperStore) -> None:
        await store.looks(200)
        spent = store.written.qsize()
        store.alive = False
        await store.looks(210)
        assert store.written.qsize() >= spent + 5

    asyncio.run(announced(Bus(), scenario, counting()))


def test_a_store_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The next time, or with the next decision; it is said once, not each time."""
    looks_every(monkeypatch, 0.01)

    async def scenario(store: PaperStore) -> None:
        store.failures = 3
        assert (await store.written.get())[1] == b"3"

    with capture_logs() as logs:
        asyncio.run(announced(Bus(), scenario, counting()))
    assert [line["event"] for line in logs] == ["presence.failed"]


class Plant:
    """One presence key, and the time, which is the test's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.value: bytes | None = None
        self.lease: object = None
        self.writings = 0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def start(self, instance: str) -> Process:
        """Another process with the same node id."""
        store = cast("Any", Process.Store(self))
        announcer = Announcer(store, "n1", cast("Any", None), Bus(), instance=instance)
        return Process(self, announcer, instance)

    def end(self, process: Process) -> None:
        """Its lease ends."""
        if self.holder == process.instance:
            self.value = None

    def pass_time(self, seconds: float, *processes: Process) -> None:
        """They look in turns, every 15 s."""
        until = self.now + seconds
        while self.now < until:
            self.now += 15
            for process in processes:
                process.look()

    @property
    def holder(self) -> str:
        return json.loads(self.value)["instance"] if self.value else ""


@dataclass
class Process:
    """One that writes the key."""

    plant: Plant
    announcer: Announcer
    instance: str

    @dataclass
    class Store:
        """A process's own connection, with one lease that lives."""

        plant: Plant

        def lease(self, ttl_s: float) -> Process.Store:
            return self

        def keep_alive(self) -> bool:
            return True

        def get(self, key: str) -> Entry:
            return Entry(key, self.plant.value, ABSENT if self.plant.value is None else "1")

        def put(self, key: str, value: bytes, lease: object) -> None:
            self.plant.value = value
            self.plant.writings += 1

    def look(self) -> None:
        """As it does every so often."""
        url = f"http://{self.instance}/api/status"
        self.announcer.announce(
            lambda ts: json.dumps({"instance": self.instance, "status_url": url}).encode()
        )


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Where nobody runs yet."""
    return Plant(monkeypatch)


def test_one_that_is_started_again_takes_its_old_key(plant: Plant) -> None:
    """At once, although the old lease lives on; that is no conflict, then or later."""
    plant.start("before").look()
    node = plant.start("after")
    with capture_logs() as logs:
        node.look()
        assert plant.holder == "after"
        plant.pass_time(2 * REFRESH_S, node)
    assert node.announcer.conflict == ""
    assert not logs


def test_two_with_one_id_both_say_so(plant: Plant) -> None:
    """Within two looks each; each once, naming the other; and the one that was there first has the key."""
    first, second = plant.start("first"), plant.start("second")
    first.look()
    with capture_logs() as logs:
        second.look()
        plant.pass_time(30, first, second)
    assert [(line["event"], line["instance"], line["other_instance"]) for line in logs] == [
        ("presence.conflict", "first", "second"),
        ("presence.conflict", "second", "first"),
    ]
    assert "http://second/api/status" in first.announcer.conflict
    assert "node.id" in second.announcer.conflict
    assert plant.holder == "first"


def test_two_with_one_id_do_not_fight_for_the_key(plant: Plant) -> None:
    """For hours: hardly more writings than two nodes make that have an id each, and no further line in the log."""
    first, second = plant.start("first"), plant.start("second")
    plant.pass_time(60, first, second)
    plant.writings = 0
    with capture_logs() as logs:
        plant.pass_time(12 * REFRESH_S, first, second)
    assert plant.writings <= 2 * 12 + 2
    assert not logs
    assert first.announcer.conflict
    assert second.announcer.conflict


@pytest.mark.parametrize("who_ends", [0, 1])
def test_a_conflict_is_over_when_one_of_them_ends(plant: Plant, who_ends: int) -> None:
    """The other has the key, at once or still, and says after a while that all is well."""
    both = [plant.start("first"), plant.start("second")]
    plant.pass_time(60, *both)
    ended, stays = both[who_ends], both[1 - who_ends]
    plant.end(ended)
    plant.pass_time(15, stays)
    assert plant.holder == stays.instance
    plant.pass_time(2 * REFRESH_S + 15, stays)
    assert stays.announcer.conflict == ""


def test_a_value_that_nobody_understands_is_anothers(plant: Plant) -> None:
    """An older release's, or written by hand: it is taken, and said when it comes again."""
    plant.value = b"\xff{"
    node = plant.start("node")
    node.look()
    assert plant.holder == "node"
    plant.value = b"by hand"
    node.look()
    assert "another process writes /edgeagent/nodes/n1" in node.announcer.conflict


def test_a_key_that_was_deleted_by_hand_comes_back(plant: Plant) -> None:
    """With the next look, though nothing has changed."""
    node = plant.start("node")
    node.look()
    plant.value = None
    node.look()
    assert plant.holder == "node"
