# SPDX-License-Identifier: AGPL-3.0-or-later
"""`edgeagent history --watch`: records as they come."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import typer

from edgeagent.cli.render import show_history
from edgeagent.cli.tables import printable
from edgeagent.cli.watching import looks, show_changes

if TYPE_CHECKING:
    from edgeagent.observe.audit import AuditRecord
    from edgeagent.status.schema import History


def watch_history(read: Callable[[], History], as_json: bool, what: str) -> None:
    """On a terminal the table of the last ones, over and over; in a pipe a line for each that is new, after those that
    there are. what: who is asked."""
    if sys.stdout.isatty() and not as_json:
        show_changes(lambda: read().history, _newest_first, what=what)
        return
    seen: frozenset[str] = frozenset()
    try:
        for history in looks(read, what=what):
            lines = {_as_json(record): record for record in history.history}
            for line, record in lines.items():
                if line not in seen:
                    typer.echo(line if as_json else in_a_line(record))
            seen = frozenset(lines)
    except KeyboardInterrupt:
        return


def in_a_line(record: AuditRecord) -> str:
    """When, what, and why."""
    versions = " → ".join(v for v in (record.from_version, record.to_version) if v)
    words = (record.when, record.event, record.model, versions, record.result, record.who, record.why)
    return printable("  ".join(word for word in words if word))


def _newest_first(records: Sequence[AuditRecord]) -> None:
    """What doesn't fit on the terminal is the oldest."""
    show_history(list(reversed(records)))


def _as_json(record: AuditRecord) -> str:
    from edgeagent.util.codec import to_json

    return json.dumps(to_json(record), ensure_ascii=False)
