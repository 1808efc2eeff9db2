# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looking at a config store again and again, also while it is away for a time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

import typer

from edgeagent.cli.render import printable
from edgeagent.errors import UnavailableError

EVERY_S = 2.0
_CLEAR = "\x1b[2J\x1b[H"
_T = TypeVar("_T")


def looks(read: Callable[[], _T], every_s: float = EVERY_S) -> Iterator[_T]:
    """What `read` gives, for ever, every so many seconds; while it can't be read that is said, once, on stderr.

    Raises what `read` does, but for UnavailableError.
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
                typer.echo("the config store answers again", err=True)
            is_away = False
            yield found
        time.sleep(every_s)


def show_changes(read: Callable[[], _T], show: Callable[[_T], None], is_over: Callable[[_T], bool]) -> None:
    """Show each reading that differs from the one before, until it is over or somebody presses Ctrl-C; on a terminal in
    the place of the one before."""
    before: _T | None = None
    try:
        for found in looks(read):
            if found != before:
                if sys.stdout.isatty():
                    sys.stdout.write(_CLEAR)
                show(found)
                sys.stdout.flush()
            before = found
            if is_over(found):
                return
    except KeyboardInterrupt:  # whoever looks has seen enough
        return
