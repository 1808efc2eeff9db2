# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far a command is: on a terminal, after two seconds, and nowhere else."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest

from edgeagent.cli.progress import Progress, Working


class Clock:
    """Stands until it is set."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """On stderr; the thread that shows the line by itself stays out of it."""
    made = Terminal()
    monkeypatch.setattr("edgeagent.cli.progress.sys", SimpleNamespace(stderr=made))
    monkeypatch.setattr("edgeagent.cli.progress.threading.Thread.start", lambda thread: None)
    monkeypatch.setattr("edgeagent.cli.progress.threading.Thread.join", lambda thread: None)
    return made


def test_what_takes_two_seconds_is_shown(terminal: Terminal) -> None:
    """With the time that the rest will take; and the line is gone at the end."""
    clock = Clock()
    with Progress("pictures judged", clock) as progress:
        clock.now = 1.9
        progress(5, 100)
        progress.tick()
        assert terminal.getvalue() == ""
        clock.now = 10.0
        progress(25, 100)
        progress.tick()
        assert terminal.getvalue() == "\r\x1b[K25 of 100 pictures judged, 30 s left … 10 s"
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_each_step_begins_anew(terminal: Terminal) -> None:
    """A line that is printed in between has its place."""
    clock = Clock()
    with Working("converting", clock) as working:
        clock.now = 3.0
        working.tick()
        working.pause()
        assert terminal.getvalue() == "\r\x1b[Kconverting … 3 s\r\x1b[K"
        working.at("looking at torch")
        working.tick()
        assert "torch" not in terminal.getvalue()
        clock.now = 5.5
        working.tick()
        assert terminal.getvalue().endswith("looking at torch … 2 s")


def test_a_pipe_hears_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """However long it takes."""
    clock = Clock()
    with Progress("pictures judged", clock) as progress:
        clock.now = 60.0
        progress(5, 100)
    assert capsys.readouterr().err == ""
