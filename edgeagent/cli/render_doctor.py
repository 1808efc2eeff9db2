# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `edgeagent doctor` prints: a line for each finding, or one document of JSON."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import typer

from edgeagent.cli.progress import Working
from edgeagent.cli.tables import printable, show_json, show_line, show_marked

if TYPE_CHECKING:
    from edgeagent.cli.doctor.finding import Finding

_COLOURS = {"ok": "green", "warn": "yellow", "FAIL": "red"}


class Report:
    """Findings as they come. A context manager that prints the end."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._found: list[dict[str, Any]] = []
        self._levels: Counter[str] = Counter()
        self._working = Working()

    def looks_at(self, check: str) -> None:
        """A check begins."""
        self._working.at(f"looking at {check}")

    def show(self, check: str, finding: Finding) -> None:
        """One finding: in a pipe one line; on a terminal in colours, with the remedy below."""
        self._working.pause()
        self._levels[finding.level] += 1
        if self._as_json:
            self._found.append({"check": check, **asdict(finding)})
        elif not sys.stdout.isatty():
            typer.echo(printable(finding))
        else:
            colour = _COLOURS.get(finding.level)
            show_marked(f"{finding.level:<4}", f"  {finding.subject}: {finding.text}", colour)
            if finding.todo and finding.level != "ok":
                show_line(f"      → {finding.todo}")

    def end(self) -> None:
        """The document; or on a terminal how many there are of each."""
        self._working.end()
        if self._as_json:
            show_json(
                {"failed": self._levels["FAIL"], "warnings": self._levels["warn"], "findings": self._found}
            )
        elif sys.stdout.isatty():
            n = self._levels
            show_line(f"{n['FAIL']} failed, {n['warn']} to look at, {n['ok']} ok")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if kind is None:
            self.end()
        else:
            self._working.end()
