# SPDX-License-Identifier: AGPL-3.0-or-later
"""What pairs of frames say is told a moment after they came, and at once when they speak against the candidate."""

from __future__ import annotations

import asyncio

import pytest

from edgeagent.core.pairs import FramePair, PairLimits, PairSummary, PairTally
from edgeagent.update import pair_watch
from edgeagent.update.pair_watch import PairWatch

BOX = (10.0, 10.0, 30.0, 30.0)


def pair(seq: int, finds: bool) -> FramePair:
    """A frame with an object, which the candidate finds or not; each frame shows another one."""
    x1, y1, x2, y2 = BOX
    boxes = ((x1 + 40.0 * (seq % 10), y1, x2 + 40.0 * (seq % 10), y2, 0.9, 0),)
    return FramePair("line", seq, seq / 2, 500, 100, boxes, boxes if finds else ())


class Told:
    """Who is told."""

    def __init__(self) -> None:
        self.judged: list[tuple[PairSummary, str]] = []
        self.breaches: list[tuple[str, PairSummary]] = []
        self.ends = 0

    def watch(self) -> PairWatch:
        """A watch that tells it."""
        watch = PairWatch(
            PairTally(PairLimits(), ("scratch",)),
            lambda *said: self.judged.append(said),
            lambda *said: self.breaches.append(said),
        )

        def end() -> None:
            self.ends += 1

        watch.on_end = end
        return watch


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Reports come with the next turn of the loop."""
    monkeypatch.setattr(pair_watch, "REPORT_S", 0.0)
    return Told()


def test_what_was_seen_is_told_together(told: Told) -> None:
    """Also of the last frame, when no more come; with what it doesn't suffice for."""

    async def live() -> None:
        watch = told.watch()
        for seq in range(3):
            watch.observe(pair(seq, True))
        while not told.judged:
            await asyncio.sleep(0)

    asyncio.run(live())
    ((summary, shortfall),) = told.judged
    assert summary.frames == 3
    assert "too little was seen" in shortfall
    assert told.breaches == []


def test_a_breach_is_told_at_once_and_once(told: Told) -> None:
    """Once, however many frames follow."""

    async def live() -> None:
        watch = told.watch()
        for seq in range(2000):
            watch.observe(pair(seq // 4, False))
        watch.close()
        await asyncio.sleep(0)

    asyncio.run(live())
    ((why, summary),) = told.breaches
    assert why
    assert summary.frames < 2000
    assert told.judged == []
    assert told.ends == 1


def test_a_watch_that_nobody_closes_goes_on(told: Told) -> None:
    """Where a breach is only reported, what follows is told too."""

    async def live() -> None:
        watch = told.watch()
        for seq in range(2000):
            watch.observe(pair(seq // 4, False))
        while not told.judged:
            await asyncio.sleep(0)

    asyncio.run(live())
    ((_, at_breach),) = told.breaches
    ((at_the_end, _),) = told.judged
    assert at_the_end.frames == 2000 > at_breach.frames
