# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sinks: whole lines in order, rotation, full disks, pressure; nothing is lost without being counted."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog

from edgeagent.config import JsonlSink, LogSink
from edgeagent.sinks import queue as sinks_module
from edgeagent.sinks.port import Record, SinkError
from edgeagent.sinks.queue import JsonlWriter, Sinks


def _record(seq: int, name: str = "dent") -> Record:
    box = (0.0, 0.0, 1.0, 1.0, 0.5, 0.0)
    return Record("line", seq, 1.5, "yolo", "v1", "sha256:a", 1, 9.5, (name,), (box,))


def _records(first: int, count: int) -> list[Record]:
    return [_record(seq) for seq in range(first, first + count)]


def _seqs(path: Path) -> list[int]:
    return [json.loads(line)["seq"] for line in path.read_text().splitlines()]


def test_records_are_lines_in_order(tmp_path: Path) -> None:
    """What is written through Sinks stands in the file after close, one JSON object a line."""

    async def steps() -> None:
        path = tmp_path / "deep" / "out.jsonl"
        sinks = Sinks("line", [JsonlSink(path=path)], lambda behind: None)
        for record in _records(0, 1000):
            sinks.write(record)
        sinks.close()
        assert _seqs(path) == list(range(1000))
        assert sinks.status() == {"written": 1000, "lost": 0, "queued": 0, "behind": False, "errors": {}}

    asyncio.run(steps())


