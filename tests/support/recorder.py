# SPDX-License-Identifier: AGPL-3.0-or-later
"""Keeps what a watch reported, and waits for it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edgeagent.intent.port import Connection, Entry


class Recorder:
    """The two callbacks of a watch; wait until what they said fulfils a condition."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.connections: list[Connection] = []
        self.threads: set[int] = set()
        self._changed = threading.Condition()

    def on_entry(self, entry: Entry) -> None:
        """To be given to watch()."""
        with self._changed:
            self.entries.append(entry)
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def on_connection(self, connection: Connection) -> None:
        """To be given to watch()."""
        with self._changed:
            self.connections.append(connection)
            self.threads.add(threading.get_ident())
            self._changed.notify_all()

    def wait(self, fulfilled: Callable[[], bool], deadline_s: float = 120.0) -> None:
        """Return when `fulfilled` is; fails after the deadline, showing what was reported."""
        with self._changed:
            assert self._changed.wait_for(fulfilled, deadline_s), (
                f"only {[(e.key, (e.value or b'')[:40], e.revision) for e in self.entries]}, {self.connections}"
            )

    def wait_count(self, count: int) -> None:
        """Wait until `count` entries were reported."""
        self.wait(lambda: len(self.entries) >= count)

    def wait_value(self, key: str, value: bytes | None, deadline_s: float = 120.0) -> Entry:
        """Wait until the last thing said of `key` is `value`; returns that entry."""
        self.wait(lambda: self.last(key) is not None and self.last_value(key) == value, deadline_s)
        entry = self.last(key)
        assert entry is not None
        return entry

    def wait_connected(self, connected: bool, deadline_s: float = 120.0) -> Connection:
        """Wait until the last thing said of the connection is `connected`; returns it."""
        self.wait(lambda: bool(self.connections) and self.connections[-1].connected == connected, deadline_s)
        return self.connections[-1]

    def last(self, key: str) -> Entry | None:
        """The last entry reported of `key`."""
        return next((e for e in reversed(self.entries) if e.key == key), None)

    def last_value(self, key: str) -> bytes | None:
        """The last value reported of `key`; None also when nothing was."""
        entry = self.last(key)
        return entry.value if entry else None
