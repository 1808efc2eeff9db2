# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every sink of the registry does: order, whole records, trouble that is counted, an end that comes."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from edgeagent.config import parse_config
from edgeagent.sinks import delivery
from edgeagent.sinks.jsonl import JsonlSinkConfig
from edgeagent.sinks.port import Record, Sink, SinkConfig, SinkError, SinkPlace
from edgeagent.sinks.queue import SinkHost, Sinks
from edgeagent.sinks.registry import BUILT_IN, open_sink
from tests.support.mosquitto import Listener, Mosquitto, listening
from tests.support.receiver import Receiver, receiving
from tests.support.sinks import record, records, until

HOST_NODE = "node-7"
STORED_RECORDS = 600
HUNG_RECORDS = 3000  # far more than any pipe or buffer takes


class Place(ABC):
    """Where one kind of sink writes to."""

    config: dict[str, Any]
    stores = False
    """Whether it keeps records on the disk until they have arrived."""

    @abstractmethod
    def written(self) -> list[Any]:
        """All that arrived, decoded, in order."""

    @abstractmethod
    def failing(self) -> AbstractContextManager[None]:
        """Meanwhile nothing can be written, and that shows at once."""

    @abstractmethod
    def hanging(self) -> AbstractContextManager[None]:
        """Meanwhile a write doesn't return; of a storing one: what is sent isn't answered."""


class FilePlace(Place):
    """A file; its folder is a file while it fails, and it is a pipe that nobody reads while it hangs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "out"
        self.path = self.folder / "line.jsonl"
        self.config = {"type": "jsonl", "path": str(self.path)}

    def written(self) -> list[Any]:
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    @contextmanager
    def failing(self) -> Iterator[None]:
        self.folder.write_text("a file where a folder should be")
        yield
        self.folder.unlink()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self.folder.mkdir()
        os.mkfifo(self.path)
        fd = os.open(self.path, os.O_RDWR | os.O_NONBLOCK)
        yield
        # The writer gets room again and goes on, until somebody has read what it was to write.
        os.set_blocking(fd, True)
        threading.Thread(target=_read_for_ever, args=[fd], daemon=True).start()


def _read_for_ever(fd: int) -> None:
    while os.read(fd, 1 << 16):
        pass


class CsvPlace(FilePlace):
    """A file of rows, of one day; read back by the csv module."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.path = self.folder / "line-19700101.csv"
        self.config = {"type": "csv", "path": str(self.folder / "line.csv")}

    def written(self) -> list[Any]:
        with self.path.open(newline="") as f:
            rows = list(csv.DictReader(f))
        template = record(0).as_dict()
        found = []
        for row in rows:
            box = [float(row[name]) for name in ("x1", "y1", "x2", "y2")]
            detection = {
                "cls": int(row["class"]),
                "name": row["name"],
                "conf": float(row["confidence"]),
                "xyxy": box,
            }
            assert row["time"] == "1970-01-01T00:00:01.500Z"
            found.append({**template, "seq": int(row["seq"]), "detections": [detection]})
        return found


class LogPlace(Place):
    """The log, whose stream refuses or doesn't return while it is in trouble."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config = {"type": "log"}
        self.lines: list[Any] = []
        self.goes_on = threading.Event()
        self.fails = False
        self.goes_on.set()
        structlog.configure(processors=[self._take], cache_logger_on_first_use=False)

    def _take(self, logger: object, method: str, event: Any) -> Any:
        if event["event"] == "detections":
            self.goes_on.wait()
            if self.fails:
                raise OSError("no stream")
            self.lines.append(event["record"])
        raise structlog.DropEvent

    def written(self) -> list[Any]:
        return self.lines

    @contextmanager
    def failing(self) -> Iterator[None]:
        self.fails = True
        yield
        self.fails = False

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self.goes_on.clear()
        yield
        self.goes_on.set()


class StoringPlace(Place):
    """A receiver over a network. What fails is the disk that has the queue: its folder is a file."""

    stores = True

    def __init__(self, folder: Path) -> None:
        self.state = folder / "state"

    @abstractmethod
    def payloads(self) -> list[Any]:
        """All that arrived, in order."""

    def written(self) -> list[Any]:
        """Without what the message adds to the record."""
        found = self.payloads()
        assert all(f["node"] == HOST_NODE for f in found)
        assert len({f["id"] for f in found}) == len(found)
        return [{name: value for name, value in f.items() if name not in ("id", "node")} for f in found]

    @contextmanager
    def failing(self) -> Iterator[None]:
        self.state.write_text("a file where a folder should be")
        yield
        self.state.unlink()


class MqttPlace(StoringPlace):
    """A topic of a real broker, which is frozen while it hangs."""

    def __init__(self, folder: Path, broker: Mosquitto, listener: Listener) -> None:
        super().__init__(folder)
        self.config = {"type": "mqtt", "url": broker.url}
        self._broker, self._listener = broker, listener

    def payloads(self) -> list[Any]:
        return [json.loads(payload) for payload in self._listener.payloads("/line-1/detections")]

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self._broker.freeze()
        yield
        self._broker.thaw()


class WebhookPlace(StoringPlace):
    """A receiver over HTTP, which doesn't answer while it hangs."""

    def __init__(self, folder: Path, receiver: Receiver) -> None:
        super().__init__(folder)
        self.config = {"type": "webhook", "url": receiver.url, "every_seconds": 0.05}
        self._receiver = receiver

    def payloads(self) -> list[Any]:
        return self._receiver.records()

    @contextmanager
    def hanging(self) -> Iterator[None]:
        self._receiver.goes_on.clear()
        yield
        self._receiver.goes_on.set()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """One for all tests."""
    with Mosquitto(tmp_path_factory.mktemp("broker")) as broker:
        yield broker


