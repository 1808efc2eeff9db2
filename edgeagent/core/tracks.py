# SPDX-License-Identifier: AGPL-3.0-or-later
"""Objects, followed from frame to frame: a part that is in view for four seconds counts once, not sixty times.

It runs on the path of frames, so what it costs grows with the objects, not with their square, and has a bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import hypot, inf
from typing import Generic, TypeVar

from edgeagent.core.boxes import centre, diagonal

REACH = 0.1
"""How far from where it is expected an object may be on the next frame, in lengths of the frame's longer side. Rather
too far: two that are taken for one count too seldom; one that is taken for two would count too often."""
FORGET_S, FORGET_FRAMES = 1.0, 3
"""An object that was seen on none of so many frames, and not for so long (seconds), is gone."""
MOST_TRACKS = 600
"""That are followed at a time. Of what comes beyond, nothing is known until others are gone."""
_STEPS = (1 / 16, 1 / 4, inf)
"""Shares of the reach: what is near is looked for first, for most objects are where they are expected, and what has
found its place needs no comparison with what is further away."""
_MOST_COMPARISONS = 5_000
"""In each step. Hundreds of objects in one place need more: then the last boxes are taken for new objects."""

Point = tuple[float, float, float]
"""The class of a box, and its middle, x and y, pixels."""
Guess = tuple[int, float, float, float, float]
"""The number of a track, its class, where it may be by now, x and y, and how far from there, pixels."""


@dataclass(slots=True, eq=False)
class Track:
    """One object, while it is in view.

    cls: its class; at: its centre when it was last seen, pixels, at `mono` seconds; size: the diagonal of its box;
    velocity: pixels a second, None after one sight. missed: frames since it was last seen.
    """

    cls: int
    at: tuple[float, float]
    mono: float
    size: float
    velocity: tuple[float, float] | None = None
    missed: int = 0


T = TypeVar("T", bound=Track)


class Follower(Generic[T]):
    """Follows the objects of one pipeline."""

    def __init__(self, begin: Callable[[int, tuple[float, float], float, float], T]) -> None:
        """begin: makes the track of a new object: of its class, centre, time and size."""
        self._begin = begin
        self._tracks: list[T] = []
        self._drift: tuple[float, float] = (0.0, 0.0)  # pixels a second: a belt moves all alike

    @property
    def tracks(self) -> tuple[T, ...]:
        """What is in view."""
        return tuple(self._tracks)

    def observe(
        self, boxes: Sequence[Sequence[float]], mono: float, width: int, height: int
    ) -> tuple[list[T | None], list[T]]:
        """One more frame. boxes: x1, y1, x2, y2 in pixels, score, class; mono: when it was captured, seconds; width,
        height: pixels. Returns of each box its track, None where too many are followed, and what is gone by now."""
        points = [(box[5], *centre(box)) for box in boxes]
        seen = self._assign(points, mono, REACH * max(width, height, 1))
        for place, box in enumerate(boxes):
            track, (cls, x, y) = seen[place], points[place]
            if track:
                self._move(track, x, y, mono)
                track.size = diagonal(box)
            elif len(self._tracks) < MOST_TRACKS:
                track = seen[place] = self._begin(int(cls), (x, y), mono, diagonal(box))
                self._tracks.append(track)
        gone: list[T] = []
        for track in self._tracks:
            if track.mono < mono:
                track.missed += 1
                if self._is_gone(track, mono, width, height):
                    gone.append(track)
        if gone:
            left = set(gone)
            self._tracks = [track for track in self._tracks if track not in left]
        return seen, gone

    def _assign(self, points: Sequence[Point], mono: float, reach: float) -> list[T | None]:
        """Of each box the track that it belongs to: the nearest first."""
        seen: list[T | None] = [None] * len(points)
        guesses = self._guesses(mono, reach)
        waiting = set(range(len(self._tracks)))
        for step in _STEPS:
            free = [place for place, track in enumerate(seen) if track is None]
            if not free or not guesses:
                break
            for _, number, place in sorted(_near(points, free, guesses, step * reach)):
                if number in waiting and seen[place] is None:
                    waiting.remove(number)
                    seen[place] = self._tracks[number]
            guesses = [guess for guess in guesses if guess[0] in waiting]
        return seen

    def _guesses(self, mono: float, reach: float) -> list[Guess]:
        """Where each track may be by now. One that was seen once moves as the others do, or not at all."""
        guesses: list[Guess] = []
        for number, track in enumerate(self._tracks):
            (x, y), dt, within = track.at, mono - track.mono, reach + track.size / 2
            vx, vy = track.velocity or self._drift
            guesses.append((number, track.cls, x + vx * dt, y + vy * dt, within))
            if not track.velocity and (vx or vy):
                guesses.append((number, track.cls, x, y, within))
        return guesses

    def _move(self, track: T, x: float, y: float, mono: float) -> None:
        dt = mono - track.mono
        if dt > 0:
            vx, vy = (x - track.at[0]) / dt, (y - track.at[1]) / dt
            if track.velocity:
                before_x, before_y = track.velocity
                vx, vy = before_x + 0.5 * (vx - before_x), before_y + 0.5 * (vy - before_y)
            track.velocity = vx, vy
            drift_x, drift_y = self._drift
            self._drift = drift_x + 0.2 * (vx - drift_x), drift_y + 0.2 * (vy - drift_y)
        track.at, track.mono, track.missed = (x, y), mono, 0

    def _is_gone(self, track: T, mono: float, width: int, height: int) -> bool:
        dt = mono - track.mono
        if track.missed >= FORGET_FRAMES and dt >= FORGET_S:
            return True
        (x, y), (vx, vy) = track.at, track.velocity or self._drift
        return not (0 <= x + vx * dt <= width and 0 <= y + vy * dt <= height)


def _near(
    points: Sequence[Point], free: Iterable[int], guesses: Sequence[Guess], most: float
) -> list[tuple[float, int, int]]:
    """How far a guess is from a point, the guess's track, the point's place: where that is `most` pixels or less, and
    within the guess's own. The picture is divided into cells, so large that a point reaches into four at most."""
    most = min(most, max(within for *_, within in guesses))
    side = 3 * most
    cells: dict[tuple[float, float, float], list[Guess]] = {}
    for guess in guesses:
        _, cls, x, y, _ = guess
        cells.setdefault((cls, x // side, y // side), []).append(guess)
    pairs: list[tuple[float, int, int]] = []
    compared = 0
    for place in free:
        cls, x, y = points[place]
        left, right = (x - most) // side, (x + most) // side
        top, bottom = (y - most) // side, (y + most) // side
        for column in (left, right) if left != right else (left,):
            for row in (top, bottom) if top != bottom else (top,):
                cell = cells.get((cls, column, row), ())
                compared += len(cell)
                for number, _, px, py, within in cell:
                    distance = hypot(x - px, y - py)
                    if distance <= most and distance <= within:
                        pairs.append((distance, number, place))
        if compared >= _MOST_COMPARISONS:
            break
    return pairs
