# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a visitor sees, on a terminal and off it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console as RichConsole

from edgeagent.demo.console import GOOD, Console, View, panel, plain, sparkline
from tests.support.demo import figures_of, good_run, record
from tests.support.statuses import a_model


def view() -> View:
    """Something to show."""
    model = a_model()
    assert model.active
    assert model.candidate
    gating = {"version": "v3-permuted", "stage": "GATING", "gate": "contract"}
    model = model.model_copy(
        update={
            "active": model.active.model_copy(update={"version": "v2"}),
            "candidate": model.candidate.model_copy(update=gating),
        }
    )
    return View(12.0, 40.0, "http://127.0.0.1:40487", model, figures_of(good_run()))


@pytest.mark.parametrize("width", [80, 120])
def test_the_panel_fits_the_terminal(width: int) -> None:
    """No line is wider than the terminal, and what matters is on it."""
    out = io.StringIO()
    RichConsole(file=out, width=width, force_terminal=False).print(panel(view(), width))
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) == width
    text = out.getvalue()
    assert all(
        word in text for word in ("serving v2", "lost 0", "v3-permuted: gating contract", "100%", "12 ms")
    )


def test_without_a_terminal_lines_are_plain() -> None:
    """No escape codes, and a line stays a line."""
    out = io.StringIO()
    with Console(RichConsole(file=out, width=40, force_terminal=False)) as console:
        console.command("edgeagent promote yolo v2 --config-store file:///a/rather/long/path/to/an/intent")
        console.tell("v2 serves, and this goes on for longer than forty columns \x1b[31m", GOOD)
    assert "\x1b" not in out.getvalue()
    assert len(out.getvalue().splitlines()) == 2
    assert "v1 0% (tiny 0%), v2 100% (tiny 100%)" in plain(view())


def test_sparkline_is_no_wider_than_asked() -> None:
    """One character for half a second, the newest kept."""
    frames = figures_of([record(i, "v1", 1) for i in range(300)]).frames
    assert len(sparkline(frames, 80)) == 20
    assert len(sparkline(frames, 8)) == 8
    assert len(sparkline([], 8)) == 0