@pytest.fixture(params=[row.name for row in BUILT_IN if row.name != "snapshot"])  # which is given no records
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Where a sink of each kind writes to. A new row of the registry needs one here."""
    match request.param:
        case "jsonl":
            yield FilePlace(tmp_path)
        case "csv":
            yield CsvPlace(tmp_path)
        case "log":
            yield LogPlace(monkeypatch)
        case "mqtt":
            broker = request.getfixturevalue("broker")
            with listening(broker.port) as listener:
                yield MqttPlace(tmp_path, broker, listener)
        case "webhook":
            with receiving() as receiver:
                yield WebhookPlace(tmp_path, receiver)
        case kind:
            raise NotImplementedError(f"the contract suite has no place for a {kind} sink")
    structlog.reset_defaults()


def _config(place: Place, **fields: Any) -> SinkConfig:
    line = {"name": "line-1", "model": "yolo", "source": {"url": "/x"}, "sinks": [place.config | fields]}
    (config,) = parse_config({"pipelines": [line]}).pipelines[0].sinks
    return config


def _sinks(
    place: Place, tmp_path: Path, configs: Sequence[SinkConfig], *told: Callable[..., None], **more: int
) -> Sinks:
    return Sinks("line-1", configs, *(told or [lambda behind: None]), host=_host(tmp_path), **more)


def _host(tmp_path: Path) -> SinkHost:
    return SinkHost(HOST_NODE, tmp_path / "state")


def _open(place: Place, tmp_path: Path) -> Sink:
    return open_sink(_config(place), SinkPlace(HOST_NODE, "line-1", "run", tmp_path / "state" / "line-1"))


def _arrives(place: Place, first: int, count: int) -> None:
    """What is written is there, at once or soon."""
    deadline = time.monotonic() + 60
    while place.stores and len(place.written()) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    assert place.written() == _as_dicts(records(first, count))


def _as_dicts(found: list[Record]) -> list[dict[str, Any]]:
    return [r.as_dict() for r in found]


def test_records_arrive_whole_and_in_order(place: Place, tmp_path: Path) -> None:
    """What is queued when it closes is written out; what is stored, too, as far as it can be within some seconds."""

    async def steps() -> None:
        sinks = _sinks(place, tmp_path, [_config(place)])
        for r in records(0, 1000):
            sinks.write(r)
        if place.stores:
            await until(lambda: sinks.status()["written"] == 1000)
        await sinks.close(timeout_s=60)
        _arrives(place, 0, 1000)
        status = sinks.status()
        assert (status["written"], status["lost"], status["queued"]) == (1000, 0, 0)

    asyncio.run(steps())


def test_a_failing_write_is_counted_said_and_got_over(place: Place, tmp_path: Path) -> None:
    """None of these records arrives, those that come later do, and nobody has to restart anything."""

    async def steps() -> None:
        errors: list[str] = []
        with place.failing():
            sinks = _sinks(place, tmp_path, [_config(place)], lambda behind: None, errors.append)
            for r in records(0, 300):
                sinks.write(r)
            await until(lambda: sinks.status()["lost"] == 300)
            assert len(sinks.status()["errors"]) == 1
        seq = 299

        def one_more_arrives() -> bool:
            nonlocal seq
            seq += 1
            sinks.write(record(seq))
            return bool(sinks.status()["written"])

        await until(one_more_arrives)

        def all_are_accounted_for() -> bool:
            status = sinks.status()
            return not status["errors"] and status["written"] + status["lost"] == seq + 1

        await until(all_are_accounted_for)
        await sinks.close(timeout_s=60)
        await until(lambda: len(place.written()) == sinks.status()["written"])
        arrived = [found["seq"] for found in place.written()]
        assert arrived == sorted(set(arrived))
        assert arrived[0] >= 300
        assert len(arrived) == sinks.status()["written"] == seq + 1 - sinks.status()["lost"]
        assert errors

    asyncio.run(steps())


def test_a_failing_write_raises_and_returns(place: Place, tmp_path: Path) -> None:
    """It doesn't wait for better times by itself: the queue's thread may be asked to close."""
    sink = _open(place, tmp_path)
    with place.failing():
        for _ in range(3):
            with pytest.raises((SinkError, OSError)):
                sink.write(records(0, 3))
        sink.close()


@pytest.fixture
def time_to_deliver(monkeypatch: pytest.MonkeyPatch) -> None:
    """A storing sink that closes leaves nothing to the next start, however slow the machine."""
    monkeypatch.setattr(delivery, "_DRAIN_S", 60.0)


@pytest.mark.usefixtures("time_to_deliver")
def test_opening_waits_for_nothing_and_touches_nothing(place: Place, tmp_path: Path) -> None:
    """A node starts also when the place can't be reached; the first write is what connects."""
    with place.failing():
        _open(place, tmp_path).close()
    sink = _open(place, tmp_path)
    sink.write(records(0, 2))
    sink.close()
    _arrives(place, 0, 2)


