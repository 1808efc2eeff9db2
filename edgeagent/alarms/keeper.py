# SPDX-License-Identifier: AGPL-3.0-or-later
"""Brings the book of alarms onto the disk in a thread of its own, and says what is there. Nothing waits for it but who
has to know."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import structlog

from edgeagent.alarms.alarm_file import load_book, save_book
from edgeagent.core.alarms.book import AlarmBook

SAVE_S = 5.0
"""How long whoever has to know that something is on disk waits for it."""
APART_S = 5.0
"""Between two saves that nobody waits for: an alarm that flaps isn't to wear a disk out."""
_log = structlog.get_logger(__name__)


class AlarmKeeper:
    """On the event loop's thread. error: why the last save failed, "" when it didn't."""

    def __init__(self, path: Path, keep: int) -> None:
        self.error = ""
        self._path, self._keep = path, keep
        self._disk: ThreadPoolExecutor | None = None
        self._durable: AlarmBook | None = None
        self._saving: asyncio.Future[None] | None = None
        self._saved_at = -APART_S

    def load(self) -> AlarmBook:
        """What is remembered. Reads the disk: before there are frames."""
        self._durable = load_book(self._path, self._keep)
        return self._durable

    def look(self, book: AlarmBook) -> None:
        """Have it saved, if it has changed, and the last time was some seconds ago."""
        if book is not self._durable and not self._saving and time.monotonic() - self._saved_at >= APART_S:
            self._begin(book)

    async def saved(self, book: AlarmBook, timeout_s: float = SAVE_S) -> None:
        """Return when it is on disk. Raises OSError when the disk doesn't take it, TimeoutError when it takes longer;
        it is tried again all the same."""
        async with asyncio.timeout(timeout_s):
            while self._saving:
                await asyncio.wait([self._saving])
            if book is not self._durable:
                await asyncio.shield(self._begin(book))

    async def close(self, book: AlarmBook) -> None:
        """Save it, or fail."""
        try:
            await self.saved(book)
        except OSError as e:  # TimeoutError is one
            _log.error("alarms.not_written", why=str(e) or "the disk does not answer")
        if self._disk:
            self._disk.shutdown(wait=False)

    def _begin(self, book: AlarmBook) -> asyncio.Future[None]:
        self._disk = self._disk or ThreadPoolExecutor(1, "alarms")
        self._saved_at = time.monotonic()
        saving = asyncio.get_running_loop().run_in_executor(self._disk, save_book, self._path, book)
        self._saving = saving
        saving.add_done_callback(lambda done: self._done(book, done))
        return saving

    def _done(self, book: AlarmBook, done: asyncio.Future[None]) -> None:
        self._saving = None
        error = None if done.cancelled() else done.exception()
        if error:
            if str(error) != self.error:
                _log.error("alarms.not_written", why=str(error), note="tried again")
            self.error = str(error) or type(error).__name__
        else:
            self._durable, self.error = book, ""
