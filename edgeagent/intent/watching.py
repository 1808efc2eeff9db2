# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the watches of all adapters share: one thread that follows the keys, for ever."""

from __future__ import annotations

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import closing

import structlog

from edgeagent.errors import EdgeAgentError, UnavailableError
from edgeagent.intent.port import Connection, Entry, IntentSource, OnConnection, OnEntry
from edgeagent.util.backoff import Backoff

log = structlog.get_logger(__name__)

ASK_EVERY_S = (0.2, 0.6)
"""Limits of the time between two questions whether a server that was lost answers again (seconds)."""
ASK_S = 1.0
"""Longest wait for that answer (seconds)."""
_AGAIN_S = (0.1, 1.0)  # limits of the delay before the keys are followed anew, of a store that can be read
_HURRY_S = (1.0, 30.0)  # limits of the time between two attempts at once, without a success between them
_STEADY_S = 5.0  # a watch that held this long worked: its end is a first one


class WatchEnded(Exception):
    """The notification ended, which says nothing yet about whether the store can be reached."""


def read_once(source: IntentSource, keys: Sequence[str], timeout_s: float) -> tuple[dict[str, Entry], str]:
    """Each key as it stands now, and what the source has to say beside that ("" if all is well).

    Raises UnavailableError, with the source's reason, when it can't be reached or takes more than `timeout_s` seconds.
    """
    entries: dict[str, Entry] = {}
    connections: list[Connection] = []
    changed = threading.Condition()

    def on_entry(entry: Entry) -> None:
        with changed:
            entries[entry.key] = entry
            changed.notify()

    def on_connection(connection: Connection) -> None:
        with changed:
            connections.append(connection)
            changed.notify()

    def is_over() -> bool:
        return len(entries) == len(keys) or (bool(connections) and not connections[-1].connected)

    with closing(source.watch(keys, on_entry, on_connection)), changed:
        changed.wait_for(is_over, timeout_s)
    why = connections[-1].why if connections else ""
    if len(entries) < len(keys):
        raise UnavailableError(f"intent source {source.url}", why or f"no answer within {timeout_s:g} s")
    return entries, why


class WatchThread(ABC):
    """A watch (see intent/port.py) as a thread. An adapter brings `_follow` and `_interrupt`, and `_answers` if it can.

    How long it waits before trying again: hardly, where the store could just be read and only the notification ended.
    Where it can't be read the pauses grow, so that a plant doesn't overrun a server that is just able to answer; but
    one that begins to answer after a silence is read at once. When that fails as well, the next such attempt has to
    wait, too: a server that a plant's log-ins overwhelm is silent now and then, and would never get out of that.
    backoff: of the store that can't be read.
    """

    def __init__(self, url: str, on_entry: OnEntry, on_connection: OnConnection, backoff: Backoff) -> None:
        self._url = url
        self._on_entry = on_entry
        self._on_connection = on_connection
        self._backoff = backoff
        self._again = Backoff(*_AGAIN_S)
        self._hurry = Backoff(*_HURRY_S)
        self._hurry_from = 0.0  # monotonic seconds
        self._answered = True  # each time it was asked since it was last read or hurried to
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

    def _answers(self) -> bool:
        """Whether a server answers at all, within ASK_S: asked again and again while it can't be read, so cheap."""
        return False

    def _run(self) -> None:
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                self._follow()
                continue
            except WatchEnded as e:
                if not self._closed.is_set():
                    log.debug("watch.ended", config_store=self._url, why=str(e))
                if time.monotonic() - began >= _STEADY_S:
                    self._again.reset()
                self._closed.wait(self._again.next_s())
                continue
            except EdgeAgentError as e:
                self._report_connection(Connection(False, f"{e.why}; {e.todo}" if e.todo else e.why))
            except Exception as e:  # a defect here must not leave the node deaf to its operator
                if not self._closed.is_set():
                    log.exception("watch.failed", config_store=self._url)
                self._report_connection(Connection(False, f"unexpected {type(e).__name__}: {e}"))
            self._pause()

    def _pause(self) -> None:
        """Back off, until a server that was silent answers again."""
        over = time.monotonic() + self._backoff.next_s()
        while (left := over - time.monotonic()) > 0:
            if self._closed.wait(min(left, random.uniform(*ASK_EVERY_S))) or time.monotonic() >= over:
                return
            answers = self._answers()
            if answers and not self._answered and time.monotonic() >= self._hurry_from:
                self._answered = True
                self._hurry_from = time.monotonic() + self._hurry.next_s()
                return
            self._answered = self._answered and answers

    def _report_connection(self, connection: Connection) -> None:
        if connection.connected:  # what fails next is a first failure
            self._backoff.reset()
            self._hurry.reset()
            self._hurry_from = 0.0
            self._answered = True
        if connection == self._connection or self._closed.is_set():
            return
        self._connection = connection
        try:
            self._on_connection(connection)
        except Exception:
            log.exception("callback.failed", config_store=self._url, connection=connection)

    def _report_entry(self, entry: Entry) -> None:
        # Whole entries are compared: a restored backup may hold another value under the same revision.
        if entry == self._reported.get(entry.key) or self._closed.is_set():
            return
        self._reported[entry.key] = entry
        try:
            self._on_entry(entry)
        except Exception:
            log.exception("callback.failed", config_store=self._url, key=entry.key, revision=entry.revision)
