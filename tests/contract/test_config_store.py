# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every adapter of the config store does, tried on each: etcd (a real server) and a folder."""

from __future__ import annotations

import os
import shutil
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.errors import EdgeAgentError, UnavailableError
from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.intent.folder import FileConfigStore
from edgeagent.intent.port import Connection, Entry, KeyValueStore
from tests.support.etcd import EtcdServer
from tests.support.recorder import Recorder

KEY = "/models/yolo/current"
PIN = "/models/yolo/pins/press-07"


class Backend(ABC):
    """A config store and the operator's own way of writing to it."""

    store: KeyValueStore

    @abstractmethod
    def write(self, key: str, value: bytes) -> None:
        """As the operator does it, not through the adapter."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """As the operator does it."""

    @abstractmethod
    def go_away(self) -> None:
        """The store can't be reached any more."""

    @abstractmethod
    def come_back(self, key: str, value: bytes) -> None:
        """The store can be reached again; `value` was written to `key` while the adapter couldn't see it."""


class EtcdBackend(Backend):
    """A real server."""

    def __init__(self, server: EtcdServer) -> None:
        self.server = server
        self.store = EtcdConfigStore([server.endpoint], backoff_s=(0.05, 0.5))

    def write(self, key: str, value: bytes) -> None:
        self.server.etcdctl("put", key, stdin=value)

    def delete(self, key: str) -> None:
        self.server.etcdctl("del", key)

    def go_away(self) -> None:
        self.server.kill()

    def come_back(self, key: str, value: bytes) -> None:
        self.server.start()
        self.write(key, value)


class FileBackend(Backend):
    """A folder, written to as `echo` and `cp` do: in place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        self.store = FileConfigStore(folder)

    def write(self, key: str, value: bytes) -> None:
        path = self.folder / key[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)

    def delete(self, key: str) -> None:
        (self.folder / key[1:]).unlink()

    def go_away(self) -> None:
        os.rename(self.folder, self.folder.with_name("away"))

    def come_back(self, key: str, value: bytes) -> None:
        path = self.folder.with_name("away") / key[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(value)
        os.rename(self.folder.with_name("away"), self.folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdServer]:
    """One etcd for the module; each test finds it running and empty."""
    with EtcdServer(tmp_path_factory.mktemp("etcd")) as server:
        yield server


@pytest.fixture(params=["etcd", "file"])
def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Backend]:
    """Each adapter in turn."""
    made: Backend
    if request.param == "etcd":
        server: EtcdServer = request.getfixturevalue("server")
        server.etcdctl("del", "", "--from-key")
        made = EtcdBackend(server)
    else:
        made = FileBackend(tmp_path / "intent")
    yield made
    made.store.close()


def test_a_present_value_is_reported_and_read(backend: Backend) -> None:
    """The watch begins with the key as it stands, and agrees with get."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    with_watch = backend.store.watch([KEY], seen.on_entry, seen.on_connection)
    entry = seen.wait_value(KEY, b"v1")
    assert backend.store.get(KEY) == entry
    assert seen.connections == [Connection(True)]
    with_watch.close()
    assert seen.entries == [entry]


def test_an_absent_key_is_reported_as_absent(backend: Backend) -> None:
    """An entry without a value says that there is no wish, which is not the same as silence."""
    seen = Recorder()
    backend.store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_count(1)
    assert seen.entries[0].value is None
    assert backend.store.get(KEY) == seen.entries[0]


def test_a_change_is_reported_within_a_second_or_so(backend: Backend) -> None:
    """By notification: the safety read of the folder would take up to 2 s, that of etcd 15 s and more."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.store.watch([KEY], seen.on_entry, seen.on_connection)
    first = seen.wait_value(KEY, b"v1")
    delays = []
    for value in (b"v2", b"v3", b"v4"):
        began = time.monotonic()
        backend.write(KEY, value)
        later = seen.wait_value(KEY, value)
        delays.append(time.monotonic() - began)
        assert later.revision != first.revision
    assert min(delays) < 1.0, delays
    assert len({e.revision for e in seen.entries}) == len(seen.entries)


def test_writing_the_same_value_again_is_a_new_revision(backend: Backend) -> None:
    """It is a new wish: it ends a hold and lifts a quarantine."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    backend.write(KEY, b"v1")
    seen.wait_count(2)
    assert seen.entries[0].value == seen.entries[1].value == b"v1"
    assert seen.entries[0].revision != seen.entries[1].revision


def test_a_delete_is_reported_and_so_is_what_follows(backend: Backend) -> None:
    """Deleted, then written with the old value: three entries with three revisions."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    backend.delete(KEY)
    seen.wait_value(KEY, None)
    backend.write(KEY, b"v1")
    seen.wait_value(KEY, b"v1")
    assert len({e.revision for e in seen.entries}) == len(seen.entries) == 3


def test_several_keys_in_one_watch(backend: Backend) -> None:
    """Each is reported on its own, from one thread; a key beside them is not."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.store.watch([KEY, PIN], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    seen.wait_value(PIN, None)
    backend.write("/models/yolo/current2", b"beside")
    backend.write(PIN, b"v9")
    seen.wait_value(PIN, b"v9")
    backend.write(KEY, b"v2")
    seen.wait_value(KEY, b"v2")
    backend.delete(PIN)
    seen.wait_value(PIN, None)
    assert {e.key for e in seen.entries} == {KEY, PIN}
    assert len(seen.threads) == 1


