# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rows for spreadsheets: formulas, days, sizes, the quota, and what a full disk costs."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edgeagent.sinks.csv import COLUMNS, CsvSink, CsvSinkConfig
from edgeagent.sinks.port import Record, SinkError
from tests.support.full_disk import DiskWith
from tests.support.sinks import record, records

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC).timestamp()
DAY = 86_400.0


def _sink(tmp_path: Path, **fields: Any) -> CsvSink:
    config = CsvSinkConfig(**{"path": tmp_path / "line-1.csv", "keep_days": 36_500, **fields})
    return CsvSink(config, clock=lambda: NOON + DAY)


def _at(seq: int, ts: float, **fields: Any) -> Record:
    return replace(record(seq), ts=ts, **fields)


def _names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in tmp_path.iterdir())


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig") as f:
        return list(csv.DictReader(f))


@pytest.mark.parametrize("name", ["=1+1", "+x", "-dent", "@SUM(A1)", "  =A1", "\t=A1", "\r\n=A1", "＝A1"])
def test_a_text_that_a_spreadsheet_would_compute_is_none(tmp_path: Path, name: str) -> None:
    """Wherever a text from outside stands; and a row stays a line."""
    sink = _sink(tmp_path)
    sink.write([_at(0, NOON, names=(name,), version=name, model=name, pipeline=name)])
    sink.close()
    path = tmp_path / "line-1-20261128.csv"
    (row,) = _rows(path)
    for column in ("name", "version", "model", "pipeline"):
        assert row[column].startswith("'")
    assert len(path.read_bytes().splitlines()) == 2


def test_a_row_says_what_the_record_does(tmp_path: Path) -> None:
    """Names in any language, with quotes and the delimiter in them; a frame without detections has no row."""
    sink = _sink(tmp_path, delimiter=";", bom=True)
    boxes = ((1.04, 2.0, 3.0, 4.06, 0.91237, 1.0), (5.0, 6.0, 7.0, 8.0, 0.5, 0.0))
    sink.write([_at(7, NOON + 0.25, names=("划痕", 'a "dent"; deep'), boxes=boxes), _at(8, NOON, boxes=())])
    sink.close()
    path = tmp_path / "line-1-20261128.csv"
    assert path.read_bytes().startswith(b"\xef\xbb\xbftime;pipeline;")
    with path.open(newline="", encoding="utf-8-sig") as f:
        first, *rows = list(csv.reader(f, delimiter=";"))
    assert tuple(first) == COLUMNS
    head = ["2026-11-28T12:00:00.250Z", "line-1", "7", "yolo", "v1", "1", "9.5"]
    assert rows == [
        [*head, "1", 'a "dent"; deep', "0.9124", "1.0", "2.0", "3.0", "4.1"],
        [*head, "0", "划痕", "0.5", "5.0", "6.0", "7.0", "8.0"],
    ]


def test_each_day_and_each_size_has_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the time of the frame. Each begins with the header, and a restart goes on where it was."""
    sink = _sink(tmp_path, max_mb=1)
    monkeypatch.setattr(sink, "_config", sink._config.model_copy(update={"max_mb": 0.0004}))
    for n in range(4):
        sink.write([_at(n, NOON), _at(n + 10, NOON)])
    sink.write([_at(20, NOON), _at(21, NOON + DAY)])
    sink.close()
    again = _sink(tmp_path)
    again.write([_at(22, NOON + DAY)])
    again.close()
    assert _names(tmp_path) == [
        "line-1-20261128-2.csv", "line-1-20261128-3.csv", "line-1-20261128.csv", "line-1-20261129.csv"
    ]  # fmt: skip
    assert [row["seq"] for row in _rows(tmp_path / "line-1-20261129.csv")] == ["21", "22"]
    of_day = [
        row["seq"] for part in ("", "-2", "-3") for row in _rows(tmp_path / f"line-1-20261128{part}.csv")
    ]
    assert of_day == ["0", "10", "1", "11", "2", "12", "3", "13", "20"]


def test_the_oldest_files_go(tmp_path: Path) -> None:
    """By size of all, and by age; others' files stay."""
    for day in range(1, 6):
        (tmp_path / f"line-1-2026110{day}.csv").write_bytes(b"x" * 1_000_000)
    (tmp_path / "line-1-notes.csv").write_bytes(b"x" * 9_000_000)
    sink = _sink(tmp_path, max_mb=1, total_mb=3)
    sink.write([_at(0, NOON)])
    assert _names(tmp_path) == [
        "line-1-20261104.csv", "line-1-20261105.csv", "line-1-20261128.csv", "line-1-notes.csv"
    ]  # fmt: skip
    old = _sink(tmp_path, keep_days=1)
    old.write([_at(1, NOON + DAY)])
    assert _names(tmp_path) == ["line-1-20261128.csv", "line-1-20261129.csv", "line-1-notes.csv"]


def test_a_full_disk_costs_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The records that aren't there are counted, and what is there can be read."""
    sink = _sink(tmp_path)
    line = len(sink._line((*COLUMNS,))) + 5 * 100 // 2
    disk = DiskWith(room=line)
    monkeypatch.setattr(os, "write", disk)
    with pytest.raises(SinkError, match="No space left") as e:
        sink.write([replace(r, ts=NOON) for r in records(0, 9)])
    rows = _rows(tmp_path / "line-1-20261128.csv")
    assert 0 < len(rows) == 9 - e.value.lost
    with pytest.raises(SinkError) as again:
        sink.write([_at(9, NOON)])
    assert again.value.lost == 1


def test_a_file_that_was_moved_is_made_anew(tmp_path: Path) -> None:
    """With its header."""
    sink = _sink(tmp_path)
    path = tmp_path / "line-1-20261128.csv"
    sink.write([_at(0, NOON)])
    path.rename(tmp_path / "taken.csv")
    sink.write([_at(1, NOON)])
    sink.close()
    assert [row["seq"] for row in _rows(path)] == ["1"]
