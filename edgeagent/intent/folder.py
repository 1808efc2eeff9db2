# SPDX-License-Identifier: AGPL-3.0-or-later
"""Config store in a folder, the embedded default: the key `/models/yolo/current` is the file of that path.

Changes are noticed through inotify on the folders that lead to the keys; a plain re-read every few
seconds masks whatever inotify misses (network file systems, bind mounts, overflowing queues).
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from weakref import WeakSet

import structlog
from watchfiles._rust_notify import RustNotify, WatchfilesRustInternalError

from edgeagent.errors import EdgeAgentError, UnavailableError, UsageError
from edgeagent.intent.port import (
    ABSENT,
    Access,
    Connection,
    Entry,
    Expected,
    Lease,
    OnConnection,
    OnEntry,
    Outcome,
    Watch,
    check_prefix,
)
from edgeagent.intent.url import Address
from edgeagent.intent.watching import WatchThread
from edgeagent.util.backoff import Backoff
from edgeagent.util.durable import make_folder, write_durably
from edgeagent.util.plain_file import open_plain_file

log = structlog.get_logger(__name__)

MAX_VALUE_BYTES = 1 << 20
_ANY_KEY = "/any"  # stands for the folder itself
_MODE = 0o666  # before umask: nodes read what an operator writes
_SETTLE_MS = 50  # `echo v2 > file` empties the file first
_STEP_MS = (
    20  # how often it is looked for changes, and how long none must come: one to two steps after a write
)
_LOCK_S = 5.0  # longest wait for another writer
_GROUP_MS = 200  # a burst of changes is one change, at most this late


def open_source(address: Address, access: Access) -> FileConfigStore:
    """The folder at an address."""
    return FileConfigStore(Path(address.path))


class FileConfigStore:
    """Keys are files under `folder`, which need not exist yet. No leases.

    read_every_s: seconds between two reads that don't wait for a notification.
    """

    def __init__(self, folder: Path, *, read_every_s: float = 2.0) -> None:
        self.url = folder.as_uri()
        self._folder = folder
        self._read_every_s = read_every_s
        self._watches: WeakSet[_FileWatch] = WeakSet()
        self._closed = False

    def get(self, key: str) -> Entry:
        """Read one key. A value over MAX_VALUE_BYTES comes cut to one byte more than that.

        Raises UnavailableError, UsageError for a key that leads out of the folder.
        """
        self._check_open()
        return _read(self._folder, key)

    def put(self, key: str, value: bytes, lease: Lease | None = None) -> None:
        """Write one key, durably and in one step; missing folders are created.

        Raises UnavailableError, UsageError for a value over MAX_VALUE_BYTES or a key that leads out of the folder.
        """
        self._check_open()
        self._write(key, value)

    def list(self, prefix: str) -> Sequence[Entry]:
        """See KeyValueStore.list; without hidden files. Raises UnavailableError also for a file that can't be read."""
        self._check_open()
        check_prefix(prefix)
        entries = [_read(self._folder, key) for key in _keys(self._folder, prefix)]
        return [entry for entry in entries if entry.value is not None]

    def compare_and_set(
        self, expected: Sequence[Expected], writes: Mapping[str, bytes | None], lease: Lease | None = None
    ) -> Outcome:
        """See KeyValueStore.compare_and_set; one writer at a time, through a lock on a file in the folder.

        Holds only among writers that use it, which an editor doesn't; a crash may leave some of `writes` undone.
        Raises UsageError for an expectation of when a key was created, and whatever `put` raises for the first key;
        once that is written, a failure is UNKNOWN.
        """
        self._check_open()
        if any(e.created is not None for e in expected):
            raise UsageError(f"config store {self.url}", "a folder doesn't know when a key was created")
        if not writes:
            _read(self._folder, _ANY_KEY)  # raises where there is no folder: a check makes none
        with _locked(self._folder):
            if any(self.get(e.key).revision != e.revision for e in expected if e.revision is not None):
                return Outcome.REFUSED
            for written, (key, value) in enumerate(writes.items()):
                try:
                    self._write(key, value)
                except EdgeAgentError:
                    if not written:
                        raise
                    return Outcome.UNKNOWN
        return Outcome.WRITTEN

    def lease(self, ttl_s: float) -> Lease:
        """Raises UsageError: a file stays when the node that wrote it is gone."""
        raise UsageError(f"config store {self.url}", "a folder has no leases", "use etcd or ZooKeeper")

    def watch(self, keys: Sequence[str], on_entry: OnEntry, on_connection: OnConnection) -> Watch:
        """See IntentSource.watch; `connected` says that the folder is there and each key's file readable."""
        self._check_open()
        for key in keys:
            _path(self._folder, key)
        watch = _FileWatch(self._folder, tuple(keys), on_entry, on_connection, self._read_every_s)
        self._watches.add(watch)
        watch.start()
        return watch

    def close(self) -> None:
        """End every watch. Idempotent."""
        self._closed = True
        for watch in list(self._watches):
            watch.close()

    def _write(self, key: str, value: bytes | None) -> None:
        path = _path(self._folder, key)
        if value is not None and len(value) > MAX_VALUE_BYTES:
            raise UsageError(f"key {key}", f"{len(value)} bytes are more than the {MAX_VALUE_BYTES} allowed")
        try:
            _check_inside(self._folder, path.parent)
            if value is None:
                path.unlink(missing_ok=True)
                return
            make_folder(path.parent)
            write_durably(path, value, _MODE)
        except OSError as e:
            raise _unavailable(path, e) from e

    def _check_open(self) -> None:
        if self._closed:
            raise UnavailableError(f"config store {self.url}", "it has been closed")