@pytest.mark.parametrize(
    "value", [b"", b"\xff\xfe\x00v1\n", bytes(range(256)) * 4096], ids=["empty", "bytes", "1 MiB"]
)
def test_any_bytes_are_a_value(backend: Backend, value: bytes) -> None:
    """The store passes them on unchanged: what they mean is decided elsewhere. A good one afterwards works."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    backend.store.put(KEY, value)
    seen.wait_value(KEY, value)
    assert backend.store.get(KEY).value == value
    backend.write(KEY, b"v2")
    seen.wait_value(KEY, b"v2")
    assert [c.connected for c in seen.connections] == [True]


def test_put_then_get(backend: Backend) -> None:
    """What was put is read back; each put is a new revision, and etcdctl or cat would see it."""
    backend.store.put(KEY, b"v1")
    first = backend.store.get(KEY)
    backend.store.put(KEY, b"v1")
    second = backend.store.get(KEY)
    assert (first.key, first.value, second.value) == (KEY, b"v1", b"v1")
    assert first.revision != second.revision


def test_a_flood_of_writes_ends_with_the_last_value(backend: Backend) -> None:
    """Values in between may be skipped, the last one never is; nothing older comes after it."""
    seen = Recorder()
    backend.store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    for n in range(200):
        backend.store.put(KEY, b"%d" % n)
    seen.wait_value(KEY, b"199")
    numbers = [int(e.value) for e in seen.entries if e.value]
    assert numbers == sorted(numbers)


def test_a_value_written_while_the_store_was_away_is_seen_after(backend: Backend) -> None:
    """Disconnected is said, with a reason; the watch comes back by itself; calls fail in between, in bounded time."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    backend.go_away()
    assert seen.wait_connected(False).why
    began = time.monotonic()
    with pytest.raises(UnavailableError):
        backend.store.get(KEY)
    assert time.monotonic() - began < 15
    backend.come_back(KEY, b"v2")
    seen.wait_value(KEY, b"v2")
    seen.wait_connected(True)
    assert [e.value for e in seen.entries] == [b"v1", b"v2"]
    assert backend.store.get(KEY).value == b"v2"


def test_close_is_idempotent_and_stops_the_callbacks(backend: Backend) -> None:
    """Nothing is reported after close returned, and it returns soon. Other watches go on."""
    closed, other = Recorder(), Recorder()
    watch = backend.store.watch([KEY], closed.on_entry, closed.on_connection)
    backend.store.watch([KEY], other.on_entry, other.on_connection)
    closed.wait_value(KEY, None)
    other.wait_value(KEY, None)
    began = time.monotonic()
    watch.close()
    watch.close()
    assert time.monotonic() - began < 2
    backend.write(KEY, b"v1")
    other.wait_value(KEY, b"v1")
    assert [e.value for e in closed.entries] == [None]


def test_close_from_a_callback_does_not_deadlock(backend: Backend) -> None:
    """It returns at once, and that callback was the last one."""
    backend.write(KEY, b"v1")
    backend.write(PIN, b"v1")
    entries: list[Entry] = []
    begin, done = threading.Event(), threading.Event()

    def on_entry(entry: Entry) -> None:
        begin.wait(20)
        entries.append(entry)
        watch.close()
        done.set()

    watch = backend.store.watch([KEY, PIN], on_entry, lambda connection: None)
    begin.set()
    assert done.wait(20)
    watch.close()
    assert len(entries) == 1


def test_a_failing_callback_does_not_kill_the_watch(backend: Backend) -> None:
    """The next change is reported all the same."""
    seen = Recorder()

    def on_entry(entry: Entry) -> None:
        seen.on_entry(entry)
        raise ValueError("a defect of the caller's")

    def on_connection(connection: Connection) -> None:
        raise ValueError("another one")

    backend.store.watch([KEY], on_entry, on_connection)
    seen.wait_value(KEY, None)
    backend.write(KEY, b"v1")
    seen.wait_value(KEY, b"v1")


def test_closing_the_store_ends_everything(backend: Backend) -> None:
    """Threads of its watches are gone; calls after it are refused; a second close does nothing."""
    seen = Recorder()
    backend.store.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    backend.store.close()
    backend.store.close()
    assert not [t for t in threading.enumerate() if t.name == "config-store-watch"]
    with pytest.raises(EdgeAgentError):
        backend.store.get(KEY)


@pytest.mark.parametrize("kind", ["etcd", "file"])
def test_a_store_that_is_not_there_is_said_at_once_and_then_found(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Watching needs no store: not connected, with the reason, and no entry; later it comes up and all is well."""
    store: KeyValueStore
    server = EtcdServer(tmp_path / "server")
    folder = tmp_path / "deep" / "intent"
    store = (
        EtcdConfigStore([server.endpoint], backoff_s=(0.05, 0.5))
        if kind == "etcd"
        else FileConfigStore(folder)
    )
    request.addfinalizer(server.kill)
    request.addfinalizer(store.close)
    seen = Recorder()
    store.watch([KEY], seen.on_entry, seen.on_connection)
    assert seen.wait_connected(False).why
    with pytest.raises(UnavailableError):
        store.get(KEY)
    assert not seen.entries
    if kind == "etcd":
        server.start()
    store.put(KEY, b"v1")
    seen.wait_value(KEY, b"v1")
    assert seen.connections[-1] == Connection(True)
    if kind == "file":
        shutil.rmtree(folder)
        seen.wait_connected(False)
