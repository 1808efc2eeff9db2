# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sealed records on disk: over rotation, restarts, kills between file and head, and disks that fail."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgeagent.core.receipts import ChainReport
from edgeagent.observe import chained_file
from edgeagent.observe.audit_check import check_snapshot
from edgeagent.observe.chained_file import ChainedFile, head_path, open_chain, read_head
from edgeagent.util.rotating import NotWrittenError

KEEP = 2
MAX_BYTES = 600  # three records


def a_file(folder: Path) -> ChainedFile:
    """As a node opens it."""
    return ChainedFile(folder / "log.jsonl", MAX_BYTES, KEEP, durable=True)


def write(file: ChainedFile, *numbers: int) -> None:
    """Records of these names, and then the head."""
    for n in numbers:
        file.append([f'{{"event": "e{n}"}}'])
        file.save_head()


def check(folder: Path) -> ChainReport:
    """As one does who has only the folder."""
    return check_snapshot(open_chain(folder / "log.jsonl", KEEP))


def how(report: ChainReport) -> str:
    """What is wrong, "" for nothing."""
    return report.broken.how if report.broken else ""


def test_the_chain_goes_on_over_rotation_and_restarts(tmp_path: Path) -> None:
    """What rotation drops at the old end is not missed."""
    for start in range(0, 30, 5):
        file = a_file(tmp_path)
        write(file, *range(start, start + 5))
        report = check(tmp_path)
        assert (how(report), report.head) == ("", str(file.head.last))
    assert report.first > 15
    assert report.first + report.records == 31
    assert report.first == read_head(tmp_path / "log.jsonl").first


@pytest.mark.parametrize("missing", ["log.jsonl", "log.jsonl.1", "log.jsonl.2"])
def test_a_file_that_is_missing_is_found(tmp_path: Path, missing: str) -> None:
    """The oldest too: rotation notes what it drops. Also when the node goes on after it."""
    write(a_file(tmp_path), *range(20))
    (tmp_path / missing).unlink()
    assert how(check(tmp_path)) == "removed"
    write(a_file(tmp_path), 21)
    assert how(check(tmp_path)) == "removed"


def test_a_kill_between_file_and_head(tmp_path: Path) -> None:
    """Also before the first head, and after several records: the node goes on after what the file has."""
    for expected in (2, 4):
        a_file(tmp_path).append(['{"event": "a"}', '{"event": "b"}'])  # and no head
        report = check(tmp_path)
        assert (how(report), report.records) == ("", expected)
    write(a_file(tmp_path), 5)
    assert (how(check(tmp_path)), check(tmp_path).records) == ("", 5)


