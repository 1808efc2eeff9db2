# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far a command is, on stderr, once it takes long enough for somebody to wonder."""

from __future__ import annotations

import sys
import time

import typer

_QUIET_S = 2.0
_LINE_EVERY_S = 10.0  # where stderr is a file, which keeps each line


class Progress:
    """A line that says how far something is. what: such as "pictures judged"."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._begun = time.monotonic()
        self._said: float | None = None
        self._is_terminal = sys.stderr.isatty()

    def __call__(self, done: int, total: int) -> None:
        """It has come so far."""
        now = time.monotonic()
        every = 0.0 if self._is_terminal else _LINE_EVERY_S
        since = now - (self._begun if self._said is None else self._said)
        if now - self._begun < _QUIET_S or (self._said is not None and since < every):
            return
        self._said = now
        text = f"{done} of {total} {self._what}"
        typer.echo(f"\r{text}" if self._is_terminal else text, err=True, nl=not self._is_terminal)

    def end(self) -> None:
        """What follows begins on a line of its own."""
        if self._is_terminal and self._said is not None:
            typer.echo("\r\x1b[K", err=True, nl=False)
