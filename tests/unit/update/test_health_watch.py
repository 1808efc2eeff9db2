# SPDX-License-Identifier: AGPL-3.0-or-later
"""Windows of what a line does: of the version before when it was stable, and of the one on probation against them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from edgeagent.core.health import HealthLimits
from edgeagent.core.state import VersionRef
from edgeagent.update import health_watch
from edgeagent.update.health_watch import HealthWatch
from edgeagent.update.line_past import LinePast
from tests.support.routing import FakeEngine, RouterHarness

LIMITS = HealthLimits(least_frames=5)
DENT = (2.0, 2.0, 9.0, 9.0, 0.9, 1.0)


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window is over when the test says so."""
    monkeypatch.setattr(health_watch, "WINDOW_S", 1e6)


class Line:
    """A line of ten frames a window, and who watches it."""

    def __init__(self) -> None:
        self.node = RouterHarness()
        self.line = self.node.line(live=True)
        self.breaches: list[tuple[VersionRef, str]] = []
        self.past = LinePast(None, "", lambda: self.node.now)
        self.watch = HealthWatch(
            self.node.router,
            LIMITS,
            lambda ref, why: self.breaches.append((ref, why)),
            lambda: self.node.now,
            self.past,
        )
        self.before: VersionRef | None = None
        self.may_be_slow = False

    def serves(self, version: str) -> FakeEngine:
        """A version that serves from now on; the one before is warm."""
        engine = self.node.slot.engine
        self.before = engine.ref if engine else None
        new = self.node.swap(version)
        new.worker = None
        self.watch.follow(new, self.before, self.may_be_slow, stable=self.before is None)
        return new

    def window(self, engine: FakeEngine, latency_s: float = 0.02, dropped: int = 0) -> None:
        """Ten frames, of which each takes so long; so many more are dropped."""
        for _ in range(10):
            seq = self.line.captured
            self.node.now = max(self.node.now, 100.0 + seq) + 0.5
            self.line.captures()
            self.node.now = 100.0 + seq + latency_s
            engine.answers(DENT)
        for _ in range(dropped):
            self.line.route.dropped("busy", 1)
            self.node.router.tally.drop("busy", 1)
        self.watch._look()


def live(scenario: Callable[[Line], None]) -> Line:
    """In a running loop, which the watch's timer needs."""

    async def run() -> Line:
        line = Line()
        scenario(line)
        line.watch.close()
        return line

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("latency_s", "dropped", "why"),
    [(0.02, 0, ""), (0.06, 0, "p95 of the latency is 60 ms"), (0.02, 5, "of the frames are dropped")],
)
def test_a_version_on_probation_is_held_against_the_one_before(
    latency_s: float, dropped: int, why: str
) -> None:
    """Three windows in a row; nothing is held against a stable one."""

    def scenario(line: Line) -> None:
        first = line.serves("v1")
        for _ in range(4):
            line.window(first)
        second = line.serves("v2")
        for count in range(3):
            assert line.breaches == [], count
            line.window(second, latency_s, dropped)

    found = live(scenario).breaches
    assert [ref.version for ref, _ in found] == (["v2"] if why else [])
    assert not why or why in found[0][1]


def test_a_stable_version_is_held_against_nothing() -> None:
    """It has earned its place; whoever watches it is another."""

    def scenario(line: Line) -> None:
        first = line.serves("v1")
        for slow in (0.02, 0.02, 0.02, 0.02, 0.3, 0.3, 0.3, 0.3):
            line.window(first, slow)

    assert live(scenario).breaches == []


def test_one_that_may_be_slow_is_not_taken_back_for_it() -> None:
    """The operator lets it in with `allow_slow`, and would have to do so again and again."""

    def scenario(line: Line) -> None:
        line.may_be_slow = True
        first = line.serves("v1")
        for _ in range(4):
            line.window(first)
        second = line.serves("v2")
        for _ in range(4):
            line.window(second, 0.3, 5)

    assert live(scenario).breaches == []


def test_what_was_stopped_to_make_room_is_what_the_next_is_held_against() -> None:
    """While nothing serves, its windows are kept."""

    def scenario(line: Line) -> None:
        first = line.serves("v1")
        for _ in range(4):
            line.window(first)
        line.watch.follow(None, None)
        line.watch._look()
        second = line.serves("v2")
        for _ in range(3):
            line.window(second, 0.06)

    assert [ref.version for ref, _ in live(scenario).breaches] == ["v2"]


def silence(line: Line, engine: FakeEngine, seconds: float, frames: int = 10) -> None:
    """A window in which nothing is found."""
    for _ in range(frames):
        line.line.captures()
        engine.answers()
    line.node.now += seconds
    line.watch._look()


def test_silence_is_measured_by_what_the_line_has_really_seen() -> None:
    """The longest one under a stable version, however long ago; not what a version on probation makes itself."""

    def scenario(line: Line) -> None:
        first = line.serves("v1")
        silence(line, first, 30.0)
        assert line.past.value.longest_silence_s == 30.0
        for _ in range(health_watch.STABLE_WINDOWS):
            line.line.captures()
            first.answers(DENT)
            line.node.now += 1.0
            line.watch._look()
        second = line.serves("v2")
        silence(line, second, 88.0)
        assert line.breaches == []
        silence(line, second, 5.0)

    line = live(scenario)
    assert line.past.value.longest_silence_s == 30.0
    assert [why for _, why in line.breaches] == ["nothing was found for 94 s, and for 30 s at most before"]


def test_without_frames_nothing_is_silent() -> None:
    """A camera that was away for an hour says nothing of what it would have shown."""

    def scenario(line: Line) -> None:
        first = line.serves("v1")
        silence(line, first, 3600.0, frames=0)
        silence(line, first, 5.0)
        second = line.serves("v2")
        silence(line, second, 3600.0, frames=0)
        silence(line, second, 5.0)

    line = live(scenario)
    assert line.past.value.longest_silence_s == 5.0
    assert line.breaches == []
