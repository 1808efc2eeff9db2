# SPDX-License-Identifier: AGPL-3.0-or-later
"""Objects that are followed from frame to frame."""

from __future__ import annotations

import random
from collections.abc import Sequence
from math import hypot

import pytest

from edgeagent.core import tracks
from edgeagent.core.boxes import centre
from edgeagent.core.tracks import MOST_TRACKS, REACH, Follower, Track

WIDTH, HEIGHT = 1920, 1080
Box = tuple[float, ...]


def box(x: float, y: float, size: float = 12.0, cls: int = 0) -> Box:
    """A square with its upper left corner there."""
    return (x, y, x + size, y + size, 0.9, cls)


def crowd(shift: float) -> list[Box]:
    """A hundred parts on a belt."""
    return [box(60.0 + 18 * n + shift, 40.0 + 97 * n % 1000) for n in range(100)]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Has an entry for each comparison of an object with a box."""
    seen: list[int] = []
    monkeypatch.setattr(tracks, "hypot", lambda x, y: seen.append(0) or hypot(x, y))
    return seen


def test_each_object_of_a_crowded_picture_stays_the_one_that_it_is() -> None:
    """A hundred parts that move alike are a hundred objects."""
    follower = Follower(Track)
    first, _ = follower.observe(crowd(0.0), 0.0, WIDTH, HEIGHT)
    for n in range(1, 10):
        seen, gone = follower.observe(crowd(4.0 * n), n / 8, WIDTH, HEIGHT)
        assert (seen, gone) == (first, [])


def straightforward(follower: Follower[Track], boxes: Sequence[Box], mono: float) -> list[Track | None]:
    """Of each box its track: all are compared with all, and the nearest go first."""
    distances = []
    for number, track in enumerate(follower.tracks):
        for vx, vy in [track.velocity] if track.velocity else [follower._drift, (0.0, 0.0)]:
            dt = mono - track.mono
            x, y = track.at[0] + vx * dt, track.at[1] + vy * dt
            for place, other in enumerate(boxes):
                at = centre(other)
                distance = hypot(at[0] - x, at[1] - y)
                if other[5] == track.cls and distance <= REACH * WIDTH + track.size / 2:
                    distances.append((distance, number, place))
    seen: list[Track | None] = [None] * len(boxes)
    for _, number, place in sorted(distances):
        if seen[place] is None and follower.tracks[number] not in seen:
            seen[place] = follower.tracks[number]
    return seen


@pytest.mark.parametrize("scene", ["a belt", "no order", "one place"])
@pytest.mark.parametrize("seed", range(3))
def test_what_is_compared_with_little_is_assigned_as_if_with_all(scene: str, seed: int) -> None:
    """Objects that come, go, hide, and jump; large and small ones, of two classes."""
    rng = random.Random(seed)
    side = 20.0 if scene == "one place" else WIDTH

    def somewhere() -> Box:
        size = rng.choice([10.0, 40.0, 900.0])
        return box(rng.uniform(0, side), rng.uniform(0, HEIGHT * side / WIDTH), size, rng.randrange(2))

    boxes = [somewhere() for _ in range(40)]
    follower, assigned = Follower(Track), 0
    for n in range(8):
        if scene == "a belt":
            moved = ((x + 30 + rng.gauss(0, 3), y, x2 - x, cls) for x, y, x2, _, _, cls in boxes)
            boxes = [box(*b) if rng.random() > 0.1 else somewhere() for b in moved]
        else:
            boxes = [somewhere() for _ in range(40)]
        shown = [b for b in boxes if rng.random() > 0.1]
        before, expected = follower.tracks, straightforward(follower, shown, n / 8)
        seen, _ = follower.observe(shown, n / 8, WIDTH, HEIGHT)
        assert [track if track in before else None for track in seen] == expected
        assigned += sum(track is not None for track in expected)
    assert assigned > 100


def test_in_a_crowded_picture_only_what_is_near_is_compared(compared: list[int]) -> None:
    """It runs on the thread of the frames: all objects with all others would hold these up."""
    follower = Follower(Track)
    for n in range(3):
        compared.clear()
        follower.observe(crowd(4.0 * n), n / 8, WIDTH, HEIGHT)
    assert 100 <= len(compared) < 400


def test_what_is_made_to_cost_much_costs_no_more_than_so_much(compared: list[int]) -> None:
    """Thousands of boxes in one place, which is another one on each frame."""
    follower = Follower(Track)
    for n in range(8):
        compared.clear()
        seen, _ = follower.observe([box(200.0 * n, 500.0)] * 1000, n / 30, WIDTH, HEIGHT)
        assert len(seen) == 1000
    assert len(follower.tracks) == MOST_TRACKS
    assert 0 < len(compared) < 3 * 7_000


def test_boxes_that_are_no_numbers_are_nobody() -> None:
    """And the others are what they were."""
    follower = Follower(Track)
    nan, endless = float("nan"), float("inf")
    first, _ = follower.observe([box(100, 100)], 0.0, WIDTH, HEIGHT)
    for n in range(1, 4):
        boxes = [box(100, 100), box(nan, nan), (-endless, 0.0, endless, endless, 0.9, 0)]
        seen, _ = follower.observe(boxes, n / 8, WIDTH, HEIGHT)
        assert seen[0] is first[0]
