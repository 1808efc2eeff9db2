# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit log: durable, rotated, readable after a power cut, harmless on a full disk."""

from __future__ import annotations

import errno
import json
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from edgeagent.core.gating import GateResult
from edgeagent.core.receipts import ChainReport, parse_link
from edgeagent.core.update_facts import UpdateFacts
from edgeagent.observe.audit import FILE_NAME, REFUSED_FILE_NAME, REPEAT_S, AuditLog, AuditRecord
from edgeagent.observe.audit_check import check_folder
from tests.support.full_disk import DiskWith


def events(log: AuditLog, count: int = 1000) -> list[str]:
    """The events of the tail."""
    return [r.event for r in records(log, count)]


def records(log: AuditLog, count: int = 1000) -> list[AuditRecord]:
    """The tail, decoded."""
    record = TypeAdapter(AuditRecord)
    return [record.validate_json(text) for text in log.tail(count)]


def unchained(record: AuditRecord) -> AuditRecord:
    """The record as it was before it had a place in the chain."""
    return replace(record, seq=0, hash="")


def test_a_record_is_one_line_with_every_field(tmp_path: Path) -> None:
    """What was appended is in the file, field by field, and in the tail."""
    log = AuditLog(tmp_path)
    gates = (GateResult("smoke", False, {"frames": 3}, {"most_score": 1}, ("on frame 0: NaN",)),)
    record = AuditRecord(
        "swap",
        "yolo",
        "me",
        "v1",
        "v2",
        "etcd://x",
        "sha256:1",
        "ok",
        "tested",
        {"fetch": 1.5},
        gates,
        from_digest="sha256:0",
        epoch=7,
        moment="now",
        watches={"probation": {"frames": 9}},
        facts=UpdateFacts(2.5, 75, 1, {"busy": 1}, 41.5, 1000, 2000),
    )
    assert log.append(record)
    (line,) = (tmp_path / FILE_NAME).read_text().splitlines()
    doc = json.loads(line)
    assert doc.pop("hash") in log.tail(1)[0]
    assert doc == {
        "event": "swap",
        "model": "yolo",
        "who": "me",
        "from_version": "v1",
        "to_version": "v2",
        "source_url": "etcd://x",
        "digest": "sha256:1",
        "result": "ok",
        "why": "tested",
        "stages": {"fetch": 1.5},
        "gates": [
            {
                "name": "smoke",
                "passed": False,
                "figures": {"frames": 3},
                "limits": {"most_score": 1},
                "reasons": ["on frame 0: NaN"],
            }
        ],
        "when": record.when,
        "count": 1,
        "from_digest": "sha256:0",
        "epoch": 7,
        "moment": "now",
        "watches": {"probation": {"frames": 9}},
        "facts": {
            "seconds": 2.5,
            "frames": 75,
            "lost": 1,
            "dropped": {"busy": 1},
            "longest_gap_ms": 41.5,
            "memory_before": 1000,
            "memory_after": 2000,
        },
        "seq": 1,
        "prev": "",
    }
    assert record.when.endswith("Z")
    assert [unchained(r) for r in records(log, 1)] == [record]
    assert records(AuditLog(tmp_path), 1) == records(log, 1)
    assert log.tail(0) == []


def test_a_record_whose_gates_have_another_form_is_kept(tmp_path: Path) -> None:
    """Another release wrote it: what happened is worth more than the figures."""
    (tmp_path / FILE_NAME).write_text('{"event": "update", "gates": [{"name": 1}]}\n{"event": "boot"}\n')
    assert [(r.event, r.gates) for r in records(AuditLog(tmp_path), 2)] == [("update", ()), ("boot", ())]


def test_the_tail_survives_a_restart(tmp_path: Path) -> None:
    """A new log over the same folder knows the records from before."""
    first = AuditLog(tmp_path)
    written = [AuditRecord(f"e{i}", stages={"s": float(i)}) for i in range(5)]
    for record in written:
        first.append(record)
    assert [unchained(r) for r in records(AuditLog(tmp_path), 3)] == written[-3:]


