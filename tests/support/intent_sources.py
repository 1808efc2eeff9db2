# SPDX-License-Identifier: AGPL-3.0-or-later
"""For the contract suites: each kind of intent source with its real server, and the operator's way of writing to it.

Another kind is one class and one row of `KINDS`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, cast

from edgeagent.intent.etcd import EtcdConfigStore
from edgeagent.intent.folder import FileConfigStore
from edgeagent.intent.kafka import KafkaIntentSource
from edgeagent.intent.port import Access, IntentSource, KeyValueStore
from edgeagent.intent.zookeeper import MAX_VALUE_BYTES, ZooKeeperStore
from edgeagent.intent.zookeeper_session import SessionSettings
from tests.support.etcd import EtcdServer
from tests.support.kafka import OPTIONS, KafkaServer
from tests.support.zookeeper import ZooKeeperServer

QUICK = (0.05, 0.5)


class Backend(ABC):
    """A source, empty at first, and what happens to it.

    largest: value that it takes, in bytes. opened: further sources on the same server, closed with it.
    """

    largest = 1 << 20

    def __init__(self) -> None:
        self.source = self.open()
        self.opened: list[IntentSource] = []

    @abstractmethod
    def open(self) -> IntentSource:
        """Another one of the adapter's, on the same server."""

    @abstractmethod
    def write(self, key: str, value: bytes) -> None:
        """As the operator does it, not through the adapter."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """As the operator does it."""

    @abstractmethod
    def go_away(self) -> None:
        """The source can't be reached any more."""

    @abstractmethod
    def come_back(self, key: str, value: bytes) -> None:
        """The source can be reached again; `value` was written to `key` while the adapter couldn't see it."""

    @property
    def store(self) -> KeyValueStore:
        """The source, of a kind that can be written."""
        return cast(KeyValueStore, self.source)

    def another(self) -> KeyValueStore:
        """A second one, as another process has it."""
        self.opened.append(self.open())
        return cast(KeyValueStore, self.opened[-1])

    def close(self) -> None:
        """Close what was opened."""
        for source in (self.source, *self.opened):
            source.close()


class EtcdBackend(Backend):
    """A real server, written to with etcdctl."""

    def __init__(self, server: EtcdServer) -> None:
        self.server = server
        server.etcdctl("del", "", "--from-key")
        super().__init__()

    def open(self) -> IntentSource:
        return EtcdConfigStore([self.server.endpoint], backoff_s=QUICK)

    def write(self, key: str, value: bytes) -> None:
        self.server.etcdctl("put", key, *(() if value else ("",)), stdin=value)

    def delete(self, key: str) -> None:
        self.server.etcdctl("del", key)

    def go_away(self) -> None:
        self.server.kill()

    def come_back(self, key: str, value: bytes) -> None:
        self.server.start()
        self.write(key, value)


class ZooKeeperBackend(Backend):
    """A real server, written to with a plain client."""

    largest = MAX_VALUE_BYTES

    def __init__(self, server: ZooKeeperServer) -> None:
        self.server = server
        server.clear()
        super().__init__()

    def open(self) -> IntentSource:
        return ZooKeeperStore(SessionSettings((self.server.endpoint,), "", Access()), backoff_s=QUICK)

    def write(self, key: str, value: bytes) -> None:
        self.server.write(key, value)

    def delete(self, key: str) -> None:
        self.server.operator().delete(key)

    def go_away(self) -> None:
        self.server.kill()

    def come_back(self, key: str, value: bytes) -> None:
        self.server.start()
        self.write(key, value)


class KafkaBackend(Backend):
    """A broker of the real protocol (see there what it can't do), written to with a plain producer."""

    largest = 900_000

    def __init__(self, server: KafkaServer) -> None:
        self.server = server
        server.up()
        server.delete()
        server.create()
        super().__init__()

    def open(self) -> IntentSource:
        return KafkaIntentSource(
            [self.server.address], self.server.topic, Access(options=OPTIONS), backoff_s=QUICK
        )

    def write(self, key: str, value: bytes) -> None:
        self.server.write(key, value)

    def delete(self, key: str) -> None:
        self.server.write(key, None)

    def go_away(self) -> None:
        self.server.down()

    def come_back(self, key: str, value: bytes) -> None:
        self.server.up()
        self.write(key, value)


class FolderBackend(Backend):
    """A folder, written to as `echo` and `cp` do: in place."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir()
        super().__init__()

    def open(self) -> IntentSource:
        return FileConfigStore(self.folder)

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


@contextmanager
def _new_folders(folder: Path) -> Iterator[Callable[[], Path]]:
    folder.mkdir()
    yield lambda: folder / f"intent-{len(list(folder.iterdir()))}"


KINDS: dict[str, tuple[Callable[[Path], AbstractContextManager[Any]], Callable[[Any], Backend]]] = {
    "etcd": (EtcdServer, EtcdBackend),
    "folder": (_new_folders, lambda new_folder: FolderBackend(new_folder())),
    "kafka": (lambda folder: KafkaServer(), KafkaBackend),
    "zookeeper": (ZooKeeperServer, ZooKeeperBackend),
}
"""By kind: its server on a folder, and a backend on that server."""

STORES = ("etcd", "folder", "zookeeper")
"""The kinds that can be written."""

WITH_LEASES = ("etcd", "zookeeper")


class Servers:
    """One server a kind, started when it is first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Any] = {}
        self._stack = ExitStack()

    def backend(self, kind: str) -> Backend:
        """A new backend of a kind, empty."""
        server, backend = KINDS[kind]
        if kind not in self._running:
            self._running[kind] = self._stack.enter_context(server(self._folder / kind))
        return backend(self._running[kind])

    def close(self) -> None:
        """End them all."""
        self._stack.close()
