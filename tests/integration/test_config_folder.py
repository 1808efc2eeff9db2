# SPDX-License-Identifier: AGPL-3.0-or-later
"""The folder as a config store: what editors, scripts, mounts and mistakes do to it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.errors import UnavailableError, UsageError
from edgeagent.intent import folder as folder_module
from edgeagent.intent.folder import MAX_VALUE_BYTES, FileConfigStore
from edgeagent.intent.port import Connection, Entry
from tests.support.recorder import Recorder

KEY = "/models/yolo/current"
NEVER_READ = 600.0  # no safety read: what is seen was notified


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the intents are; not there yet."""
    return tmp_path / "intent"


@pytest.fixture
def file(folder: Path) -> Path:
    """The key's file, with its folders made."""
    path = folder / KEY[1:]
    path.parent.mkdir(parents=True)
    return path


@pytest.fixture
def store(folder: Path) -> Iterator[FileConfigStore]:
    """Sees by notification only."""
    store = FileConfigStore(folder, read_every_s=NEVER_READ)
    yield store
    store.close()


@pytest.fixture
def seen(store: FileConfigStore, file: Path) -> Recorder:
    """A watch of KEY, which is absent."""
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    return seen


def test_shell_redirection_in_place_is_not_seen_half_done(file: Path, seen: Recorder) -> None:
    """`echo v2 > current` empties the file first; the empty value is not an intent."""
    for n in range(20):
        subprocess.run(["sh", "-c", f"echo v{n} > '{file}'"], check=True)
        seen.wait_value(KEY, b"v%d\n" % n)
    assert b"" not in [e.value for e in seen.entries]


def test_replacing_by_rename_is_seen(file: Path, seen: Recorder) -> None:
    """As editors, rsync and configuration managers do; the same value is a new revision."""
    for n in range(3):
        part = file.with_name("part")
        part.write_bytes(b"v1")
        os.rename(part, file)
        seen.wait_count(n + 2)
    assert len({e.revision for e in seen.entries}) == 4


def test_folders_made_and_removed_again_and_again(folder: Path, file: Path, seen: Recorder) -> None:
    """Also where the new folder bears the inode number of the old one."""
    for n in range(10):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"v%d" % n)
        seen.wait_value(KEY, b"v%d" % n)
        shutil.rmtree(folder / "models")
        seen.wait_value(KEY, None)
    assert seen.connections == [Connection(True)]


def test_the_folder_itself_goes_and_comes_back(folder: Path, file: Path, seen: Recorder) -> None:
    """Gone is not deleted: no entry, but not connected; back within the safety read, then by notification again."""
    shutil.rmtree(folder)
    assert "does not exist" in seen.wait_connected(False).why
    assert [e.value for e in seen.entries] == [None]
    quick = FileConfigStore(folder, read_every_s=0.5)
    try:
        again = Recorder()
        quick.watch([KEY], again.on_entry, again.on_connection)
        again.wait_connected(False)
        file.parent.mkdir(parents=True)
        file.write_bytes(b"v1")
        again.wait_value(KEY, b"v1")
        assert again.connections[-1] == Connection(True)
    finally:
        quick.close()