def test_a_torn_line_is_skipped_and_swallows_nothing(tmp_path: Path) -> None:
    """After a power cut in the middle of a line, the lines before and after it are whole."""
    log = AuditLog(tmp_path)
    log.append(AuditRecord("before"))
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes() + b'{"event": "to')
    again = AuditLog(tmp_path)
    assert events(again) == ["before"]
    again.append(AuditRecord("after"))
    assert events(AuditLog(tmp_path)) == ["before", "after"]


@pytest.mark.parametrize("junk", [b"\x00\x00\x00\n", b"[1]\n", b'{"event": 3}\n', b"\xff\xfe\n", b"\n"])
def test_lines_that_are_no_records_are_skipped(tmp_path: Path, junk: bytes) -> None:
    """Whatever a damaged disk gives back, the log opens."""
    (tmp_path / FILE_NAME).write_bytes(junk + b'{"event": "whole", "new_field": 1}\n')
    assert events(AuditLog(tmp_path)) == ["whole"]


def test_rotation_keeps_the_newest_files(tmp_path: Path) -> None:
    """Files are rotated at their size, so many are kept, and the tail reads across them."""
    log = AuditLog(tmp_path, max_bytes=1200, keep=2)
    for i in range(12):
        log.append(AuditRecord(f"e{i}"))
    assert sorted(p.name for p in tmp_path.glob(f"{FILE_NAME}*")) == [
        FILE_NAME,
        f"{FILE_NAME}.1",
        f"{FILE_NAME}.2",
    ]
    tail = events(AuditLog(tmp_path, max_bytes=1200, keep=2))
    assert tail == [f"e{i}" for i in range(12)][-len(tail) :]
    assert len(tail) > 3
    assert events(log) == [f"e{i}" for i in range(12)]


def test_keeping_no_old_file(tmp_path: Path) -> None:
    """keep=0 starts the one file again."""
    log = AuditLog(tmp_path, max_bytes=1, keep=0)
    log.append(AuditRecord("a"))
    log.append(AuditRecord("b"))
    assert [p.name for p in tmp_path.glob(f"{FILE_NAME}*")] == [FILE_NAME]
    assert events(AuditLog(tmp_path)) == ["b"]


def test_a_full_disk_raises_nothing_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the disk is full records stay in memory; they are written, in order, when there is room again."""
    log = AuditLog(tmp_path)
    log.append(AuditRecord("a"))

    def full(_fd: int, _data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(os, "write", full)
        assert not log.append(AuditRecord("b"))
        assert not log.append(AuditRecord("c"))
    assert log.unsaved == 2
    assert events(log) == ["a", "b", "c"]
    assert events(AuditLog(tmp_path)) == ["a"]
    assert log.append(AuditRecord("d"))
    assert log.unsaved == 0
    assert events(AuditLog(tmp_path)) == ["a", "b", "c", "d"]


def test_a_half_written_record_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle of a line leaves no half line behind."""
    log = AuditLog(tmp_path)
    disk = DiskWith(room=10)
    with monkeypatch.context() as m:
        m.setattr(os, "write", disk)
        assert not log.append(AuditRecord("a"))
    assert (tmp_path / FILE_NAME).read_bytes() == b""
    assert log.append(AuditRecord("b"))
    assert events(AuditLog(tmp_path)) == ["a", "b"]


def test_a_folder_that_is_missing_raises_nothing(tmp_path: Path) -> None:
    """Neither opening nor appending fails; the tail still tells."""
    log = AuditLog(tmp_path / "absent")
    assert not log.append(AuditRecord("a"))
    assert events(log) == ["a"]


def test_passwords_of_urls_are_not_written(tmp_path: Path) -> None:
    """The source's URL is kept without its credentials."""
    AuditLog(tmp_path).append(AuditRecord("swap", source_url="https://me:pa55@store/x?X-Amz-Signature=xyz"))
    text = (tmp_path / FILE_NAME).read_text()
    assert "https://***@store/x" in text
    assert "pa55" not in text
    assert "xyz" not in text


