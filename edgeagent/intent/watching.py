# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the watches of all adapters share: one thread that follows the keys, for ever."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

import structlog

from edgeagent.errors import EdgeAgentError
from edgeagent.intent.port import Connection, Entry, OnConnection, OnEntry
from edgeagent.util.backoff import Backoff

log = structlog.get_logger(__name__)


class WatchEnded(Exception):
    """The notification ended, which says nothing yet about whether the store can be reached."""


class WatchThread(ABC):
    """A watch (see intent/port.py) as a thread. An adapter brings `_follow` and `_interrupt`."""

    def __init__(self, url: str, on_entry: OnEntry, on_connection: OnConnection, backoff: Backoff) -> None:
        self._url = url
        self._on_entry = on_entry
        self._on_connection = on_connection
        self._backoff = backoff
        self._reported: dict[str, Entry] = {}
        self._connection: Connection | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="config-store-watch", daemon=True)

    def start(self) -> None:
        """Begin to follow; the subclass is complete."""
        self._thread.start()

    def close(self) -> None:
        """Stop; returns when no callback will be called any more. Idempotent.

        Called from one of the callbacks, it returns at once; that callback is the last one.
        """
        self._closed.set()
        self._interrupt()
        if threading.current_thread() is not self._thread:
            self._thread.join()

    @abstractmethod
    def _follow(self) -> None:
        """Report the keys as they stand, and at each change, until that is to be begun anew.

        Raises EdgeAgentError when the store can't be read, WatchEnded when only the notification failed.
        """

    @abstractmethod
    def _interrupt(self) -> None:
        """Make `_follow` return soon; `_closed` is set."""

    def _run(self) -> None:
        while not self._closed.is_set():
            try:
                self._follow()
                continue
            except WatchEnded as e:
                if not self._closed.is_set():
                    log.info("watch ended, resuming", config_store=self._url, why=str(e))
            except EdgeAgentError as e:
                self._report_connection(Connection(False, e.why))
            except Exception as e:  # a defect here must not leave the node deaf to its operator
                if not self._closed.is_set():
                    log.exception("watch failed, resuming", config_store=self._url)
                self._report_connection(Connection(False, f"unexpected {type(e).__name__}: {e}"))
            self._closed.wait(self._backoff.next_s())

    def _report_connection(self, connection: Connection) -> None:
        if connection == self._connection or self._closed.is_set():
            return
        self._connection = connection
        try:
            self._on_connection(connection)
        except Exception:
            log.exception("callback failed", config_store=self._url, connection=connection)

    def _report_entry(self, entry: Entry) -> None:
        # Whole entries are compared: a restored backup may hold another value under the same revision.
        if entry == self._reported.get(entry.key) or self._closed.is_set():
            return
        self._reported[entry.key] = entry
        try:
            self._on_entry(entry)
        except Exception:
            log.exception("callback failed", config_store=self._url, key=entry.key, revision=entry.revision)
