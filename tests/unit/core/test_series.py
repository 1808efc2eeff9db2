# SPDX-License-Identifier: AGPL-3.0-or-later
"""The ring of figures: what it holds, what it forgets, and what it doesn't know."""

from __future__ import annotations

import math

from edgeagent.core.series import FigureSeries, LineFigures


def figures(fps: float | None, dropped: int | None = 0) -> LineFigures:
    """A second in which this many frames had a result."""
    return LineFigures(fps, 10.0, 20.0, dropped, 1, "v1")


def shown(series: FigureSeries, name: str = "a", seconds: int = 5, field: str = "fps") -> list[float | None]:
    """One field of the last seconds."""
    return [None if math.isnan(v) else v for v in series.window(seconds).lines[name][field]]


def test_the_last_seconds_oldest_first() -> None:
    """What was before a line came, and whatever was not known, is unknown."""
    series = FigureSeries(5)
    series.add(100, {"a": figures(1)})
    assert shown(series) == [None, None, None, None, 1]
    series.add(101, {"a": figures(None)})
    series.add(102, {"a": figures(3)})
    assert shown(series) == [None, None, 1, None, 3]
    assert shown(series, seconds=2) == [None, 3]
    assert shown(series, field="dropped") == [None, None, 0, 0, 0]
    assert series.window(99).seconds == 5
    for second in range(103, 120):
        series.add(second, {"a": figures(second)})
    assert shown(series) == [115, 116, 117, 118, 119]
    assert series.window(5).end == 119


def test_seconds_that_were_left_out_are_unknown() -> None:
    """Such as while the node was stopped by a debugger; a whole round leaves nothing of before."""
    series = FigureSeries(5)
    for second in range(5):
        series.add(second, {"a": figures(second)})
    series.add(7, {"a": figures(7)})
    assert shown(series) == [3, 4, None, None, 7]
    series.add(1_000_000_000_000, {"a": figures(9)})
    assert shown(series) == [None, None, None, None, 9]


def test_a_second_that_was_there_is_written_again() -> None:
    """A timer may be early by a hair."""
    series = FigureSeries(5)
    series.add(3, {"a": figures(1)})
    series.add(2, {"a": figures(2)})
    assert shown(series) == [None, None, None, None, 2]


def test_lines_come_and_go() -> None:
    """One that is gone is shown as long as something of it is within the length, and then takes no memory."""
    series = FigureSeries(3)
    series.add(1, {"a": figures(1), "b": figures(1)})
    series.add(2, {"a": figures(2)})
    assert shown(series, "b", 3) == [None, 1, None]
    series.add(4, {"a": figures(4)})
    assert set(series.window(3).lines) == {"a"}
    for second in range(5, 500):
        series.add(second, {f"line-{second}": figures(1)})
    assert len(series._rings) == 3


def test_nothing_yet() -> None:
    """Before the first look."""
    assert FigureSeries().window(600).lines == {}