def test_history_is_read_while_the_disk_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The event loop asks for the tail: it must not wait for a write in another thread."""
    log = AuditLog(tmp_path)
    hangs, goes_on = threading.Event(), threading.Event()

    def slow_fsync(_fd: int) -> None:
        hangs.set()
        goes_on.wait(30)

    monkeypatch.setattr(os, "fsync", slow_fsync)
    with ThreadPoolExecutor(2) as threads:
        writing = threads.submit(log.append, AuditRecord("swap"))
        try:
            assert hangs.wait(30)
            assert threads.submit(events, log, 10).result(5) == ["swap"]
            assert not writing.done()
        finally:
            goes_on.set()


def test_a_file_name_that_is_no_unicode_can_be_told(tmp_path: Path) -> None:
    """In the history as in the file."""
    log = AuditLog(tmp_path)
    log.append(AuditRecord("update", why="caf\udce9.jpg: is broken"))
    assert records(log)[0].why == "caf?.jpg: is broken"


def refusal(why: str, version: str = "v2") -> AuditRecord:
    """One more of somebody's attempts."""
    return AuditRecord(
        "promote", "yolo", "eve", "v1", version, result="rejected", why=why, stages={"fetching": 1}
    )


def test_refusals_push_out_nothing_that_changed(tmp_path: Path) -> None:
    """However many there are, in memory and on the disk."""
    log = AuditLog(tmp_path, max_bytes=40_000, keep=2)
    log.append(AuditRecord("update", "yolo", result="swapped", when="2026-01-01"))
    for i in range(1500):
        log.append(refusal(f"reason {i}"))
    log.append(AuditRecord("rollback", "yolo", result="swapped", when="9999-01-01"))
    for again in (log, AuditLog(tmp_path, max_bytes=40_000, keep=2)):
        tail = records(again, 10)
        assert [r.result for r in tail] == ["swapped", *["rejected"] * 8, "swapped"]
        assert tail[-2].why == "reason 1499"
        assert [r.event for r in records(again) if r.result == "swapped"] == ["update", "rollback"]
    assert sum(p.stat().st_size for p in tmp_path.iterdir()) < 3 * 40_000 + 20_000


def test_a_refusal_that_repeats_itself_is_one_record(tmp_path: Path) -> None:
    """With a count, in the place of the last; on the disk each tenth, hundredth, … After a while it is a new one."""
    now = [0.0]
    log = AuditLog(tmp_path, clock=lambda: now[0])
    for _ in range(250):
        log.append(refusal("a"))
        log.append(refusal("b", "v3"))
        now[0] += 1
    assert [(r.why, r.count) for r in records(log)] == [("a", 250), ("b", 250)]
    assert [r.count for r in records(AuditLog(tmp_path)) if r.why == "a"] == [1, 10, 100]
    now[0] += REPEAT_S + 1
    log.append(refusal("a"))
    assert [(r.why, r.count) for r in records(log)] == [("a", 250), ("b", 250), ("a", 1)]


