# SPDX-License-Identifier: AGPL-3.0-or-later
"""The etcd client on the channels that the nodes of `make fleet` share a thread with, against a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc  # type: ignore[import-untyped]
import pytest

from bench import fleet_channel
from edgeagent.errors import UnavailableError
from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.intent.port import Outcome
from tests.support.etcd import EtcdServer
from tests.support.recorder import Recorder

KEY = "/models/yolo/current"
NEVER_READ = (600.0, 600.0)  # no safety read: what is seen was notified, and who waits for it was woken
QUICK = (0.05, 0.5)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EtcdServer]:
    """A server of the test's own, started."""
    with EtcdServer(tmp_path / "server") as server:
        yield server


@pytest.fixture(autouse=True)
def shared_loop(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The loop that all channels of the test are on, in a thread of its own."""
    monkeypatch.setattr(grpc, "insecure_channel", grpc.insecure_channel)  # what it is again afterwards
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    fleet_channel.install(loop)
    yield
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_watches_and_writings_survive_kill_9(server: EtcdServer) -> None:
    """As on the usual channels: each watch is told of what is written before and after."""
    stores = [EtcdConfigStore([server.endpoint], read_every_s=NEVER_READ, backoff_s=QUICK) for _ in range(3)]
    recorders = [Recorder() for _ in stores]
    for store, seen in zip(stores, recorders, strict=True):
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, None)
    stores[0].put(KEY, b"v1")
    for seen in recorders:
        seen.wait_value(KEY, b"v1")
    server.kill()
    for seen in recorders:
        seen.wait_connected(False)
    with pytest.raises(UnavailableError):
        stores[0].get(KEY)
    server.start()
    for seen in recorders:
        seen.wait_connected(True)
    assert stores[0].compare_and_set([], {KEY: b"v2"}) is Outcome.WRITTEN
    for seen in recorders:
        seen.wait_value(KEY, b"v2")
    for store in stores:
        store.close()


def test_closing_ends_a_watch_that_nothing_happens_on(server: EtcdServer) -> None:
    """Again and again: no thread of it waits for the next safety read, which is ten minutes away."""
    for _ in range(20):
        store = EtcdConfigStore([server.endpoint], read_every_s=NEVER_READ)
        seen = Recorder()
        store.watch([KEY], seen.on_entry, seen.on_connection)
        seen.wait_value(KEY, None)
        store.close()
        with pytest.raises(UnavailableError, match="closed"):
            store.get(KEY)
    for thread in threading.enumerate():
        if thread.name.startswith(("config-store", "stream-requests")):
            thread.join(60)
            assert not thread.is_alive()


def test_closing_ends_a_call_that_is_not_answered(server: EtcdServer) -> None:
    """Long before its deadline."""
    store = EtcdConfigStore([server.endpoint], deadline_s=600.0)
    store.put(KEY, b"v1")
    server.freeze()
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(store.get, KEY)
        with pytest.raises(TimeoutError):
            asked.result(0.5)
        store.close()
        with pytest.raises(UnavailableError, match="closed"):
            asked.result(60)
