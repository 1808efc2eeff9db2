# SPDX-License-Identifier: AGPL-3.0-or-later
"""A file of lines: rotated at its size, whole lines only, found under its name."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from edgeagent.util.rotating import NotWrittenError, RotatingFile
from tests.support.full_disk import DiskWith

FULL = OSError(errno.ENOSPC, "No space left on device")


def _lines(*numbers: int) -> list[bytes]:
    return [b"line %03d\n" % n for n in numbers]


@pytest.mark.parametrize("keep", [0, 1, 3])
def test_rotation_keeps_so_many(tmp_path: Path, keep: int) -> None:
    """Files stay under the limit; the newest `keep` old ones stay, in order, without a gap."""
    file = RotatingFile(tmp_path / "out", max_bytes=30, keep=keep)
    for n in range(40):
        file.append(_lines(n))
    file.close()
    assert sorted(tmp_path.iterdir()) == sorted(file.files)
    assert len(file.files) == 1 + keep
    kept = [line for path in reversed(file.files) for line in path.read_bytes().splitlines(keepends=True)]
    assert kept == _lines(*range(40 - len(kept), 40))
    assert all(path.stat().st_size <= 30 for path in file.files)


def test_lines_of_one_append_are_in_one_file(tmp_path: Path) -> None:
    """Also when they are more than fit."""
    file = RotatingFile(tmp_path / "out", max_bytes=30, keep=1)
    file.append(_lines(0))
    file.append(_lines(*range(1, 9)))
    assert [path.read_bytes().count(b"\n") for path in file.files] == [8, 1]


@pytest.mark.parametrize("durable", [False, True])
def test_a_line_torn_by_a_power_cut_is_ended(tmp_path: Path, durable: bool) -> None:
    """The next begins on a line of its own, in the same file."""
    (tmp_path / "out").write_bytes(b"line 000\nline 0")
    file = RotatingFile(tmp_path / "out", 1000, 1, durable=durable)
    file.append(_lines(1))
    file.append(_lines(2))
    assert (tmp_path / "out").read_bytes() == b"line 000\nline 0\nline 001\nline 002\n"


@pytest.mark.parametrize("removed", [False, True])
def test_a_file_that_is_not_there_any_more_is_made_again(tmp_path: Path, removed: bool) -> None:
    """Somebody else rotates or tidies up: new lines stand under the name."""
    path = tmp_path / "out"
    file = RotatingFile(path, 1000, 1)
    file.append(_lines(0))
    if removed:
        path.unlink()
    else:
        path.rename(tmp_path / "moved")
    file.append(_lines(1))
    assert path.read_bytes() == b"line 001\n"
    assert removed or (tmp_path / "moved").read_bytes() == b"line 000\n"


@pytest.mark.parametrize(("durable", "stay"), [(False, 2), (True, 0)])
def test_a_disk_that_fills_up_leaves_whole_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, stay: int
) -> None:
    """Half a line is taken back, with `durable` the whole lines before it too; said is what stayed."""
    path = tmp_path / "out"
    file = RotatingFile(path, 1000, 1, durable=durable)
    file.append(_lines(0))
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", DiskWith(room=22))
        with pytest.raises(NotWrittenError, match="No space left") as e:
            file.append(_lines(1, 2, 3))
        assert e.value.written == stay
        assert path.read_bytes() == b"".join(_lines(0, 1, 2)[: 1 + stay])
        with pytest.raises(NotWrittenError) as e:
            file.append(_lines(4))
        assert e.value.written == 0
    file.append(_lines(5))
    assert path.read_bytes() == b"".join([*_lines(0, 1, 2)[: 1 + stay], *_lines(5)])


def test_what_can_t_be_taken_back_is_ended_as_a_torn_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that became read-only in the middle of a line."""
    path = tmp_path / "out"
    file = RotatingFile(path, 1000, 1)

    def read_only(_fd: int, _size: int) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", DiskWith(room=4))
        patch.setattr(os, "ftruncate", read_only)
        with pytest.raises(NotWrittenError) as e:
            file.append(_lines(0))
    assert e.value.written == 0
    file.append(_lines(1))
    assert path.read_bytes() == b"line\nline 001\n"


def test_durable_lines_are_synced_and_so_is_the_folder_of_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut right after `append` loses nothing; one whose sync fails is not in the file."""
    synced: list[str] = []
    fsync = os.fsync

    def watch(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        fsync(fd)

    monkeypatch.setattr(os, "fsync", watch)
    path = tmp_path / "out"
    file = RotatingFile(path, 20, 1, durable=True)
    file.append(_lines(0))
    assert synced == [str(tmp_path), str(path)]
    file.append(_lines(1))
    assert synced[2:] == [str(path)]
    file.append(_lines(2))
    assert synced[3:] == [str(tmp_path), str(path)], "rotated"

    def refuse(_fd: int) -> None:
        raise FULL

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(NotWrittenError):
        file.append(_lines(3))
    assert path.read_bytes() == b"line 002\n"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """It is not made; once it is there, lines are written."""
    file = RotatingFile(tmp_path / "deep" / "out", 1000, 1)
    with pytest.raises(NotWrittenError, match="No such file") as e:
        file.append(_lines(0))
    assert e.value.written == 0
    (tmp_path / "deep").mkdir()
    file.append(_lines(1))
    assert (tmp_path / "deep" / "out").read_bytes() == b"line 001\n"
    file.close()
    file.close()
