# SPDX-License-Identifier: AGPL-3.0-or-later
"""Regions of a picture: polygons, of points in fractions of its width and height.

So a region stays where it is when a camera is given another resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

Point = tuple[float, float]
"""x, y: from the left and from the top, as fractions of the picture's width and height, 0 to 1."""

LEAST_POINTS, MOST_POINTS = 3, 64
_EXAMPLE = "allowed: [[x, y], ...] in fractions of the picture, such as [[0, 0.5], [1, 0.5], [1, 1], [0, 1]]"


@dataclass(frozen=True, slots=True)
class Region:
    """A polygon inside a picture. Its last point is joined to its first.

    Raises ValueError that says what is wrong with it: too few or too many points, one outside of the picture, edges
    that cross or touch each other, no area.
    """

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        if why := fault(self.points):
            raise ValueError(why)

    def contains(self, x: float, y: float) -> bool:
        """Whether a point of the picture, in fractions, lies inside. On an edge it may be either."""
        inside = False
        x1, y1 = self.points[-1]
        for x2, y2 in self.points:
            if (y1 > y) != (y2 > y) and x < (x2 - x1) * (y - y1) / (y2 - y1) + x1:
                inside = not inside
            x1, y1 = x2, y2
        return inside

    def as_list(self) -> list[list[float]]:
        """The points as plain values, for JSON and YAML."""
        return [[x, y] for x, y in self.points]


def parse_region(value: object) -> Region:
    """What stands in a configuration, or comes from a page: a list of `[x, y]`. Raises ValueError that says what is
    wrong with it."""
    if isinstance(value, Region):
        return value
    if not isinstance(value, list | tuple):
        raise ValueError(f"is no list of points; {_EXAMPLE}")
    return Region(tuple(_point(number, point) for number, point in enumerate(value, start=1)))


def fault(points: Sequence[Point]) -> str:
    """What is wrong with a polygon of these points, "" if nothing is."""
    if not LEAST_POINTS <= len(points) <= MOST_POINTS:
        return f"has {len(points)} points; allowed: {LEAST_POINTS} to {MOST_POINTS}"
    for number, (x, y) in enumerate(points, start=1):
        if not (isfinite(x) and isfinite(y)):
            return f"point {number} is no point; {_EXAMPLE}"
        if not (0 <= x <= 1 and 0 <= y <= 1):
            return f"point {number}, ({x:g}, {y:g}), lies outside of the picture; allowed: 0 to 1"
    return _crossing(points) or ("" if _area(points) > 0 else f"has no area; {_EXAMPLE}")


def _point(number: int, value: Any) -> Point:
    numbers = isinstance(value, list | tuple) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in value
    )
    if not numbers or len(value) != 2:
        raise ValueError(f"point {number} is no pair of numbers; {_EXAMPLE}")
    try:
        return float(value[0]), float(value[1])
    except OverflowError:
        raise ValueError(f"point {number} lies outside of the picture; allowed: 0 to 1") from None


def _crossing(points: Sequence[Point]) -> str:
    """Two edges that cross or touch, in words. Edges are named by the point from which they go."""
    edges = [(points[i], points[(i + 1) % len(points)]) for i in range(len(points))]
    for i, (a, b) in enumerate(edges):
        if a == b:
            return f"points {i + 1} and {(i + 1) % len(points) + 1} are the same; allowed: each point once"
    for i, first in enumerate(edges):
        for j in range(i + 1, len(edges)):
            follows = j == i + 1 or (i == 0 and j == len(edges) - 1)
            meet = _turns_back(first, edges[j]) if follows else _meet(first, edges[j])
            if meet:
                return (
                    f"crosses itself: the edge from point {i + 1} meets the one from point {j + 1}; allowed: "
                    f"points in order around the region"
                )
    return ""


Edge = tuple[Point, Point]


def _turns_back(first: Edge, second: Edge) -> bool:
    """Whether two edges that follow each other lie upon each other."""
    shared = first[1] if first[1] in second else first[0]
    a = first[0] if shared == first[1] else first[1]
    b = second[1] if shared == second[0] else second[0]
    ahead = (a[0] - shared[0]) * (b[0] - shared[0]) + (a[1] - shared[1]) * (b[1] - shared[1])
    return _side(a, shared, b) == 0 and ahead > 0


def _meet(first: Edge, second: Edge) -> bool:
    """Whether two edges have a point in common."""
    (a, b), (c, d) = first, second
    sides = _side(a, b, c), _side(a, b, d), _side(c, d, a), _side(c, d, b)
    if sides[0] * sides[1] < 0 and sides[2] * sides[3] < 0:
        return True
    ends = ((a, b, c, sides[0]), (a, b, d, sides[1]), (c, d, a, sides[2]), (c, d, b, sides[3]))
    return any(side == 0 and _within(p, q, r) for p, q, r, side in ends)


def _side(a: Point, b: Point, c: Point) -> int:
    """On which side of the line from a to b point c lies: -1, 0 (on it) or 1."""
    turn = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    return 0 if abs(turn) < 1e-12 else 1 if turn > 0 else -1


def _within(a: Point, b: Point, c: Point) -> bool:
    """Whether c, which is on the line through a and b, lies between them."""
    return min(a[0], b[0]) <= c[0] <= max(a[0], b[0]) and min(a[1], b[1]) <= c[1] <= max(a[1], b[1])


def _area(points: Sequence[Point]) -> float:
    twice = sum(
        x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, [*points[1:], points[0]], strict=True)
    )
    area = abs(twice) / 2
    return area if area > 1e-9 else 0.0
