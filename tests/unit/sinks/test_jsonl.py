# SPDX-License-Identifier: AGPL-3.0-or-later
"""The file of JSON lines: which records of a batch are lost, and when the disk is asked again."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgeagent.sinks import jsonl
from edgeagent.sinks.jsonl import JsonlSink
from edgeagent.sinks.port import SinkError
from tests.support.full_disk import DiskWith
from tests.support.sinks import record, records


def _seqs(path: Path) -> list[int]:
    return [json.loads(line)["seq"] for line in path.read_text().splitlines()]


def test_a_disk_that_fills_up_is_left_alone_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records that are not there are counted; later it goes on, with whole lines."""
    path = tmp_path / "deep" / "out.jsonl"
    sink = JsonlSink(path, 10**6, 3)
    disk = DiskWith(room=5 * len(record(0).to_json()) // 2)
    monkeypatch.setattr(os, "write", disk)
    with pytest.raises(SinkError, match="No space left") as e:
        sink.write(records(0, 5))
    assert e.value.lost == 3
    assert _seqs(path) == [0, 1]
    disk.room = 10**6
    monkeypatch.setattr(jsonl.time, "monotonic", lambda: 0.0)
    with pytest.raises(SinkError, match="No space left") as e:
        sink.write(records(5, 2))
    assert e.value.lost == 2
    monkeypatch.setattr(jsonl.time, "monotonic", lambda: float("inf"))
    sink.write(records(7, 1))
    sink.close()
    assert _seqs(path) == [0, 1, 7]


def test_a_record_that_is_not_json_costs_only_itself(tmp_path: Path) -> None:
    """The others of its batch are written, and the next batch at once."""
    path = tmp_path / "out.jsonl"
    sink = JsonlSink(path, 10**6, 3)
    with pytest.raises(SinkError, match="not JSON") as e:
        sink.write([record(0), record(1, name="\ud800"), record(2)])
    assert e.value.lost == 1
    sink.write([record(3)])
    sink.close()
    assert _seqs(path) == [0, 2, 3]