def test_a_line_torn_by_a_power_cut_is_ended(tmp_path: Path) -> None:
    """The next record begins on a line of its own, in the same file."""
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"seq":0}\n{"seq":1,"det')
    writer = JsonlWriter(path, 10**6, 3)
    writer.write(_records(2, 1))
    writer.close()
    assert path.read_bytes() == b'{"seq":0}\n{"seq":1,"det\n' + _record(2).to_json() + b"\n"


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_rotation_keeps_so_many(tmp_path: Path, keep: int) -> None:
    """Files stay under the limit; the newest `keep` old ones stay, in order, without a gap."""
    path = tmp_path / "out.jsonl"
    limit = 3 * len(_record(99).to_json()) + 3
    writer = JsonlWriter(path, limit, keep)
    for n in range(40):
        writer.write(_records(n, 1))
    writer.close()
    files = [path.with_name(f"out.jsonl.{n}") for n in range(keep, 0, -1)] + [path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    kept = [seq for file in files for seq in _seqs(file)]
    assert kept == list(range(40 - len(kept), 40))
    assert all(file.stat().st_size <= limit for file in files)


def test_a_file_that_was_moved_away_is_made_again(tmp_path: Path) -> None:
    """Somebody else rotates: new records stand under the name, not in the moved file."""
    path = tmp_path / "out.jsonl"
    writer = JsonlWriter(path, 10**6, 3)
    writer.write(_records(0, 1))
    path.rename(tmp_path / "moved")
    writer.write(_records(1, 1))
    writer.close()
    assert (_seqs(tmp_path / "moved"), _seqs(path)) == ([0], [1])


def test_a_disk_that_fills_up_leaves_whole_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a line that still fitted is taken back; the records that are not there are counted; later it goes on."""
    path = tmp_path / "out.jsonl"
    writer = JsonlWriter(path, 10**6, 3)
    room, write = [5 * len(_record(0).to_json()) // 2], os.write

    def full(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        n = write(fd, data[: room[0]])
        room[0] -= n
        return n

    monkeypatch.setattr(sinks_module.os, "write", full)
    with pytest.raises(SinkError, match="No space left") as e:
        writer.write(_records(0, 5))
    assert e.value.lost == 3
    assert _seqs(path) == [0, 1]
    with pytest.raises(SinkError, match="No space left") as e:
        writer.write(_records(5, 2))
    assert e.value.lost == 2
    room[0] = 10**6
    monkeypatch.setattr(sinks_module, "_RETRY_S", 0.0)
    monkeypatch.setattr(writer, "_retry_at", 0.0)
    writer.write(_records(7, 1))
    writer.close()
    assert _seqs(path) == [0, 1, 7]


def test_trouble_is_said_once_and_counted_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that can't be made: one line in the log, all records counted, then it recovers by itself."""
    monkeypatch.setattr(sinks_module, "_RETRY_S", 0.0)
    blocker = tmp_path / "folder"
    blocker.write_text("a file where a folder should be")

    async def steps() -> None:
        told: list[str] = []
        path = blocker / "out.jsonl"
        sinks = Sinks("line", [JsonlSink(path=path)], lambda behind: None, told.append)
        with structlog.testing.capture_logs() as logs:
            for record in _records(0, 300):
                sinks.write(record)
            await _until(lambda: sinks.lost == 300)
            assert list(sinks.errors) == [str(path)]
            blocker.unlink()
            sinks.write(_records(300, 1)[0])
            await _until(lambda: sinks.written == 1)
            sinks.close()
        assert [log["event"] for log in logs] == ["sink can't be written", "sink is written again"]
        assert set(told) == {str(path)}
        assert sinks.errors == {}
        assert _seqs(path) == [300]

    asyncio.run(steps())


def test_a_record_that_is_not_json_costs_only_itself(tmp_path: Path) -> None:
    """The others of its batch are written."""
    path = tmp_path / "out.jsonl"
    writer = JsonlWriter(path, 10**6, 3)
    with pytest.raises(SinkError, match="not JSON") as e:
        writer.write([_record(0), _record(1, name="\ud800"), _record(2)])
    writer.close()
    assert e.value.lost == 1
    assert _seqs(path) == [0, 2]


class _Stuck:
    """A sink that writes nothing until it may."""

    name = "stuck"

    def __init__(self) -> None:
        self.may = threading.Event()
        self.seen: list[int] = []

    def write(self, batch: Sequence[Record]) -> None:
        self.may.wait()
        self.seen += [record.seq for record in batch]

    def close(self) -> None:
        pass


def test_pressure_is_told_and_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above half of the queue: behind. Below a quarter: no more. What finds it full is counted, the rest in order."""
    stuck = _Stuck()
    monkeypatch.setattr(sinks_module, "_writer", lambda config: stuck)
    monkeypatch.setattr(sinks_module, "BATCH_RECORDS", 1)

    async def steps() -> None:
        pressure: list[bool] = []
        sinks = Sinks("line", [LogSink()], pressure.append, queue_records=40)
        sinks.write(_records(0, 1)[0])
        await _until(lambda: sinks.status()["queued"] == 0)  # the thread has it, and is stuck with it
        for record in _records(1, 20):
            sinks.write(record)
        await asyncio.sleep(0)
        assert pressure == []
        for record in _records(21, 30):
            sinks.write(record)
        await asyncio.sleep(0)
        assert pressure == [True]
        assert sinks.lost == 10
        stuck.may.set()
        await _until(lambda: pressure == [True, False])
        sinks.close()
        assert stuck.seen == list(range(41))

    asyncio.run(steps())


def test_close_gives_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that hangs can't keep the node from stopping; what is left is counted."""
    stuck = _Stuck()
    monkeypatch.setattr(sinks_module, "_writer", lambda config: stuck)

    async def steps() -> None:
        sinks = Sinks("line", [LogSink()], lambda behind: None)
        sinks.write(_records(0, 1)[0])
        await _until(lambda: sinks.status()["queued"] == 0)
        for record in _records(1, 3):
            sinks.write(record)
        sinks.close(timeout_s=0.01)
        assert sinks.lost == 3
        sinks.write(_records(4, 1)[0])
        assert sinks.lost == 4
        stuck.may.set()

    asyncio.run(steps())


def test_the_log_gets_the_same_record() -> None:
    """One line a frame, with the record as it is."""

    async def steps() -> None:
        with structlog.testing.capture_logs() as logs:
            sinks = Sinks("line", [LogSink()], lambda behind: None)
            sinks.write(_record(3))
            sinks.close()
        assert logs == [{"event": "detections", "log_level": "info", "record": _record(3).as_dict()}]

    asyncio.run(steps())


async def _until(fulfilled: Any, deadline_s: float = 20.0) -> None:
    async with asyncio.timeout(deadline_s):
        while not fulfilled():
            await asyncio.sleep(0.001)
