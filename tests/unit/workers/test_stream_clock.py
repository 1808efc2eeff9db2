# SPDX-License-Identifier: AGPL-3.0-or-later
"""How old a frame is: from the stream's own times, or from the rhythm in which frames come."""

from __future__ import annotations

import math
import random

import pytest

from edgeagent.workers.stream_clock import UNKNOWN, ArrivalClock, StreamClock

STEP = 0.04


class Film:
    """25 frames a second that arrive after a delay each. ages: what the clock said, by frame."""

    def __init__(self, begins: float = 7000.0) -> None:
        self.clock, self.taken, self.begins = StreamClock(), 100.0, begins
        self.ages: list[float] = []

    def frames(self, *delays: float, step: float = STEP, rate: float = 1.0) -> list[float]:
        """Frames that arrive so long after they were taken. rate: of the stream's clock."""
        ages = []
        for delay in delays:
            self.taken += step
            stream_s = self.begins + (self.taken - 100.0) * rate
            self.clock.arrived(stream_s, self.taken + delay)
            ages.append(self.clock.age_s(stream_s, self.taken + delay))
        self.ages += ages
        return ages


def test_a_frame_that_arrives_as_soon_as_any_is_new() -> None:
    """What all frames need to get here can't be told from nothing."""
    film = Film()
    film.frames(0.3)
    assert film.frames(0.3, 0.3, 0.3) == pytest.approx([0, 0, 0], abs=0.001)


def test_a_held_network_hands_on_what_is_as_old_as_it_was_held() -> None:
    """Six seconds of frames at once, each of its own age; then new ones."""
    film = Film()
    film.frames(*[0.02] * 50)
    held = [6.0 - n * STEP for n in range(150)]
    assert film.frames(*held) == pytest.approx([age - 0.02 for age in held], abs=0.02)
    assert film.frames(0.02, 0.02) == pytest.approx([0, 0], abs=0.02)


def test_a_slow_link_makes_frames_ever_older() -> None:
    """70 % of what the camera sends gets through: after half a minute frames are ten seconds old, and stay it."""
    film = Film()
    film.frames(*[0.02] * 25)
    film.frames(*[n * STEP * 0.43 for n in range(600)])
    late = 599 * STEP * 0.43
    assert film.frames(*[late] * 1500)[-1] == pytest.approx(late, abs=0.3)


def test_a_backlog_at_the_start_is_of_unknown_age_until_it_ends() -> None:
    """A server that first hands on what it has kept: only when frames come at their own pace are they new."""
    film = Film()
    kept = [1.0 - n * STEP for n in range(26)]
    assert film.frames(*kept) == [UNKNOWN] * 26
    assert film.frames(0.0, 0.0) == pytest.approx([0, 0], abs=STEP)


@pytest.mark.parametrize("rate", [0.999, 1.0, 1.001])
def test_a_clock_that_is_a_thousandth_off_makes_no_frame_old(rate: float) -> None:
    """29.97 frames a second, counted as 30, over an hour."""
    film = Film()
    film.frames(*[0.02] * 3600, step=1.0, rate=rate)
    assert max(film.ages[1:]) < 0.01


def test_jitter_is_never_taken_for_more_than_it_is() -> None:
    """Frames delayed by 0 to 200 ms at random are said to be at most 200 ms old, and right to a few."""
    film, dice = Film(), random.Random(0)
    film.frames(*[dice.uniform(0, 0.2) for _ in range(100)])
    delays = [dice.uniform(0, 0.2) for _ in range(1000)]
    ages = film.frames(*delays)
    assert all(age == pytest.approx(delay, abs=0.03) for age, delay in zip(ages, delays, strict=True))


@pytest.mark.parametrize("begins", [0.0, 95443.0])
def test_a_stream_that_begins_anew_is_judged_anew(begins: float) -> None:
    """The camera restarted, or its clock ran over: times jump; frames aren't old for that."""
    film = Film()
    film.frames(*[0.02] * 10)
    film.begins = begins
    film.frames(0.02)
    assert film.frames(0.02, 0.02) == pytest.approx([0, 0], abs=0.01)


def test_frames_out_of_order_do_not_begin_it_anew() -> None:
    """P before B, as they are decoded: the B frames waited for the P frame, and are older for that."""
    clock = StreamClock()
    for n in range(0, 300, 3):
        now = (n + 3) * STEP
        for frame in (n + 3, n + 1, n + 2):
            clock.arrived(frame * STEP, now)
        if n:
            assert clock.age_s((n + 3) * STEP, now) == pytest.approx(0, abs=0.01)
            assert clock.age_s((n + 1) * STEP, now) == pytest.approx(2 * STEP, abs=0.01)


def arrivals(clock: ArrivalClock, *distances: float, now: float = 0.0) -> list[float]:
    """The ages of frames that come so many seconds after one another."""
    ages = []
    for distance in distances:
        now += distance
        clock.arrived(now)
        ages.append(clock.age_s)
    return ages


def test_without_times_a_burst_after_a_pause_is_a_backlog() -> None:
    """Held for six seconds: the frames of that time at once, then in their rhythm."""
    clock = ArrivalClock()
    assert max(arrivals(clock, *[STEP] * 50)) == 0
    ages = arrivals(clock, 6.0, *[0.001] * 149, *[STEP] * 10, now=50 * STEP)
    assert ages[0] == pytest.approx(6.0 - STEP)
    assert ages[75] == pytest.approx(3.0, abs=0.1)
    assert ages[-10:] == [0] * 10


def test_without_times_a_pause_alone_is_none() -> None:
    """A camera that stopped for a while: only the first frame after the pause is in doubt."""
    clock = ArrivalClock()
    ages = arrivals(clock, *[STEP] * 50, 6.0, *[STEP] * 10)
    assert [age > 0 for age in ages] == [False] * 50 + [True] + [False] * 10


@pytest.mark.parametrize("first", [0.0001, 1.0])
def test_without_times_a_slow_camera_is_no_late_one(first: float) -> None:
    """One frame a second, also when the first ones came together while the stream was opened."""
    clock = ArrivalClock()
    ages = arrivals(clock, first, first, *[1.0] * 30)
    assert max(ages[5:]) == 0
    assert math.isfinite(max(ages))