def test_a_folder_of_an_earlier_release(tmp_path: Path) -> None:
    """It wrote all records into one file, and counted none."""
    lines = [{"event": "update", "result": "rejected"}, {"event": "update", "result": "swapped"}]
    (tmp_path / FILE_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    log = AuditLog(tmp_path)
    log.append(refusal("new"))
    assert [(r.result, r.count) for r in records(log)] == [("rejected", 1), ("swapped", 1), ("rejected", 1)]


def test_a_long_history_costs_no_more_than_its_bytes(tmp_path: Path) -> None:
    """It is kept as JSON, of a bounded length: whoever asks for it again and again makes nobody encode it."""
    log = AuditLog(tmp_path)
    gates = tuple(GateResult(f"gate {i}", True, {"figure": 1.5}) for i in range(100))
    for _ in range(250):
        log.append(AuditRecord("update", gates=gates))
    first, again = log.tail(1000), log.tail(1000)
    assert sum(map(len, first)) < 2 << 20
    assert all(a is b for a, b in zip(first, again, strict=True))


def intact(reports: dict[str, ChainReport]) -> dict[str, int]:
    """How many records each chain has; nothing is wrong with them."""
    assert [r.broken for r in reports.values()] == [None, None]
    return {name: r.records for name, r in reports.items()}


def test_what_changed_and_what_was_refused_are_chains(tmp_path: Path) -> None:
    """Each of its own, over restarts and rotation, in the node and beside it; what is counted only stays out of it."""
    for _ in range(3):
        log = AuditLog(tmp_path, max_bytes=4000, keep=5)
        for i in range(4):
            log.append(AuditRecord("update", result="swapped", why=str(i)))
            log.append(refusal("again"))
        log.settle()
        records_of = intact(log.check())
        assert check_folder(tmp_path) == log.check()
    assert records_of == {FILE_NAME: 12, REFUSED_FILE_NAME: 3}
    assert log.head == f"12:{records(log)[-2].hash}"


def test_a_changed_refusal_is_found(tmp_path: Path) -> None:
    """They are decisions, too."""
    log = AuditLog(tmp_path)
    for version in ("v1", "v2", "v3"):
        log.append(refusal("is blind", version))
    path = tmp_path / REFUSED_FILE_NAME
    path.write_text(path.read_text().replace('"to_version": "v2"', '"to_version": "v9"'))
    broken = log.check()[REFUSED_FILE_NAME].broken
    assert broken
    assert (broken.how, broken.seq, broken.line) == ("changed", 2, 2)


def test_a_flood_of_refusals_is_one_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk is synced when the head is written, now and then, and not for each of them."""
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    log = AuditLog(tmp_path)
    for i in range(200):
        log.append(refusal(f"reason {i}"))
    assert not synced
    assert not log.settled
    assert log.settle()
    assert log.settled
    assert 0 < len(synced) < 5


def test_records_that_waited_for_the_disk_are_chained_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When they are written; those that found no room in memory meanwhile are told of, in the chain."""
    log = AuditLog(tmp_path)
    log.append(AuditRecord("a"))
    with monkeypatch.context() as m:
        m.setattr("edgeagent.observe.audit.TAIL_RECORDS", 3)
        m.setattr(os, "write", lambda _fd, _data: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        for event in "bcdef":
            assert not log.append(AuditRecord(event))
    assert log.append(AuditRecord("g"))
    lines = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    assert [line["event"] for line in lines] == ["a", "audit", "d", "e", "f", "g"]
    assert lines[1]["why"].startswith("2 records are lost")
    assert intact(log.check())[FILE_NAME] == 6


def test_the_chain_begins_after_the_records_of_an_earlier_release(tmp_path: Path) -> None:
    """They are read as before, and said to be outside of it."""
    path = tmp_path / FILE_NAME
    path.write_text('{"event": "update", "result": "swapped", "when": "2026-01-01"}\n' * 3)
    log = AuditLog(tmp_path)
    assert not log.check()[FILE_NAME].broken
    log.append(AuditRecord("new"))
    report = log.check()[FILE_NAME]
    assert (report.unchained, report.records, report.broken) == (3, 1, None)
    assert events(AuditLog(tmp_path)) == [*["update"] * 3, "new"]


def test_a_head_that_cannot_be_written_is_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The records are on the disk, so nothing is written twice."""
    log = AuditLog(tmp_path)

    def full(_path: Path, _data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr("edgeagent.observe.chained_file.write_durably", full)
        assert log.append(AuditRecord("a"))
        assert not log.settled
        assert not log.settle()
    assert log.settle()
    assert intact(check_folder(tmp_path))[FILE_NAME] == 1


def test_a_hash_kept_elsewhere_finds_a_chain_written_anew(tmp_path: Path) -> None:
    """Whoever can write the files can write a whole new chain with its head; not what others remember."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    true, forged = AuditLog(tmp_path / "a"), AuditLog(tmp_path / "b")
    for version in ("v1", "v2", "v3"):
        true.append(AuditRecord("update", result="swapped", to_version=version))
        forged.append(AuditRecord("update", result="swapped", to_version=version.replace("2", "9")))
    kept = parse_link(true.head)
    assert intact(check_folder(tmp_path / "a", [kept]))
    assert intact(check_folder(tmp_path / "b"))
    broken = check_folder(tmp_path / "b", [kept])[FILE_NAME].broken
    assert broken
    assert (broken.how, broken.seq) == ("changed", 3)
