# SPDX-License-Identifier: AGPL-3.0-or-later
"""Boxes of detections, and which boxes of two versions on the same picture mean the same object."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import hypot, isfinite

Box = tuple[float, float, float, float, float, int]
"""x1, y1, x2, y2 in pixels of the frame, confidence, class."""


@dataclass(frozen=True)
class Matching:
    """Which boxes of two sides belong together, by their places in the two sequences.

    pairs: (place on the first side, place on the second, IoU); first, second: places without a partner.
    """

    pairs: tuple[tuple[int, int, float], ...]
    first: tuple[int, ...]
    second: tuple[int, ...]


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes that begin with x1, y1, x2, y2."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def match(first: Sequence[Box], second: Sequence[Box], min_iou: float) -> Matching:
    """Pair boxes of the same class that overlap by `min_iou` or more, the largest overlap first, each box once.

    Which side is named first makes no difference: nothing is sorted by score. So two versions that are equally good
    have the same chance of standing alone, which is what `core.pairs` tests.
    """
    return _match(first, second, lambda a, b: _overlap(a, b, min_iou, a[5] == b[5]))


def match_any_class(first: Sequence[Box], second: Sequence[Box], min_iou: float) -> Matching:
    """The same, whatever the classes: an object that one version calls something else."""
    return _match(first, second, lambda a, b: _overlap(a, b, min_iou, True))


def without_split(
    first: Sequence[Box], second: Sequence[Box], classes: int, min_iou: float
) -> tuple[list[Box], list[Box]]:
    """Both sides without the objects that the second calls by a class that the first doesn't know (its number is
    `classes` or more), and sees in the same place: with a class that was split in two, neither is lost or gained. What
    both call the same stays, whatever else is said of it."""
    further = [j for j, b in enumerate(second) if b[5] >= classes]
    if not further:
        return list(first), list(second)
    rest = match(first, second, min_iou).first
    split = match_any_class([first[i] for i in rest], [second[j] for j in further], min_iou).pairs
    ours, theirs = {rest[i] for i, _, _ in split}, {further[j] for _, j, _ in split}
    return (
        [a for i, a in enumerate(first) if i not in ours],
        [b for j, b in enumerate(second) if j not in theirs],
    )


def match_nearby(first: Sequence[Box], second: Sequence[Box], reach: float) -> Matching:
    """Pair boxes of the same class whose centres lie within `reach` pixels, or within the diagonal of the smaller box,
    the nearest first. The third figure of a pair is the IoU, which may be 0: an object that is seen in another place.
    """

    within = max([reach, *map(diagonal, first)])

    def closeness(a: Box, b: Box) -> float:
        if a[5] != b[5]:
            return 0.0
        distance = hypot(*(p - q for p, q in zip(centre(a), centre(b), strict=True)))
        return 1 / (1 + distance) if distance <= max(reach, min(diagonal(a), diagonal(b))) else 0.0

    near = _match(first, second, closeness, within)
    pairs = tuple((i, j, iou(first[i], second[j])) for i, j, _ in near.pairs)
    return Matching(pairs, near.first, near.second)


def centre(box: Sequence[float]) -> tuple[float, float]:
    """The middle of a box, pixels."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def diagonal(box: Sequence[float]) -> float:
    """From corner to corner, pixels."""
    return hypot(box[2] - box[0], box[3] - box[1])


def are_numbers(boxes: Sequence[Box]) -> bool:
    """Whether every figure of every box is finite."""
    return all(isfinite(value) for box in boxes for value in box)


def _overlap(a: Box, b: Box, least: float, same: bool) -> float:
    if not same or a[1] >= b[3] or b[1] >= a[3]:
        return 0.0
    overlap = iou(a, b)
    return overlap if overlap >= least else 0.0


def _match(
    first: Sequence[Box], second: Sequence[Box], worth: Callable[[Box, Box], float], margin: float = 0.0
) -> Matching:
    """The pair that is worth most first; pairs that are worth nothing are none, and those further apart than `margin`
    pixels to the side aren't looked at: a crowded picture has tens of thousands of pairs."""
    order = sorted(range(len(second)), key=lambda j: second[j][0])
    lefts = [second[j][0] for j in order]
    widest = max((b[2] - b[0] for b in second), default=0.0)
    candidates: list[tuple[float, int, int]] = []
    for i, a in enumerate(first):
        near = slice(bisect_left(lefts, a[0] - margin - widest), bisect_right(lefts, a[2] + margin))
        candidates += ((value, i, j) for j in order[near] if (value := worth(a, second[j])) > 0)
    pairs: list[tuple[int, int, float]] = []
    free_first, free_second = set(range(len(first))), set(range(len(second)))
    for value, i, j in sorted(candidates, key=lambda c: (-c[0], c[1], c[2])):
        if i in free_first and j in free_second:
            free_first.remove(i)
            free_second.remove(j)
            pairs.append((i, j, value))
    return Matching(tuple(pairs), tuple(sorted(free_first)), tuple(sorted(free_second)))
