# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far a command is, on the terminal, once it takes long enough for somebody to wonder. Nothing in a pipe."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

QUIET_S = 2.0
_EVERY_S = 0.2
_ERASE = "\r\x1b[K"


class Working:
    """A line on stderr that says what is done, and for how long. A context manager; nothing unless stderr is a
    terminal, and nothing for what takes less than two seconds.

    clock: monotonic, in seconds.
    """

    def __init__(self, what: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self._what = what
        self._clock = clock
        self._since = clock()
        self._shown = False
        self._is_terminal = sys.stderr.isatty()
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        if what:
            self.at(what)

    def at(self, what: str) -> None:
        """Something else is done from now on."""
        self._what, self._since = what, self._clock()
        if self._is_terminal and self._thread is None and not self._over.is_set():
            self._thread = threading.Thread(target=self._run, name="progress", daemon=True)
            self._thread.start()

    def pause(self) -> None:
        """Something is printed: the line makes room, and comes back two seconds later."""
        with self._lock:
            self._since = self._clock()
            self._erase()

    def end(self) -> None:
        """What follows begins on a line of its own. Idempotent."""
        self._over.set()
        if self._thread:
            self._thread.join()
            self._thread = None
        self._erase()

    def tick(self) -> None:
        """Show how long it takes by now."""
        with self._lock:
            took = self._clock() - self._since
            if took >= QUIET_S and not self._over.is_set():
                sys.stderr.write(f"{_ERASE}{self._what} … {took:.0f} s")
                sys.stderr.flush()
                self._shown = True

    def _erase(self) -> None:
        if self._shown:
            sys.stderr.write(_ERASE)
            sys.stderr.flush()
            self._shown = False

    def _run(self) -> None:
        while not self._over.wait(_EVERY_S):
            self.tick()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.end()


class Progress(Working):
    """The same for what is counted: how much of it is done, with the time that the rest will take.

    what: such as "pictures judged".
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._counted = what
        self._begun = clock()
        super().__init__(what, clock)

    def __call__(self, done: int, total: int) -> None:
        """It has come so far."""
        took = self._clock() - self._begun
        left = (
            f", {took / done * (total - done):.0f} s left" if done and total > done and took > QUIET_S else ""
        )
        with self._lock:
            self._what = f"{done} of {total} {self._counted}{left}"