@pytest.mark.usefixtures("time_to_deliver")
def test_closing_twice_is_closing_once(place: Place, tmp_path: Path) -> None:
    """Before the first write, and after."""
    sink = _open(place, tmp_path)
    sink.close()
    sink.close()
    sink.write(records(0, 1))
    sink.close()
    sink.close()
    _arrives(place, 0, 1)


@pytest.mark.parametrize("lossless", [True, False])
def test_one_that_hangs_stops_neither_the_one_beside_it_nor_the_line_for_long(
    place: Place, tmp_path: Path, lossless: bool
) -> None:
    """The line waits for a lossless one within its patience; for another, never. Each record is accounted for."""
    if place.stores:
        pytest.skip("its writes go to the disk: see the test below")
    beside = tmp_path / "beside.jsonl"
    pressure: list[bool] = []

    async def steps() -> None:
        hung = _config(place, lossless=lossless, patience_seconds=0.1)
        other = JsonlSinkConfig(path=beside)
        sinks = _sinks(place, tmp_path, [hung, other], pressure.append, queue_records=HUNG_RECORDS // 3)
        with place.hanging():
            for n, r in enumerate(records(0, HUNG_RECORDS)):
                sinks.write(r)
                if n % 100 == 0:  # a camera isn't faster than the file
                    await until(lambda: sinks.status()["each"][1]["queued"] == 0)
            await until(lambda: sinks.status()["each"][1]["written"] == HUNG_RECORDS)
            await until(lambda: sinks.status()["each"][0]["lost"])
            if lossless:
                await until(lambda: "hangs" in str(sinks.status()["errors"]) and pressure[-1:] != [True])
            # None, where it had hung for longer than its patience before the loop came to look.
            assert set(pressure) in ([{True, False}, set()] if lossless else [set()])
            assert list(sinks.status()["errors"]) == [sinks.status()["each"][0]["sink"]]
        await sinks.close(timeout_s=60)
        status, _ = sinks.status()["each"]
        assert status["written"] + status["lost"] == HUNG_RECORDS
        assert status["error"] is None

    asyncio.run(steps())
    lines = io.BytesIO(beside.read_bytes()).readlines()
    assert [json.loads(line)["seq"] for line in lines] == list(range(HUNG_RECORDS))


def test_a_receiver_that_hangs_costs_a_storing_sink_nothing(place: Place, tmp_path: Path) -> None:
    """What comes meanwhile waits on the disk, nobody is held, closing is bounded; the next start delivers the rest."""
    if not place.stores:
        pytest.skip("it keeps nothing: see the test above")
    beside = tmp_path / "beside.jsonl"
    pressure: list[bool] = []

    async def steps() -> None:
        configs = [_config(place, lossless=True), JsonlSinkConfig(path=beside)]
        sinks = _sinks(place, tmp_path, configs, pressure.append)
        sinks.write(record(0))
        await until(lambda: sinks.status()["each"][0]["written"] == 1)
        with place.hanging():
            for n, r in enumerate(records(1, STORED_RECORDS - 1)):
                sinks.write(r)
                if n % 100 == 0:  # a camera isn't faster than the files
                    await until(lambda: not any(each._queue for each in sinks.queues))
            await until(lambda: sinks.status()["each"][1]["written"] == STORED_RECORDS)
            await until(lambda: sinks.status()["each"][0]["queued"] == STORED_RECORDS - 1)
            assert (sinks.status()["written"], sinks.status()["lost"]) == (1 + STORED_RECORDS, 0)
            await sinks.close()
        again = _sinks(place, tmp_path, configs[:1])
        await until(lambda: again.status()["written"] == STORED_RECORDS - 1)
        await again.close()
        assert not pressure

    asyncio.run(steps())
    while not place.payloads() or place.payloads()[-1]["seq"] < STORED_RECORDS - 1:
        time.sleep(0.05)
    found = {payload["id"]: payload["seq"] for payload in place.payloads()}
    assert sorted(found.values()) == list(range(STORED_RECORDS))
