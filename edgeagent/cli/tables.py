# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the command line shows anything: lines, tables and JSON, with colours on a terminal, in characters that it knows.

Texts come from nodes, and so from weights, cameras and keys: they are shown, and can't play tricks.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Sequence
from typing import Any

PLAIN = "edgeagent.plain"
"""Error handler of encodings, for streams that don't speak Unicode: a likeness for what they lack, else `?`."""
WIDE_COLUMNS = 120
"""A terminal so wide has room for everything in one table."""
_LIKENESSES = {"→": "->", "…": "...", "×": "x", "–": "-", "✓": "+", "✗": "x", "·": "-"}
_PIPE_COLUMNS = 200
_LEAST_COLUMNS = 40
_WHEN_FOLDED = len("18:10:52.622Z")
_ONE_WORD = ("event", "result", "state", "roll-out")
_COLOURED = ("state", "result")
_GREEN = (
    "STABLE",
    "running",
    "ended",
    "waiting",
    "done",
    "stable",
    "open",
    "swapped",
    "approved",
    "ready",
    "agrees",
)
_RED = (
    *("REJECTED", "aborted", "aborting", "silent", "absent", "lost", "unreadable", "frozen", "restarting"),
    *("rejected", "rolled_back", "drifted", "invalid"),
)
_COLOURS = {**dict.fromkeys(_GREEN, "green"), **dict.fromkeys(_RED, "red")}
_OTHER_COLOUR = "yellow"  # on its way


def _likeness(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_LIKENESSES.get(c, "?") for c in text), error.end


codecs.register_error(PLAIN, _likeness)


def use_plain_characters() -> None:
    """From now on a character that stdout can't say is replaced, instead of ending the command with an error."""
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors=PLAIN)


def printable(value: object) -> str:
    """Text that can't play tricks on a terminal: one line, no control characters."""
    return "".join(c if c.isprintable() else " " for c in str(value))


def show_json(answer: Any, is_line: bool = False) -> None:
    """Print a node's answer as it is; what stdout can't say is escaped, as JSON allows. is_line: all in one line."""
    print(json.dumps(answer, indent=None if is_line else 2, ensure_ascii=not _speaks_unicode()))  # noqa: T201


def colour_of(word: object) -> str:
    """Of a state or a result."""
    return _COLOURS.get(str(word), _OTHER_COLOUR)


def is_narrow() -> bool:
    """Whether this is a terminal without room for everything in one table."""
    return bool(_console().width < WIDE_COLUMNS)


def show_line(text: str, colour: str | None = None, folded: bool = False) -> None:
    """Print one line of text from anywhere, as long as it is. folded: within the width of the terminal."""
    _console().print(_sayable(text), style=colour, soft_wrap=not folded, overflow="fold")


def show_marked(mark: str, text: str, colour: str | None) -> None:
    """The same with a mark in colour before it."""
    from rich.text import Text

    _console().print(Text.assemble((_sayable(mark), colour or ""), _sayable(text)), soft_wrap=True)


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]], spare: Sequence[str] = ()) -> None:
    """Rows under names; where there are none, that is said.

    spare: columns that are left out, the first one first, where a terminal has no room for them; that is said below.
    """
    if not rows:
        show_line(f"no {columns[0]}")
        return
    console = _console()
    shown, left_out = list(columns), []
    if sys.stdout.isatty():
        empty = [
            name for n, name in enumerate(columns) if name in spare and not any(_cell(r[n]) for r in rows)
        ]
        shown = [name for name in columns if name not in empty]
        for name in (name for name in spare if name not in empty):
            if _width(console, _table(shown, columns, rows)) <= console.width:
                break
            shown.remove(name)
            left_out.append(name)
    console.print(_table(shown, columns, rows))
    if left_out:
        show_line(f"no room for: {', '.join(left_out)}; a wider terminal or --json has them", "dim")


def _table(shown: Sequence[str], columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Any:
    """For rich: those of the columns that are shown."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    narrow = is_narrow()
    places = [columns.index(name) for name in shown]
    for name, place in zip(
        shown, places, strict=True
    ):  # where it is narrow, what is long is folded, and nothing cut
        width = _WHEN_FOLDED if narrow and name == "when" else None
        is_number = all(isinstance(row[place], int | float | None) for row in rows)
        justify: Any = "right" if is_number else "left"
        table.add_column(name, overflow="fold", no_wrap=name in _ONE_WORD, width=width, justify=justify)
    for row in rows:
        cells = [(name, row[place]) for name, place in zip(shown, places, strict=True)]
        table.add_row(
            *(Text(_cell(value), colour_of(value) if name in _COLOURED else "") for name, value in cells)
        )
    return table


def _width(console: Any, table: Any) -> int:
    """That a table would like to have."""
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(max_width=10_000), table).maximum


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.1f}"
    return "" if value is None else _sayable(value)


def _console() -> Any:
    from rich.console import Console

    width = None if sys.stdout.isatty() else _PIPE_COLUMNS
    console = Console(markup=False, highlight=False, emoji=False, width=width)
    if console.width < _LEAST_COLUMNS:
        console.width = _LEAST_COLUMNS
    return console


def _sayable(value: object) -> str:
    """`value` in the characters that stdout knows, so that the columns of a table stay below each other."""
    text = printable(value)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, PLAIN).decode(encoding)


def _speaks_unicode() -> bool:
    return codecs.lookup(getattr(sys.stdout, "encoding", None) or "utf-8").name.startswith("utf")
