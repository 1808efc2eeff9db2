# SPDX-License-Identifier: AGPL-3.0-or-later
"""The moment between two parts."""

from __future__ import annotations

from edgeagent.core.between_parts import BetweenParts

SIZE = (100, 50)
PART = [(40.0, 20.0, 60.0, 30.0, 0.9, 0.0)]
ELSEWHERE = [(0.0, 0.0, 10.0, 10.0, 0.9, 0.0)]


def test_so_many_frames_in_a_row_without_a_detection() -> None:
    """A part begins the count anew."""
    moment = BetweenParts(["line"], 3, {})
    seen = [moment.observe("line", SIZE, boxes) for boxes in ([], [], PART, [], [], [], [])]
    assert seen == [False, False, False, False, False, True, True]


def test_only_the_region_of_interest_counts() -> None:
    """In shares of the frame."""
    moment = BetweenParts(["line"], 1, {"line": (0.3, 0.0, 0.7, 1.0)})
    assert moment.observe("line", SIZE, ELSEWHERE)
    assert not moment.observe("line", SIZE, PART)
    assert not moment.observe("line", SIZE, [(65.0, 0.0, 99.0, 9.0)])  # reaches into it
    assert moment.observe("line", SIZE, [(70.0, 0.0, 99.0, 9.0)])


def test_all_cameras_of_the_model_must_see_nothing() -> None:
    """Also one that hasn't sent a frame: what it would see isn't known."""
    moment = BetweenParts(["left", "right"], 2, {})
    assert [moment.observe("left", SIZE, []) for _ in range(5)] == [False] * 5
    assert not moment.observe("right", SIZE, [])
    assert moment.observe("right", SIZE, [])
    assert not moment.observe("left", SIZE, PART)
    assert not moment.observe("right", SIZE, [])


def test_without_a_region_a_part_is_seen_wherever_it_is() -> None:
    """Also on a frame that is larger than others of its pipeline."""
    moment = BetweenParts(["line"], 1, {})
    assert not moment.observe("line", (640, 480), [(1500.0, 1500.0, 1600.0, 1600.0, 0.9, 0.0)])
    assert moment.observe("line", (640, 480), [])
