# SPDX-License-Identifier: AGPL-3.0-or-later
"""Durable writes: the order of the steps, and what is left when one of them fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeagent.intent.folder import FileConfigStore
from edgeagent.store.cache import Cache
from edgeagent.store.folder import FolderFiles
from edgeagent.util.durable import (
    durable_file,
    fsync_folder,
    keep_copy,
    make_folder,
    remove_stale_temps,
    write_durably,
)


def test_steps_come_in_the_order_that_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The content is on disk before it gets its name, and the name before the call returns."""
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def seen_fsync(fd: int) -> None:
        is_folder = os.path.isdir(f"/proc/self/fd/{fd}")
        content = b"" if is_folder else Path(os.readlink(f"/proc/self/fd/{fd}")).read_bytes()
        steps.append("fsync folder" if is_folder else f"fsync {content!r}")
        fsync(fd)

    def seen_replace(source: Path, target: Path) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "replace", seen_replace)
    write_durably(tmp_path / "state", b"new")
    assert steps == ["fsync b'new'", "rename", "fsync folder"]
    assert (tmp_path / "state").read_bytes() == b"new"


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_leaves_the_old_content_and_no_rubbish(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """ENOSPC at any step: the error is raised, the old file stays, the temp file goes."""
    path = tmp_path / "state"
    write_durably(path, b"old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space"):
        write_durably(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["state"]
    assert path.read_bytes() == b"old"


def test_error_in_the_block_leaves_nothing(tmp_path: Path) -> None:
    """A stream that breaks off does not become a file."""

    def breaks_off() -> None:
        with durable_file(tmp_path / "x") as file:
            file.write(b"half")
            raise KeyError

    with pytest.raises(KeyError):
        breaks_off()
    assert list(tmp_path.iterdir()) == []


def test_permissions(tmp_path: Path) -> None:
    """Readable for the group, not for the world."""
    write_durably(tmp_path / "state", b"")
    assert (tmp_path / "state").stat().st_mode & 0o007 == 0


def test_stale_temps_go_and_living_ones_stay(tmp_path: Path) -> None:
    """Only a dead process's temp files are rubbish."""
    dead = tmp_path / ".state.99999999.0.tmp"  # above any pid_max
    # In a container each start may have the same process id.
    before = tmp_path / f".state.{os.getpid()}.0.tmp"
    living = tmp_path / f".state.{os.getppid()}.0.tmp"
    other = tmp_path / ".tmp"
    for path in (dead, before, living, other):
        path.touch()
    with durable_file(tmp_path / "state"):
        (own,) = set(tmp_path.glob(f".state.{os.getpid()}.*")) - {before}
        remove_stale_temps(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([own, living, other])


def test_stale_temps_that_can_not_be_removed_are_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that the kernel has made read-only a node starts all the same."""
    (tmp_path / ".state.99999999.0.tmp").touch()

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    remove_stale_temps(tmp_path)


def test_a_copy_stays_as_the_file_was(tmp_path: Path) -> None:
    """Whatever is written to the file afterwards; also when nothing was written in between."""
    path, copy = tmp_path / "state", tmp_path / "state.before"
    keep_copy(path, copy)
    assert not copy.exists()
    write_durably(path, b"old")
    keep_copy(path, copy)
    keep_copy(path, copy)
    write_durably(path, b"new")
    assert (path.read_bytes(), copy.read_bytes()) == (b"new", b"old")
    assert sorted(tmp_path.iterdir()) == [path, copy]


def test_a_copy_where_files_have_one_name_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT, and some shares."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    write_durably(tmp_path / "state", b"old")
    keep_copy(tmp_path / "state", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"old"


@pytest.fixture
def folders_without_fsync(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], list[bytes]]:
    """A file system such as CIFS or DrvFs: it syncs files, and refuses folders with an error. Gives what it synced."""
    fsync = os.fsync

    def refuse(code: int) -> list[bytes]:
        synced: list[bytes] = []

        def only_files(fd: int) -> None:
            if os.path.isdir(f"/proc/self/fd/{fd}"):
                raise OSError(code, os.strerror(code))
            synced.append(Path(os.readlink(f"/proc/self/fd/{fd}")).read_bytes())
            fsync(fd)

        monkeypatch.setattr(os, "fsync", only_files)
        return synced

    return refuse


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_folder_that_can_not_be_synced_is_no_reason_to_fail(
    folders_without_fsync: Callable[[int], list[bytes]], tmp_path: Path, code: int
) -> None:
    """The file is synced all the same, and folders are made."""
    synced = folders_without_fsync(code)
    make_folder(tmp_path / "a" / "b")
    write_durably(tmp_path / "a" / "b" / "state", b"new")
    assert synced == [b"new"]
    assert (tmp_path / "a" / "b" / "state").read_bytes() == b"new"


def test_a_disk_that_fails_is_said_also_of_a_folder(
    folders_without_fsync: Callable[[int], list[bytes]], tmp_path: Path
) -> None:
    """An error of input and output is no missing ability."""
    folders_without_fsync(errno.EIO)
    with pytest.raises(OSError, match="Input/output"):
        fsync_folder(tmp_path)


def test_a_file_that_can_not_be_synced_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only folders may be without."""

    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(OSError, match="Invalid argument"):
        write_durably(tmp_path / "state", b"new")
    assert list(tmp_path.iterdir()) == []


def test_publish_and_promote_on_a_share_that_can_not_sync_folders(
    folders_without_fsync: Callable[[int], list[bytes]], tmp_path: Path
) -> None:
    """Model store, cache and config store in folders of such a file system."""
    synced = folders_without_fsync(errno.EINVAL)
    files = FolderFiles(tmp_path / "store")
    files.prepare()
    files.put_once("yolo/v1/manifest.json", b"{}")
    Cache(tmp_path / "cache")
    store = FileConfigStore(tmp_path / "intent")
    store.put("/models/yolo/current", b"v1")
    assert store.get("/models/yolo/current").value == b"v1"
    assert synced == [b"{}", b"v1"]
