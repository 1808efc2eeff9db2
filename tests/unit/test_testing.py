# SPDX-License-Identifier: AGPL-3.0-or-later
"""What helps to test: a file of records that grows, and waiting for a condition."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.testing import JsonLines, wait_for


def test_records_are_read_as_they_come(tmp_path: Path) -> None:
    """Whole lines only; all of them, and what is new since the last look."""
    path = tmp_path / "line-1.jsonl"
    lines = JsonLines(path)
    assert (lines.all(), lines.new()) == ([], [])
    path.write_bytes(b'{"seq": 0}\n{"se')
    assert lines.new() == [{"seq": 0}]
    assert lines.new() == []
    with path.open("ab") as file:
        file.write(b'q": 1}\n')
    assert lines.new() == [{"seq": 1}]
    assert lines.all() == [{"seq": 0}, {"seq": 1}]
    lines.close()
    assert lines.all() == [{"seq": 0}, {"seq": 1}]
    lines.close()


def test_a_file_that_was_replaced_cut_or_removed_is_read_anew(tmp_path: Path) -> None:
    """A node that starts again writes its sinks anew."""
    path = tmp_path / "line-1.jsonl"
    path.write_bytes(b'{"seq": 0}\n{"seq": 1}\n')
    lines = JsonLines(path)
    assert len(lines.all()) == 2
    path.write_bytes(b'{"seq": 7}\n')
    assert lines.all() == [{"seq": 7}]
    path.unlink()
    assert lines.all() == []
    path.write_bytes(b'{"seq": 8}\n')
    assert lines.all() == [{"seq": 8}]
    (tmp_path / "new").write_bytes(b'{"seq": 9}\n{"seq": 10}\n')
    (tmp_path / "new").replace(path)
    assert lines.all() == [{"seq": 9}, {"seq": 10}]
    lines.close()


def test_what_is_waited_for_is_returned() -> None:
    """The first result that is true."""
    looks = iter([None, 0, "here"])
    assert wait_for(lambda: next(looks), "something") == "here"


def test_what_does_not_come_is_named_with_the_last_look() -> None:
    """It is looked at once, however short the patience."""
    with pytest.raises(AssertionError, match=r"frames: not within 0 s; last seen: \[\]"):
        wait_for(list, "frames", timeout_s=0)
