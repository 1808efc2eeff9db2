# SPDX-License-Identifier: AGPL-3.0-or-later
"""Blocks of minutes: a stable version's make the past, one on probation is held against it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from edgeagent.core.events import Event, PastJudged, ProbationBreached
from edgeagent.core.past import PastLimits
from edgeagent.update import line_past
from edgeagent.update.line_past import LinePast
from edgeagent.update.past_watch import PastWatch
from tests.support.routing import FakeEngine, RouterHarness

LIMITS = PastLimits(blocks=2, block_seconds=10.0, least_past=4, least_days=2, least_frames=5)
DENT = (2.0, 2.0, 9.0, 9.0, 0.9, 1.0)
MONDAY = datetime(2026, 11, 23, 9, 0)


class Line:
    """A line of ten frames a block."""

    def __init__(self, file: Path | None = None) -> None:
        self.node = RouterHarness()
        self.line = self.node.line()
        self.day = 0
        self.told: list[Event] = []
        self.past = LinePast(file, "line-1", lambda: self.node.now)
        self.watch = PastWatch(
            self.node.router,
            self.past,
            LIMITS,
            self.told.append,
            lambda: self.node.now,
            lambda: MONDAY + timedelta(days=self.day),
        )

    def serves(self, version: str, stable: bool = True) -> FakeEngine:
        """From now on."""
        engine = self.node.swap(version)
        self.watch.follow(engine, stable, judged=not stable)
        return engine

    async def block(self, engine: FakeEngine, *boxes: tuple[float, ...], frames: int = 10) -> None:
        """One, with these boxes on each frame."""
        begun = self.node.now
        for n in range(1, frames + 1):
            self.node.now = begun + n * LIMITS.block_seconds / frames
            self.line.captures()
            engine.answers(*boxes)
        await asyncio.sleep(0)

    async def days(self, engine: FakeEngine, count: int = 2) -> None:
        """Of some blocks each, in which every frame shows a dent."""
        for _ in range(count):
            self.day += 1
            for _ in range(4):
                await self.block(engine, DENT)


def live(scenario: Callable[[Line], Coroutine[Any, Any, None]], file: Path | None = None) -> Line:
    """In a running loop."""

    async def run() -> Line:
        line = Line(file)
        await scenario(line)
        line.watch.close()
        return line

    return asyncio.run(run())


def test_a_version_that_finds_nothing_where_the_line_always_showed_something() -> None:
    """After two blocks of it; it is told once."""

    async def scenario(line: Line) -> None:
        await line.days(line.serves("v1"))
        blind = line.serves("v2", stable=False)
        await line.block(blind)
        assert isinstance(line.told[-1], PastJudged)
        assert line.told[-1].waits
        assert "1 blocks in a row" in line.told[-1].shortfall
        for _ in range(3):
            await line.block(blind)

    breach = live(scenario).told[-1]
    assert isinstance(breach, ProbationBreached)
    assert breach.ref.version == "v2"
    assert "0.0 objects on 100 frames at most, in 2 blocks of 10 s in a row" in breach.why
    assert "this line had 100.0 at least" in breach.why


def test_a_version_that_finds_as_much_is_told_as_such() -> None:
    """And becomes no part of the past before it is stable."""

    async def scenario(line: Line) -> None:
        await line.days(line.serves("v1"))
        known = line.past.value
        good = line.serves("v2", stable=False)
        for _ in range(3):
            await line.block(good, DENT)
        assert line.past.value == known
        assert line.told[-1] == PastJudged(good.ref)

    live(scenario)


def test_one_day_is_no_past() -> None:
    """It is said what is missing, and nobody waits for it."""

    async def scenario(line: Line) -> None:
        await line.days(line.serves("v1"), 1)
        blind = line.serves("v2", stable=False)
        for _ in range(4):
            await line.block(blind)

    told = live(scenario).told
    assert {type(event) for event in told} == {PastJudged}
    assert "on 1 days" in told[-1].shortfall  # type: ignore[union-attr]
    assert not told[-1].waits  # type: ignore[union-attr]


@pytest.mark.parametrize("hole", ["few frames", "a pause"])
def test_a_hole_in_the_frames_begins_the_blocks_anew(hole: str) -> None:
    """What wasn't seen speaks neither for a version nor against it."""

    async def scenario(line: Line) -> None:
        await line.days(line.serves("v1"))
        blind = line.serves("v2", stable=False)
        for _ in range(3):
            await line.block(blind)
            if hole == "a pause":
                line.node.now += 3 * LIMITS.block_seconds
            await line.block(blind, frames=3)
        assert "0 blocks in a row" in line.told[-1].shortfall  # type: ignore[union-attr]

    assert {type(event) for event in live(scenario).told} == {PastJudged}


def test_a_version_that_something_else_is_compared_with_is_left_alone() -> None:
    """Pairs of frames say more."""

    async def scenario(line: Line) -> None:
        await line.days(line.serves("v1"))
        blind = line.serves("v2", stable=False)
        line.watch.follow(blind, stable=False, judged=False)
        for _ in range(4):
            await line.block(blind)

    assert live(scenario).told == []


def test_the_past_survives_a_restart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the same line; a damaged file, or another line's, is begun anew."""
    monkeypatch.setattr(line_past, "SAVE_S", 0.0)
    file = tmp_path / "past" / "yolo.json"

    async def scenario(line: Line) -> None:
        line.past.silent(42.0)
        serving = line.serves("v1")
        await line.days(serving)
        await line.past._tasks.ended()
        await line.block(serving, DENT)
        await line.past._tasks.ended()

    kept = live(scenario, file).past.value
    assert kept.hours
    assert kept.longest_silence_s == 42.0
    assert LinePast(file, "line-1", lambda: 0.0).value == kept
    assert LinePast(file, "line-2", lambda: 0.0).value.hours == ()
    file.write_bytes(b'{"line": "line-1", "past": 3}')
    assert LinePast(file, "line-1", lambda: 0.0).value.hours == ()


def test_a_disk_that_takes_nothing_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The past is kept in memory."""
    monkeypatch.setattr(line_past, "SAVE_S", 0.0)
    (tmp_path / "past").write_text("no folder")

    async def scenario(line: Line) -> None:
        await line.days(line.serves("v1"))
        await line.past._tasks.ended()

    assert live(scenario, tmp_path / "past" / "yolo.json").past.value.hours