class _FileWatch(WatchThread):
    def __init__(
        self,
        folder: Path,
        keys: tuple[str, ...],
        on_entry: OnEntry,
        on_connection: OnConnection,
        read_every_s: float,
    ) -> None:
        backoff = Backoff(min(0.1, read_every_s), read_every_s)
        super().__init__(folder.as_uri(), on_entry, on_connection, backoff)
        self._folder = folder
        self._keys = keys
        self._read_every_s = read_every_s
        self._polls = False

    def _follow(self) -> None:
        folders = self._leading_folders()
        if str(self._folder) not in folders:
            _read(self._folder, _ANY_KEY)  # raises, saying what is wrong with the folder
        try:
            # The documented backend of watchfiles: unlike watchfiles.watch() it is watching once it is made,
            # so that no change falls between reading the keys and waiting.
            notify = RustNotify(list(folders), False, False, 0, False, True)
        except FileNotFoundError:
            return
        except (OSError, WatchfilesRustInternalError) as e:
            self._poll(e)
            return
        with notify:
            while not self._closed.is_set() and self._leading_folders() == folders:
                self._report_all()
                changes = notify.watch(_GROUP_MS, _STEP_MS, int(self._read_every_s * 1000), self._closed)
                if isinstance(changes, set) and not folders.keys().isdisjoint(path for _, path in changes):
                    return  # a folder itself went; its successor may bear the same inode number

    def _interrupt(self) -> None:
        """Nothing to do: each wait in `_follow` looks at `_closed`."""

    def _poll(self, error: Exception) -> None:
        if not self._polls:
            log.warning("inotify.missing", config_store=self._url, why=str(error))
        self._polls = True
        self._report_all()
        self._closed.wait(self._read_every_s)

    def _leading_folders(self) -> dict[str, tuple[int, int]]:
        """The existing folders on the way to the keys, with what tells a folder from its successor."""
        found: dict[str, tuple[int, int]] = {}
        for key in (*self._keys, _ANY_KEY):
            path = _path(self._folder, key)
            for folder in reversed(path.parents[: len(path.parts) - len(self._folder.parts)]):
                try:
                    about = folder.stat()
                except OSError:
                    break  # reading the key says what is wrong
                if stat.S_ISDIR(about.st_mode):
                    found[str(folder)] = (about.st_dev, about.st_ino)
        return found

    def _report_all(self) -> None:
        entries: list[Entry] = []
        connection = Connection(True)
        for key in self._keys:
            try:
                entry = _read(self._folder, key)
                if entry.value == b"" and not self._closed.wait(_SETTLE_MS / 1000):
                    entry = _read(self._folder, key)
                entries.append(entry)
            except UnavailableError as e:
                connection = Connection(False, e.why)
        self._report_connection(connection)
        for entry in entries:
            self._report_entry(entry)


def _path(folder: Path, key: str) -> Path:
    names = key.removeprefix("/").split("/")
    if any(name in ("", ".", "..") or "\0" in name for name in names):
        raise UsageError(
            f"key {key!r}", "it is no path below the folder", "use one like /models/yolo/current"
        )
    return folder.joinpath(*names)


def _keys(folder: Path, prefix: str) -> list[str]:
    start = _path(folder, prefix.rstrip("/")) if prefix.strip("/") else folder
    names = (Path(base, name) for base, _, files in os.walk(start) for name in files)
    return sorted(
        f"/{path.relative_to(folder).as_posix()}" for path in names if not path.name.startswith(".")
    )


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        make_folder(folder)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as e:
        raise _unavailable(folder, e) from e
    try:
        _wait_for_lock(folder, descriptor)
        yield
    finally:
        os.close(descriptor)


def _wait_for_lock(folder: Path, descriptor: int) -> None:
    give_up = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as e:
            if time.monotonic() > give_up:
                raise UnavailableError(
                    f"folder {folder}", "another writer holds its lock", "try again"
                ) from e
        except OSError as e:
            raise _unavailable(folder / ".lock", e) from e
        time.sleep(0.01)


def _check_inside(folder: Path, path: Path) -> None:
    """Links may lead about within the folder (Kubernetes mounts do), not out of it."""
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except RuntimeError as e:  # pathlib's word for a loop of links
        raise UnavailableError(f"file {path}", str(e), "remove the symbolic link") from e
    if not inside:
        raise UnavailableError(f"file {path}", f"{path} leads out of {folder}", "remove the symbolic link")


def _read(folder: Path, key: str) -> Entry:
    path = _path(folder, key)
    try:
        _check_inside(folder, path)
        for _ in range(10):
            about, value, after = _read_once(path)
            if about == after:
                return Entry(key, value, f"{about}-{zlib.crc32(value):08x}")
        raise UnavailableError(f"file {path}", f"{path} is being written all the time", "write it in one go")
    except FileNotFoundError as e:
        if folder.is_dir():
            return Entry(key, None, ABSENT)
        raise UnavailableError(f"folder {folder}", f"{folder} does not exist", "create it") from e
    except OSError as e:
        raise _unavailable(path, e) from e


def _read_once(path: Path) -> tuple[str, bytes, str]:
    """What the file was before reading, its bytes, and what it was afterwards."""
    with open_plain_file(path) as file:
        about = os.fstat(file.fileno())
        value = file.read(MAX_VALUE_BYTES + 1)
        return _fingerprint(about), value, _fingerprint(os.fstat(file.fileno()))


def _fingerprint(about: os.stat_result) -> str:
    return f"{about.st_mtime_ns}-{about.st_ino}-{about.st_size}"


def _unavailable(path: Path, error: OSError) -> UnavailableError:
    return UnavailableError(f"file {path}", f"{path}: {error.strerror or error}")