def test_a_kill_between_head_and_rotation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was to be dropped is still there: no harm."""
    file = a_file(tmp_path)
    write(file, *range(9))
    with monkeypatch.context() as m:
        m.setattr(os, "replace", _only_heads(os.replace))
        for n in range(3):
            with pytest.raises(NotWrittenError):
                write(file, n)
    assert read_head(tmp_path / "log.jsonl").first > check(tmp_path).first
    assert how(check(tmp_path)) == ""
    write(a_file(tmp_path), 10, 11, 12)
    assert how(check(tmp_path)) == ""


def _only_heads(replace: object) -> object:
    def renamed(source: Path, target: Path) -> None:
        if target.suffix != ".head":
            raise OSError(errno.EIO, "I/O error")
        replace(source, target)  # type: ignore[operator]

    return renamed


def test_a_power_cut_in_the_middle_of_a_line(tmp_path: Path) -> None:
    """The next record follows the last whole one."""
    file = a_file(tmp_path)
    write(file, 1, 2)
    path = tmp_path / "log.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event": "e3", "se')
    assert (how(check(tmp_path)), check(tmp_path).torn) == ("", 1)
    write(a_file(tmp_path), 3)
    report = check(tmp_path)
    assert (how(report), report.records, report.torn) == ("", 3, 1)


@pytest.mark.parametrize("change", [lambda d: d[:-1], lambda d: [*d[:-1], d[-1].replace(b"e2", b"eX")]])
def test_what_was_done_at_the_end_stays_visible(tmp_path: Path, change: object) -> None:
    """The node that starts on it goes on after what the head says, and not after what somebody made of the file."""
    write(a_file(tmp_path), 0, 1, 2)
    path = tmp_path / "log.jsonl"
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))  # type: ignore[operator]
    assert how(check(tmp_path)) in ("removed", "changed")
    write(a_file(tmp_path), 3, 4)
    assert how(check(tmp_path)) in ("removed", "changed")


def test_a_head_that_is_gone_or_no_head(tmp_path: Path) -> None:
    """That the end may have been cut off, nobody can tell then; the node goes on, and writes it anew."""
    for junk in (None, b"", b"[]", b'{"first": 1}', b"\xff"):
        file = a_file(tmp_path)
        write(file, *range(12))
        head = head_path(tmp_path / "log.jsonl")
        head.unlink() if junk is None else head.write_bytes(junk)
        assert how(check(tmp_path)) == ""
        assert "no head file" in check(tmp_path).notes[0]
        write(a_file(tmp_path), 9)
        assert (how(check(tmp_path)), check(tmp_path).notes) == ("", ())


def test_lines_that_could_not_be_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes lines, then neither syncs nor cuts: they are not written twice."""
    file = a_file(tmp_path)
    write(file, 0)

    def fails(*_: object) -> None:
        raise OSError(errno.EIO, "I/O error")

    with monkeypatch.context() as m:
        m.setattr(os, "fsync", fails)
        m.setattr(os, "ftruncate", fails)
        with pytest.raises(NotWrittenError):
            file.append(['{"event": "a"}', '{"event": "b"}'])
    file.append(['{"event": "a"}', '{"event": "b"}', '{"event": "c"}'])
    file.save_head()
    report = check(tmp_path)
    assert (how(report), report.records) == ("", 4)


def test_a_long_end_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the head is behind by more than what is looked at first."""
    monkeypatch.setattr(chained_file, "RECENT_BYTES", 10)
    write(a_file(tmp_path), 0)
    file = a_file(tmp_path)
    for n in range(3):
        file.append([f'{{"event": "e{n}"}}'])
    assert a_file(tmp_path).head == file.head


def test_a_node_that_writes_meanwhile(tmp_path: Path) -> None:
    """What was opened is looked at as it was, whatever is written and rotated after that."""
    file = a_file(tmp_path)
    write(file, *range(8))
    snapshots = [open_chain(tmp_path / "log.jsonl", KEEP), file.snapshot()]
    before = check(tmp_path)
    write(file, *range(8, 20))
    assert [check_snapshot(snapshot) for snapshot in snapshots] == [before, before]


def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever fills the file with junk gets no memory for it."""
    monkeypatch.setattr(chained_file, "MAX_LINE", 1000)
    monkeypatch.setattr(chained_file, "_BLOCK", 100)
    write(a_file(tmp_path), 0, 1)
    path = tmp_path / "log.jsonl"
    path.write_bytes(path.read_bytes() + b"x" * 10_000)
    snapshot = open_chain(path, KEEP)
    assert max(len(line.data) for line in snapshot.lines()) <= 1000
    assert how(check_snapshot(snapshot)) == ""


def test_a_file_cut_off_anywhere(tmp_path: Path) -> None:
    """A power cut may cut what the head doesn't name yet, at any byte; what it names, nobody cuts unseen."""
    file = a_file(tmp_path)
    write(file, 1, 2)
    path = tmp_path / "log.jsonl"
    named = path.stat().st_size - 1  # without the newline the record is whole
    file.append(['{"event": "e3"}'])
    data = path.read_bytes()
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        assert (how(check(tmp_path)) == "") == (size >= named), size


def test_a_byte_changed_anywhere(tmp_path: Path) -> None:
    """In whatever field, in a seal, or between two lines."""
    write(a_file(tmp_path), 1, 2, 3)
    path = tmp_path / "log.jsonl"
    data = path.read_bytes()
    for place in range(len(data) - 1):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert how(check(tmp_path)), place
