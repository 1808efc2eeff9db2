# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looking at something again and again, also while it is away for a time."""

from __future__ import annotations

import io
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from datetime import datetime
from typing import TypeVar

import typer

from edgeagent.cli.tables import printable
from edgeagent.errors import UnavailableError

EVERY_S = 2.0
CONFIG_STORE = "the config store"
_CLEAR, _HOME, _ERASE_LINE, _ERASE_BELOW = "\x1b[2J", "\x1b[H", "\x1b[K", "\x1b[J"
_T = TypeVar("_T")


def looks(read: Callable[[], _T], every_s: float = EVERY_S, what: str = CONFIG_STORE) -> Iterator[_T]:
    """What `read` gives, for ever, every so many seconds; while it can't be read that is said, once, on stderr.

    what: who answers. Raises what `read` does, but for UnavailableError.
    """
    is_away = False
    while True:
        try:
            found = read()
        except UnavailableError as e:
            if not is_away:
                typer.echo(f"warning: {printable(e)}; it is tried again", err=True)
            is_away = True
        else:
            if is_away:
                typer.echo(f"{what} answers again", err=True)
            is_away = False
            yield found
        time.sleep(every_s)


def show_changes(
    read: Callable[[], _T],
    show: Callable[[_T], None],
    is_over: Callable[[_T], bool] = lambda _: False,
    what: str = CONFIG_STORE,
) -> None:
    """Show each reading that differs from the one before, until it is over or somebody presses Ctrl-C; on a terminal in
    the place of the one before, with the time, and with why nothing new comes while `what` is away."""
    try:
        if sys.stdout.isatty():
            _in_place(read, show, is_over)
            return
        before: _T | None = None
        for found in looks(read, what=what):
            if found != before:
                show(found)
                sys.stdout.flush()
            before = found
            if is_over(found):
                return
    except KeyboardInterrupt:  # whoever looks has seen enough
        return


def _in_place(read: Callable[[], _T], show: Callable[[_T], None], is_over: Callable[[_T], bool]) -> None:
    """On a terminal."""
    shown, at = "", ""
    sys.stdout.write(_CLEAR)
    while True:
        over = False
        try:
            found = read()
        except UnavailableError as e:
            away = f"as of {at or '?'}: {printable(e)}; it is tried again"
        else:
            shown, at, away = _drawn(show, found), f"{datetime.now():%H:%M:%S}", ""
            over = is_over(found)
        draw(away or f"{at}, every {EVERY_S:g} s; Ctrl-C ends it", shown)
        if over:
            return
        time.sleep(EVERY_S)


def draw(head: str, text: str) -> None:
    """A page from the first line of the terminal on, as long as it has room, without a flicker."""
    size = shutil.get_terminal_size()
    lines = [head[: size.columns], *text.rstrip("\n").split("\n")]
    if len(lines) > size.lines - 1:
        more = len(lines) - size.lines + 2
        lines = [*lines[: size.lines - 2], f"… {more} more lines: a larger terminal, or --json, has them"]
    sys.stdout.write(_HOME + "".join(f"{line}{_ERASE_LINE}\n" for line in lines) + _ERASE_BELOW)
    sys.stdout.flush()


class _Page(io.StringIO):
    """What is printed, as for the terminal that it goes to."""

    encoding = property(lambda self: sys.__stdout__.encoding if sys.__stdout__ else "utf-8")

    def isatty(self) -> bool:
        return True


def _drawn(show: Callable[[_T], None], found: _T) -> str:
    """What `show` prints."""
    page = _Page()
    with redirect_stdout(page):
        show(found)
    return page.getvalue()
