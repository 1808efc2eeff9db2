# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which boxes of two versions mean the same object."""

from __future__ import annotations

import random

import pytest

from edgeagent.core.boxes import Box, Matching, are_numbers, iou, match, match_any_class, match_nearby

A: Box = (0.0, 0.0, 10.0, 10.0, 0.9, 0)


def moved(box: Box, dx: float, dy: float = 0.0, cls: int | None = None) -> Box:
    """The same box elsewhere, or under another class."""
    x1, y1, x2, y2, score, own = box
    return x1 + dx, y1 + dy, x2 + dx, y2 + dy, score, own if cls is None else cls


@pytest.mark.parametrize(("dx", "expected"), [(0.0, 1.0), (5.0, 1 / 3), (10.0, 0.0), (50.0, 0.0)])
def test_iou(dx: float, expected: float) -> None:
    """Of squares that are moved against each other."""
    assert iou(A, moved(A, dx)) == pytest.approx(expected)


def test_the_largest_overlap_goes_first() -> None:
    """Whatever the scores; what is left has no partner."""
    assert match([A], [moved(A, 3), moved(A, 1)], 0.5) == Matching(((0, 1, pytest.approx(9 / 11)),), (), (0,))


def test_other_classes_and_small_overlaps_are_no_partners() -> None:
    """Unless one asks whatever the class."""
    others = [moved(A, 0, cls=1), moved(A, 6)]
    assert match([A], others, 0.5) == Matching((), (0,), (0, 1))
    assert match_any_class([A], others, 0.5).pairs == ((0, 0, 1.0),)


def test_nearby_is_within_reach_or_within_the_smaller_box() -> None:
    """Of the same class; a large box doesn't reach further to a small one."""
    assert match_nearby([A], [moved(A, 14)], 1.0).pairs == ((0, 0, 0.0),)
    assert match_nearby([A], [moved(A, 15)], 1.0).pairs == ()
    assert match_nearby([A], [moved(A, 15)], 15.0).pairs == ((0, 0, 0.0),)
    assert match_nearby([A], [moved(A, 1, cls=1)], 15.0).pairs == ()


def test_sides_are_alike_and_the_sweep_misses_nothing() -> None:
    """A crowded picture, against all pairs."""
    rng = random.Random(1)
    boxes = []
    for _ in range(120):
        x, y, w, h = rng.uniform(0, 300), rng.uniform(0, 100), rng.uniform(5, 80), rng.uniform(5, 40)
        boxes.append((x, y, x + w, y + h, rng.random(), rng.randrange(2)))
    first, second = boxes[:60], boxes[60:]
    there, back = match(first, second, 0.2), match(second, first, 0.2)
    assert there.pairs
    assert {(i, j) for i, j, _ in there.pairs} == {(j, i) for i, j, _ in back.pairs}
    alone = {(i, j) for i in there.first for j in there.second}
    assert not any(iou(first[i], second[j]) >= 0.2 and first[i][5] == second[j][5] for i, j in alone)


def test_what_is_no_number_is_seen() -> None:
    """NaN and infinity, wherever they stand."""
    assert are_numbers([A])
    assert not are_numbers([A, (0.0, float("nan"), 1.0, 1.0, 0.5, 0)])
    assert not are_numbers([(0.0, 0.0, float("inf"), 1.0, 0.5, 0)])