def test_a_change_that_inotify_misses_is_found_by_reading(
    folder: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is no inotify at all, the folder is read every so often, and that is said once."""

    def none_left(*args: object) -> None:
        raise OSError(24, "inotify instances are used up")

    monkeypatch.setattr("edgeagent.intent.folder.RustNotify", none_left)
    store = FileConfigStore(folder, read_every_s=0.1)
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    file.write_bytes(b"v1")
    seen.wait_value(KEY, b"v1")
    store.close()


def test_a_configmap_swapped_by_its_links(folder: Path, store: FileConfigStore) -> None:
    """Kubernetes mounts: the file is a link through `..data`, which is replaced by a rename."""
    mount = folder / "models" / "yolo"
    for name, value in (("..1", b"v1"), ("..2", b"v2")):
        (mount / name).mkdir(parents=True)
        (mount / name / "current").write_bytes(value)
    (mount / "..data").symlink_to("..1")
    (mount / "current").symlink_to("..data/current")
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    (mount / "..new").symlink_to("..2")
    os.rename(mount / "..new", mount / "..data")
    seen.wait_value(KEY, b"v2")


def test_what_is_no_file_is_said_and_the_next_good_value_works(
    file: Path, folder: Path, store: FileConfigStore
) -> None:
    """A folder, a named pipe, a link to itself, a link out of the folder: not connected, naming the file; no entry."""
    outside = folder.parent / "secret"
    outside.write_bytes(b"v666")
    seen = Recorder()
    other = "/models/yolo/pins/press-07"
    store.watch([KEY, other], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    file.mkdir()
    assert str(file) in seen.wait_connected(False).why
    with pytest.raises(UnavailableError, match="not a file"):
        store.get(KEY)
    with pytest.raises(UnavailableError):
        store.put(KEY, b"v1")
    store.put(other, b"v9")
    seen.wait_value(other, b"v9")
    file.rmdir()
    seen.wait_connected(True)

    os.mkfifo(file)
    seen.wait_connected(False)
    with pytest.raises(UnavailableError, match="not a file"):
        store.get(KEY)
    file.unlink()
    seen.wait_connected(True)

    file.symlink_to(file)
    seen.wait_connected(False)
    with pytest.raises(UnavailableError):
        store.get(KEY)
    file.unlink()
    seen.wait_connected(True)

    file.symlink_to(outside)
    assert "leads out of" in seen.wait_connected(False).why
    with pytest.raises(UnavailableError, match="leads out of"):
        store.get(KEY)
    file.unlink()
    file.write_bytes(b"v2")
    seen.wait_value(KEY, b"v2")
    assert {e.value for e in seen.entries} == {None, b"v9", b"v2"}
    assert not list(file.parent.glob(".*")), "a part was left behind"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_said(file: Path, store: FileConfigStore, seen: Recorder) -> None:
    """By the name of the file and the system's own words."""
    file.touch(mode=0)
    assert "Permission denied" in seen.wait_connected(False).why
    file.chmod(0o644)
    seen.wait_connected(True)


def test_a_huge_file_is_cut_not_swallowed(file: Path, store: FileConfigStore, seen: Recorder) -> None:
    """The value is one byte too long for anybody to take it for whole; a sparse terabyte costs no memory."""
    with file.open("wb") as f:
        f.truncate(1 << 40)
    seen.wait_count(2)
    assert len(seen.entries[1].value or b"") == MAX_VALUE_BYTES + 1
    with pytest.raises(UsageError, match="more than"):
        store.put(KEY, bytes(MAX_VALUE_BYTES + 1))


@pytest.mark.parametrize(
    "key", ["", "/", "/models/../../etc/passwd", "..", "/a//b", "/a/./b", "/a/", "/a\0b"]
)
def test_a_key_that_is_no_path_below_the_folder_is_refused(store: FileConfigStore, key: str) -> None:
    """By every call, before any file is touched."""
    seen = Recorder()
    for call in (
        lambda: store.get(key),
        lambda: store.put(key, b"v1"),
        lambda: store.watch([key], seen.on_entry, seen.on_connection),
    ):
        with pytest.raises(UsageError, match="path below"):
            call()


def test_put_obeys_the_umask_and_leaves_no_parts(store: FileConfigStore, folder: Path) -> None:
    """An operator writes as root what the node reads as its own user."""
    before = os.umask(0o022)
    try:
        store.put(KEY, b"v1")
    finally:
        os.umask(before)
    file = folder / KEY[1:]
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert os.listdir(file.parent) == ["current"]


def test_put_does_not_write_through_a_link_out_of_the_folder(
    store: FileConfigStore, folder: Path, tmp_path: Path
) -> None:
    """A linked folder leads out: refused. A linked file is replaced, what it pointed to stays."""
    (tmp_path / "outside").mkdir()
    (folder / "models").mkdir(parents=True)
    (folder / "models" / "yolo").symlink_to(tmp_path / "outside")
    with pytest.raises(UnavailableError, match="leads out of"):
        store.put(KEY, b"v1")
    assert not list((tmp_path / "outside").iterdir())


def test_an_idle_watch_reads_nothing(file: Path, seen: Recorder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading the key causes no event that would make it read the key again."""
    reads = 0
    read = folder_module._read

    def counted(folder: Path, key: str) -> Entry:
        nonlocal reads
        reads += 1
        return read(folder, key)

    monkeypatch.setattr(folder_module, "_read", counted)
    file.write_bytes(b"v1")
    seen.wait_value(KEY, b"v1")
    time.sleep(1.0)  # what the write itself has caused is over then
    before = reads
    time.sleep(1.0)  # nothing may come: there is no condition to wait for
    assert before > 0
    assert reads == before
    assert len(seen.entries) == 2
