# SPDX-License-Identifier: AGPL-3.0-or-later
"""The moment of a swap: watched for on frames, or on the clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from edgeagent.config.verdict import zone_of
from edgeagent.core.schedule import parse_window
from edgeagent.update import moment
from edgeagent.update.moment import MomentWatch, SwitchSettings
from tests.support.routing import RouterHarness

PART = (0.2, 0.2, 0.4, 0.4, 0.9, 0.0)


def test_between_parts_no_pipeline_sees_one() -> None:
    """It comes once, and then nobody listens any more."""

    async def live() -> None:
        node = RouterHarness()
        left, right = node.line("left"), node.line("right")
        engine = node.swap("v1")
        came: list[str] = []
        watch = MomentWatch("between-parts", SwitchSettings(empty_frames=2), node.router, came.append)
        for boxes in ([PART], [], []):
            for line in (left, right):
                line.captures()
                engine.answers(*boxes)
                await asyncio.sleep(0)
                assert not came or line is right
        assert came == ["nothing lies before the cameras, on 2 frames in a row"]
        left.captures()
        engine.answers()
        await asyncio.sleep(0)
        watch.close()
        assert len(came) == 1

    asyncio.run(live())


def test_the_frame_of_the_moment_comes_out_before_those_behind_it() -> None:
    """Whoever hears of the moment swaps; a frame behind it that was done sooner waits for its turn all the same."""

    async def live() -> None:
        node = RouterHarness()
        line, engine = node.line(live=True), node.swap("v1", streams=2)
        node.now = 100.0
        MomentWatch("between-parts", SwitchSettings(empty_frames=1), node.router, lambda _: node.swap("v2"))
        line.captures(2)
        engine.answers(place=1)
        engine.answers()
        await asyncio.sleep(0)
        assert line.seqs == [0, 1]
        assert node.slot.engine is not engine

    asyncio.run(live())


def test_only_the_region_counts() -> None:
    """Shares of the frames that the camera sends."""

    async def live() -> None:
        node = RouterHarness()
        line, engine = node.line(), node.swap("v1")
        came: list[str] = []
        regions = {"line-1": (0.5, 0.0, 1.0, 1.0)}
        MomentWatch("between-parts", SwitchSettings(1, regions), node.router, came.append)
        line.captures()
        engine.answers((0.4, 0.0, 0.6, 1.0, 0.9, 0.0))
        await asyncio.sleep(0)
        assert not came
        line.captures()
        engine.answers(PART)
        await asyncio.sleep(0)
        assert came

    asyncio.run(live())


def test_a_time_of_day_is_watched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when the clock is set meanwhile."""
    monkeypatch.setattr(moment, "LOOK_S", 0.0)
    now = datetime(2026, 11, 28, 1, 0, tzinfo=UTC)
    looks = 0

    def clock() -> datetime:
        nonlocal looks
        looks += 1
        return now + timedelta(hours=looks // 3)

    async def live() -> list[str]:
        came: list[str] = []
        settings = SwitchSettings(windows=(parse_window("02:00-04:30"),))
        MomentWatch("window", settings, RouterHarness().router, came.append, clock)
        assert not came  # never in the middle of a decision
        while not came:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        return came

    assert asyncio.run(live()) == ["it is Sat 02:00"]
    assert looks == 3


def test_a_watch_that_is_closed_says_nothing() -> None:
    """Nobody waits any more."""

    async def live() -> list[str]:
        came: list[str] = []
        settings = SwitchSettings(windows=(parse_window("00:00-00:00"),))
        MomentWatch("window", settings, RouterHarness().router, came.append).close()
        await asyncio.sleep(0)
        return came

    assert asyncio.run(live()) == []


def test_the_zone_of_the_machine_has_summer_and_winter(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that was started in winter opens its windows at the same time of day in summer."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    settings = SwitchSettings(windows=(parse_window("02:00-02:30"),), zone=zone_of(""))

    async def live(now: datetime) -> list[str]:
        came: list[str] = []
        watch = MomentWatch("window", settings, RouterHarness().router, came.append, lambda: now)
        await asyncio.sleep(0)
        watch.close()
        return came

    try:
        assert asyncio.run(live(datetime(2026, 1, 15, 1, 10, tzinfo=UTC))) == ["it is Thu 02:10"]
        assert asyncio.run(live(datetime(2026, 7, 15, 0, 10, tzinfo=UTC))) == ["it is Wed 02:10"]
    finally:
        monkeypatch.undo()
        time.tzset()
