# SPDX-License-Identifier: AGPL-3.0-or-later
"""Turns: frames between two requests, a share of the time for all of them, and nobody behind a crowd."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from edgeagent.web.turns import MAX_PAUSE_S, LoopShare, Turns


def test_a_share_of_the_time() -> None:
    """What was not used lately can be used at once; then a quarter is work and the rest a pause."""
    share = LoopShare(0.25, burst_s=0.4)
    assert share.pause(0.1, now=100.0) == 0.0
    now, worked = 100.0, 0.0
    while worked < 2.0:
        worked += 0.01
        now += 0.01 + share.pause(0.01, now + 0.01)
    assert now - 100.0 == pytest.approx(8.0, abs=0.05)
    assert share.pause(0.1, now=200.0) == 0.0
    assert share.pause(60.0, now=200.0) == pytest.approx(MAX_PAUSE_S)


def test_a_crowd_of_requests_leaves_room_for_frames() -> None:
    """However many come at once: between two of them the event loop turns, and whatever waits there gets on."""
    happened: list[str] = []

    async def frames() -> None:
        while happened.count("request") < 20:
            happened.append("frame")
            await asyncio.sleep(0)

    async def run() -> None:
        turns = Turns()
        for _ in range(20):
            turns.ask("10.0.0.1", lambda: happened.append("request"))
        giving = asyncio.create_task(turns.run())
        await frames()
        giving.cancel()

    asyncio.run(run())
    assert "request request" not in " ".join(happened)


def test_the_addresses_take_turns() -> None:
    """One that asks once comes next, although another has asked a hundred times before; a fault ends no one's turns."""
    done: list[str] = []

    def act(who: str) -> Callable[[], None]:
        return lambda: done.append(who)

    def fault() -> None:
        raise RuntimeError

    async def run() -> None:
        turns = Turns()
        turns.ask("crowd", fault)
        for _ in range(100):
            turns.ask("crowd", act("crowd"))
        turns.ask("operator", act("operator"))
        giving = asyncio.create_task(turns.run())
        while len(done) < 101:
            await asyncio.sleep(0)
        giving.cancel()

    asyncio.run(run())
    assert done.index("operator") == 0
