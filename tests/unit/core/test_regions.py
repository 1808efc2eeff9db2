# SPDX-License-Identifier: AGPL-3.0-or-later
"""Regions of a picture: what is inside, and what is wrong with one, in words."""

from __future__ import annotations

import math

import pytest

from edgeagent.core.regions import MOST_POINTS, Region, parse_region

SQUARE = [[0.2, 0.2], [0.8, 0.2], [0.8, 0.8], [0.2, 0.8]]
C_SHAPE = [[0, 0], [1, 0], [1, 0.2], [0.2, 0.2], [0.2, 0.8], [1, 0.8], [1, 1], [0, 1]]


def ring(points: int) -> list[list[float]]:
    """A polygon of so many corners."""
    angles = [2 * math.pi * n / points for n in range(points)]
    return [[0.5 + 0.4 * math.cos(a), 0.5 + 0.4 * math.sin(a)] for a in angles]


@pytest.mark.parametrize(
    ("points", "x", "y", "inside"),
    [
        (SQUARE, 0.5, 0.5, True),
        (SQUARE, 0.1, 0.5, False),
        (SQUARE, 0.9, 0.5, False),
        (SQUARE, 0.5, 0.1, False),
        (list(reversed(SQUARE)), 0.5, 0.5, True),  # whichever way around
        (C_SHAPE, 0.1, 0.5, True),
        (C_SHAPE, 0.5, 0.5, False),  # in the bay
        (C_SHAPE, 0.5, 0.9, True),
        ([[0, 0], [1, 0], [0.5, 1]], 0.9, 0.9, False),
        (ring(MOST_POINTS), 0.5, 0.85, True),
    ],
)
def test_what_lies_inside(points: list[list[float]], x: float, y: float, inside: bool) -> None:
    """A polygon of any shape that doesn't cross itself."""
    assert parse_region(points).contains(x, y) is inside


@pytest.mark.parametrize(
    ("points", "why"),
    [
        (None, "no list of points"),
        ("0,0 1,1", "no list of points"),
        ([], "has 0 points; allowed: 3 to 64"),
        ([[0, 0], [1, 1]], "has 2 points"),
        (ring(MOST_POINTS + 1), "has 65 points"),
        ([[0, 0], [1, 0], [1]], "point 3 is no pair of numbers"),
        ([[0, 0], [1, 0], [1, "x"]], "point 3 is no pair of numbers"),
        ([[0, 0], [1, 0], [1, True]], "point 3 is no pair of numbers"),
        ([[0, 0], [1, 0], [1, math.nan]], "point 3 is no point"),
        ([[0, 0], [1.2, 0], [1, 1]], "point 2, (1.2, 0), lies outside of the picture; allowed: 0 to 1"),
        ([[0, 0], [1, 0], [1, -0.1]], "point 3, (1, -0.1), lies outside"),
        ([[0, 0], [640, 0], [640, 360]], "lies outside of the picture"),  # pixels
        ([[0, 0], [1, 0], [10**400, 1]], "point 3 lies outside"),  # more than a float holds
        (
            [[0, 0], [1, 1], [1, 0], [0, 1]],
            "crosses itself: the edge from point 1 meets the one from point 3",
        ),
        ([[0, 0], [1, 0], [1, 1], [0.5, 0], [0, 1]], "crosses itself"),  # touches an edge with a corner
        ([[0, 0], [1, 0], [0.5, 0], [0.5, 1]], "crosses itself"),  # goes back where it came from
        ([[0, 0], [0, 0], [1, 0], [1, 1]], "points 1 and 2 are the same"),
        ([[0, 0], [1, 0], [1, 1], [0, 0]], "points 4 and 1 are the same"),
        ([[0.1, 0.1], [0.5, 0.5], [0.9, 0.9]], "crosses itself"),  # a line
        ([[0, 0], [1e-6, 0], [0, 1e-6]], "has no area"),
    ],
)
def test_what_is_wrong_is_said(points: object, why: str) -> None:
    """In words for whoever drew it."""
    with pytest.raises(ValueError, match=r".") as wrong:
        parse_region(points)
    assert why in str(wrong.value)


def test_as_plain_values_and_back() -> None:
    """What the page reads is what it may write."""
    region = parse_region(C_SHAPE)
    assert parse_region(region.as_list()) == region == parse_region(region)
    assert isinstance(region, Region)
