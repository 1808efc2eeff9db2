# SPDX-License-Identifier: AGPL-3.0-or-later
"""One source of intent as the watcher of a node sees it: its watches, its connection, and what it has said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from edgeagent.core.precedence import Said
from edgeagent.intent.connection_log import ConnectionLog
from edgeagent.intent.port import Connection, Entry, IntentSource, Watch

NOT_TRIED = "not tried yet"


class WatchedSource:
    """A source with what it has said. number: its place in the order of the configuration; unsaid: of each model.

    The models of the start share a watch; one that comes later gets one of its own, so that nothing is read anew of the
    others.
    """

    def __init__(self, number: int, source: IntentSource, models: Iterable[str], unsaid: Said) -> None:
        self.number = number
        self.source = source
        self.said = dict.fromkeys(models, unsaid)
        self._unsaid = unsaid
        self.decides: set[str] = set()
        """The models whose intent comes from here."""
        self.log = ConnectionLog(source.url)
        self._watches: dict[int, Watch] = {}
        self._connections: dict[int, Connection] = {}

    @property
    def connection(self) -> Connection:
        """Whether it can be reached, for all that is watched; and why not."""
        known = self._connections.values()
        lost = next((c for c in known if not c.connected), None)
        return lost or next(iter(known), Connection(False, NOT_TRIED))

    def connected(self, watch: int, connection: Connection) -> None:
        """One of its watches can reach it, or can't."""
        self._connections[watch] = connection

    def watch(
        self,
        number: int,
        keys: Sequence[str],
        on_entry: Callable[[Entry], None],
        on_connection: Callable[[Connection], None],
    ) -> None:
        """Begin to watch these keys too. number: of the watch."""
        self._watches[number] = self.source.watch(keys, on_entry, on_connection)

    async def unwatch(self, number: int) -> None:
        """End one of the watches. Returns when no callback of it comes any more."""
        self._connections.pop(number, None)
        if watch := self._watches.pop(number, None):
            await asyncio.to_thread(watch.close)
            self._connections.pop(number, None)

    def begin(self, model: str) -> None:
        """It has said nothing of this model yet."""
        self.said[model] = self._unsaid

    def forget(self, model: str) -> None:
        """Nobody asks for this model any more."""
        self.said.pop(model, None)
        self.decides.discard(model)

    def has_not_said(self, model: str) -> bool:
        """Whether it has said nothing of this model."""
        return self.said.get(model) == self._unsaid

    def give_up(self, model: str) -> None:
        """Don't wait for what it says of a model any more."""
        self.said[model] = replace(self._unsaid, given_up=True)

    def close(self) -> None:
        """No callback comes after this; the source is closed."""
        for watch in self._watches.values():
            watch.close()
        self.source.close()
