# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every source of intent does, tried on each kind with its real server."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edgeagent.errors import UnavailableError
from edgeagent.intent.port import Connection, Entry
from tests.support.intent_sources import KINDS, Backend, Servers
from tests.support.recorder import Recorder

KEY = "/models/yolo/current"
PIN = "/models/yolo/pins/press-07"


@pytest.fixture(params=sorted(KINDS))
def backend(request: pytest.FixtureRequest, servers: Servers) -> Iterator[Backend]:
    """Each kind in turn."""
    made = servers.backend(request.param)
    yield made
    made.close()


def test_a_present_value_is_reported_and_read(backend: Backend) -> None:
    """The watch begins with the key as it stands."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    watch = backend.source.watch([KEY], seen.on_entry, seen.on_connection)
    entry = seen.wait_value(KEY, b"v1")
    assert seen.connections == [Connection(True)]
    watch.close()
    assert seen.entries == [entry]


def test_an_absent_key_is_reported_as_absent(backend: Backend) -> None:
    """An entry without a value says that there is no intent, which is not the same as silence."""
    seen = Recorder()
    backend.source.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_count(1)
    assert seen.entries[0].value is None


def test_every_change_is_reported(backend: Backend) -> None:
    """Each with a revision of its own. That it is by notification is shown where no safety read helps: in the adapters'
    own tests."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.source.watch([KEY], seen.on_entry, seen.on_connection)
    first = seen.wait_value(KEY, b"v1")
    for value in (b"v2", b"v3", b"v4"):
        backend.write(KEY, value)
        later = seen.wait_value(KEY, value)
        assert later.revision != first.revision
    assert len({e.revision for e in seen.entries}) == len(seen.entries)


def test_writing_the_same_value_again_is_a_new_revision(backend: Backend) -> None:
    """It is a new intent: it ends a hold and lifts a quarantine."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.source.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    backend.write(KEY, b"v1")
    seen.wait_count(2)
    assert seen.entries[0].value == seen.entries[1].value == b"v1"
    assert seen.entries[0].revision != seen.entries[1].revision


def test_a_delete_is_reported_and_so_is_what_follows(backend: Backend) -> None:
    """Deleted, then written with the old value: three entries with three revisions."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.source.watch([KEY], seen.on_entry, seen.on_connection)
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
    backend.source.watch([KEY, PIN], seen.on_entry, seen.on_connection)
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


@pytest.mark.parametrize("size", [0, 7, 1 << 20], ids=["empty", "bytes", "1 MiB"])
def test_any_bytes_are_a_value(backend: Backend, size: int) -> None:
    """The source passes them on unchanged: what they mean is decided elsewhere. A good one afterwards works."""
    value = (bytes(range(255, -1, -1)) * 4096)[: min(size, backend.largest)]
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.source.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    backend.write(KEY, value)
    seen.wait_value(KEY, value)
    backend.write(KEY, b"v2")
    seen.wait_value(KEY, b"v2")
    assert [c.connected for c in seen.connections] == [True]


def test_a_flood_of_writes_ends_with_the_last_value(backend: Backend) -> None:
    """Values in between may be skipped, the last one never is; nothing older comes after it."""
    seen = Recorder()
    backend.source.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    for n in range(40):
        backend.write(KEY, b"%d" % n)
    seen.wait_value(KEY, b"39")
    numbers = [int(e.value) for e in seen.entries if e.value]
    assert numbers == sorted(numbers)


def test_a_value_written_while_the_store_was_away_is_seen_after(backend: Backend) -> None:
    """Disconnected is said, with a reason; the watch comes back by itself."""
    backend.write(KEY, b"v1")
    seen = Recorder()
    backend.source.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, b"v1")
    backend.go_away()
    assert seen.wait_connected(False).why
    backend.come_back(KEY, b"v2")
    seen.wait_value(KEY, b"v2")
    seen.wait_connected(True)
    assert [e.value for e in seen.entries] == [b"v1", b"v2"]


def test_a_watch_of_no_keys_says_whether_the_source_is_there(backend: Backend) -> None:
    """A node without pipelines has no keys, and a status."""
    seen = Recorder()
    backend.source.watch([], seen.on_entry, seen.on_connection)
    seen.wait_connected(True)
    assert seen.connections == [Connection(True)]


def test_close_is_idempotent_and_stops_the_callbacks(backend: Backend) -> None:
    """Nothing is reported after close returned, and it returns. Other watches go on."""
    closed, other = Recorder(), Recorder()
    watch = backend.source.watch([KEY], closed.on_entry, closed.on_connection)
    backend.source.watch([KEY], other.on_entry, other.on_connection)
    closed.wait_value(KEY, None)
    other.wait_value(KEY, None)
    watch.close()
    watch.close()
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
        begin.wait(60)
        entries.append(entry)
        watch.close()
        done.set()

    watch = backend.source.watch([KEY, PIN], on_entry, lambda connection: None)
    begin.set()
    assert done.wait(60)
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

    backend.source.watch([KEY], on_entry, on_connection)
    seen.wait_value(KEY, None)
    backend.write(KEY, b"v1")
    seen.wait_value(KEY, b"v1")


def test_closing_the_store_ends_everything(backend: Backend) -> None:
    """Threads of its watches are gone; a second close does nothing, and no watch begins that nobody would end."""
    seen = Recorder()
    backend.source.watch([KEY], seen.on_entry, seen.on_connection)
    seen.wait_value(KEY, None)
    backend.source.close()
    backend.source.close()
    with pytest.raises(UnavailableError, match="closed"):
        backend.source.watch([KEY], seen.on_entry, seen.on_connection)
    assert not [t for t in threading.enumerate() if t.name == "config-store-watch"]


def test_a_source_that_is_not_there_is_said_at_once_and_then_found(backend: Backend) -> None:
    """Watching needs no server: not connected, with the reason, and no entry; later it comes up and all is well."""
    backend.go_away()
    seen = Recorder()
    backend.source.watch([KEY], seen.on_entry, seen.on_connection)
    assert seen.wait_connected(False).why
    assert not seen.entries
    backend.come_back(KEY, b"v1")
    seen.wait_value(KEY, b"v1")
    assert seen.wait_connected(True) == Connection(True)
