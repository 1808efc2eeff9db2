# SPDX-License-Identifier: AGPL-3.0-or-later
"""`make soak`: what networks and cameras do to a stream, and how old the pictures are that a line gets to see then.

Each picture says its number, so that its age is known: no picture older than the bound may come, and new ones must come
again when the fault is over. `pytest -m soak -s` prints a line for each.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest

from edgeagent.serving.frame import Frame
from tests.support.filming import Filming
from tests.support.live_stream import LiveStream
from tests.support.rtsp import RtspCamera

MAX_AGE_S, STALL_S = 2.0, 5.0
# From the camera to the test, and what no clock can tell: the delay that all pictures have. On a busy machine.
TOLERANCE_S = 1.0
NEW_S = 0.6  # a picture that is no older is a new one
BACK_S = 30.0  # the longest pause before a camera is opened again, and the opening

pytestmark = pytest.mark.soak


class Watched(Filming):
    """A line that knows how old its pictures are. ages: (when it came, its age) of each."""

    def __init__(self, camera: LiveStream) -> None:
        super().__init__(camera.url, max_age_seconds=MAX_AGE_S, stall_seconds=STALL_S)
        self.camera = camera
        self.ages: list[tuple[float, float]] = []

    def _frame(self, frame: Frame) -> None:
        super()._frame(frame)
        now = time.monotonic()
        self.ages.append((now, now - self.camera.taken.get(self.numbers[-1], 0.0)))

    async def a_new_picture(self, since: float) -> float:
        """Wait for one. Returns the seconds that it took."""
        await self.until(lambda: any(at > since and age < NEW_S for at, age in self.ages[-50:]), BACK_S)
        return time.monotonic() - since


Fault = Callable[[Watched], Awaitable[Any]]


@dataclass
class Case:
    """A fault, from its beginning to its end: it says what was noticed. torn: pictures may be damaged."""

    name: str
    fault: Fault
    torn: bool = False


async def _held(line: Watched) -> str:
    line.camera.held = True
    await asyncio.sleep(4.0)
    line.camera.held = False
    return ""


async def _held_for_long(line: Watched) -> str:
    line.camera.held = True
    return await _until_lost(line)


async def _slow(line: Watched) -> str:
    sent = line.camera.sent
    await asyncio.sleep(4.0)
    line.camera.bytes_per_s = 0.7 * (line.camera.sent - sent) / 4.0
    before = len(line.numbers)
    await asyncio.sleep(40.0)
    return f"{len(line.numbers) - before} pictures in 40 s, {line.camera.connections} connections"


async def _silent(line: Watched) -> str:
    line.camera.silent = True
    return await _until_lost(line)


async def _garbled(line: Watched) -> str:
    line.camera.garbled = True
    await asyncio.sleep(3.0)
    return ""


async def _resized(line: Watched) -> str:
    line.camera.size = (320, 240)
    await line.until(lambda: (320, 240) in line.sizes)
    line.camera.size = (160, 120)
    seen = len(line.sizes)
    await line.until(lambda: (160, 120) in line.sizes[seen:])
    return f"{line.camera.connections} connection"


async def _storm(line: Watched) -> str:
    until = time.monotonic() + 20.0
    while time.monotonic() < until:
        await asyncio.sleep(0.7)
        line.camera.cut_off()
    return f"{line.camera.connections} connections"


async def _until_lost(line: Watched) -> str:
    began = time.monotonic()
    await line.until(lambda: line.capture.source.state in ("lost", "absent"), 60)
    return f"noticed after {time.monotonic() - began:.1f} s"


CASES = (
    Case("held for 4 s", _held),
    Case("held until it is noticed", _held_for_long),
    Case("70 % of what it sends", _slow),
    Case("silent", _silent),
    Case("noise for 3 s", _garbled, torn=True),
    Case("another size, and back", _resized),
    Case("cut off every 0.7 s for 20 s", _storm),
)


@pytest.mark.parametrize("interlaced", [False, True], ids=["progressive", "interlaced"])
@pytest.mark.parametrize("kind", [LiveStream, RtspCamera], ids=["MPEG-TS", "RTSP"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_old_picture_comes_and_new_ones_come_again(
    kind: type[LiveStream], interlaced: bool, case: Case
) -> None:
    """Whatever the network does: the age of each picture is within the bound, and the worker is the same."""

    async def steps() -> None:
        with kind() as camera:
            camera.interlaced = interlaced
            async with Watched(camera) as line:
                await line.a_new_picture(time.monotonic())
                before = len(line.ages)
                noticed = await case.fault(line)
                camera.held = camera.silent = camera.garbled = False
                camera.bytes_per_s = None
                back_s = await line.a_new_picture(time.monotonic())
                during = [age for _, age in line.ages[before:]]
                settled = len(line.ages)
                await line.until(lambda: len(line.ages) > settled + 40)
                late = line.ages[settled + 20 :]
                stale = line.dropped.get("stale", 0)
                sys.stdout.write(
                    f"\n| {kind.scheme}{', interlaced' if interlaced else ''} | {case.name} | {len(during)} | "
                    f"{max(during):.2f} s | {stale} | {noticed or '–'} | {back_s:.1f} s |\n"
                )
                assert line.restarts == 0
                if not case.torn:
                    assert max(during) < MAX_AGE_S + TOLERANCE_S
                assert max(age for _, age in late) < MAX_AGE_S + TOLERANCE_S

    asyncio.run(steps())
