# SPDX-License-Identifier: AGPL-3.0-or-later
"""The moment of a swap: watched for on frames, or on the clock."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from edgeagent.core.schedule import parse_window
from edgeagent.update import moment
from edgeagent.update.moment import MomentWatch, SwitchSettings
from tests.support.routing import RouterHarness

PART = (0.2, 0.2, 0.4, 0.4, 0.9, 0.0)


def test_between_parts_no_pipeline_sees_one() -> None:
    """It comes once, and then nobody listens any more."""
    node = RouterHarness()
    left, right = node.line("left"), node.line("right")
    engine = node.swap("v1")
    came: list[str] = []
    watch = MomentWatch("between-parts", SwitchSettings(empty_frames=2), node.router, came.append)
    for boxes in ([PART], [], []):
        for line in (left, right):
            line.captures()
            engine.answers(*boxes)
            assert not came or line is right
    assert came == ["nothing lies before the cameras, on 2 frames in a row"]
    left.captures()
    engine.answers()
    watch.close()
    assert len(came) == 1


def test_only_the_region_counts() -> None:
    """Shares of the frames that the camera sends."""
    node = RouterHarness()
    line, engine = node.line(), node.swap("v1")
    came: list[str] = []
    regions = {"line-1": (0.5, 0.0, 1.0, 1.0)}
    MomentWatch("between-parts", SwitchSettings(1, regions), node.router, came.append)
    line.captures()
    engine.answers((0.4, 0.0, 0.6, 1.0, 0.9, 0.0))
    assert not came
    line.captures()
    engine.answers(PART)
    assert came


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
