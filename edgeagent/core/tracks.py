# SPDX-License-Identifier: AGPL-3.0-or-later
"""Objects, followed from frame to frame: a part that is in view for four seconds counts once, not sixty times.

What is followed is what either of two versions saw, so that neither is preferred: an object is judged by the share of
its frames on which each of them found it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot

from edgeagent.core.boxes import Box, centre, diagonal, match, match_any_class, match_nearby

NEARBY = 0.05
"""How far from its place, in lengths of the frame's longer side, the other version may see an object, and it is still
the same."""
REACH = 0.1
"""How far from where it is expected an object may be on the next frame, in the same lengths. Rather too far: two that
are taken for one count too seldom; one that is taken for two would count too often."""
FORGET_S, FORGET_FRAMES = 1.0, 3
"""An object that was seen on none of so many frames, and not for so long (seconds), is gone."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """What two versions say of one object on one frame. At least one of them found it.

    cls: its class, as the incumbent calls it where it found it; box: where it is, likewise. incumbent, candidate: their
    scores, None: not found. overlap: IoU of their boxes. renamed: they call it by two classes.
    """

    cls: int
    box: Box
    incumbent: float | None
    candidate: float | None
    overlap: float = 0.0
    renamed: bool = False


def sightings(
    incumbent: Sequence[Box], candidate: Sequence[Box], min_iou: float, longer_side: int
) -> list[Sighting]:
    """Which boxes of the two mean the same object: same class and overlap of `min_iou`; else the same place under
    another class; else the same class nearby. longer_side: of the frame, pixels."""
    found: list[Sighting] = []
    ours, theirs = list(incumbent), list(candidate)
    for step in range(3):
        if step == 0:
            m = match(ours, theirs, min_iou)
        elif step == 1:
            m = match_any_class(ours, theirs, min_iou)
        else:
            m = match_nearby(ours, theirs, NEARBY * longer_side)
        for i, j, overlap in m.pairs:
            a, b = ours[i], theirs[j]
            overlap = overlap if step < 2 else min(overlap, min_iou)
            found.append(Sighting(a[5], a, a[4], b[4], overlap, a[5] != b[5]))
        ours, theirs = [ours[i] for i in m.first], [theirs[j] for j in m.second]
    found += (Sighting(a[5], a, a[4], None) for a in ours)
    found += (Sighting(b[5], b, None, b[4]) for b in theirs)
    return found


@dataclass(slots=True)
class Track:
    """One object, while it is in view.

    cls: its class; at: its centre when it was last seen, pixels, at `mono` seconds; size: the diagonal of its box;
    velocity: pixels a second, None after one sight. frames: on which either version found it; incumbent, candidate: on
    which that one did; both: on which both did, and of these: renamed, the sum of overlaps and of the scores of each.
    missed: frames since it was last seen. judged: it was counted.
    """

    cls: int
    at: tuple[float, float]
    mono: float
    size: float
    velocity: tuple[float, float] | None = None
    frames: int = 0
    incumbent: int = 0
    candidate: int = 0
    both: int = 0
    renamed: int = 0
    overlap: float = 0.0
    incumbent_score: float = 0.0
    candidate_score: float = 0.0
    missed: int = 0
    judged: bool = False

    def add(self, seen: Sighting) -> None:
        """It was seen on one more frame."""
        self.frames += 1
        self.missed = 0
        self.incumbent += seen.incumbent is not None
        self.candidate += seen.candidate is not None
        if seen.incumbent is not None and seen.candidate is not None:
            self.both += 1
            self.renamed += seen.renamed
            self.overlap += seen.overlap
            self.incumbent_score += seen.incumbent
            self.candidate_score += seen.candidate


class Follower:
    """Follows the objects of one pipeline."""

    def __init__(self) -> None:
        self._tracks: list[Track] = []
        self._drift: tuple[float, float] = (0.0, 0.0)  # pixels a second: a belt moves all alike

    @property
    def tracks(self) -> tuple[Track, ...]:
        """What is in view."""
        return tuple(self._tracks)

    def observe(self, seen: Sequence[Sighting], mono: float, width: int, height: int) -> list[Track]:
        """One more frame. mono: when it was captured, seconds; width, height: pixels. Returns what is gone by now."""
        reach = REACH * max(width, height)
        taken = self._assign(seen, mono, reach)
        for place, sighting in enumerate(seen):
            track = taken.get(place)
            if track is None:
                track = Track(sighting.cls, centre(sighting.box), mono, diagonal(sighting.box))
                self._tracks.append(track)
            else:
                self._move(track, sighting, mono)
            track.add(sighting)
        gone: list[Track] = []
        for track in self._tracks:
            if track.mono < mono:
                track.missed += 1
                if self._is_gone(track, mono, width, height):
                    gone.append(track)
        self._tracks = [track for track in self._tracks if not any(track is other for other in gone)]
        return gone

    def _assign(self, seen: Sequence[Sighting], mono: float, reach: float) -> dict[int, Track]:
        """By place in `seen`, the track that each belongs to: the nearest first."""
        # In a crowded picture most are far away: who is too far to the side is not looked at.
        order = sorted((*centre(sighting.box), place) for place, sighting in enumerate(seen))
        lefts = [x for x, _, _ in order]
        distances: list[tuple[float, int, int]] = []
        for number, track in enumerate(self._tracks):
            within = reach + track.size / 2
            guesses = [track.velocity] if track.velocity else [self._drift, (0.0, 0.0)]
            expected = [self._expected(track, guess, mono) for guess in guesses]
            begin = bisect_left(lefts, min(x for x, _ in expected) - within)
            end = bisect_right(lefts, max(x for x, _ in expected) + within)
            for x, y, place in order[begin:end]:
                if seen[place].cls != track.cls:
                    continue
                distance = min(hypot(x - px, y - py) for px, py in expected)
                if distance <= within:
                    distances.append((distance, number, place))
        distances.sort()
        taken: dict[int, Track] = {}
        used: set[int] = set()
        for _, number, place in distances:
            if number not in used and place not in taken:
                used.add(number)
                taken[place] = self._tracks[number]
        return taken

    @staticmethod
    def _expected(track: Track, velocity: tuple[float, float], mono: float) -> tuple[float, float]:
        dt = mono - track.mono
        return track.at[0] + velocity[0] * dt, track.at[1] + velocity[1] * dt

    def _move(self, track: Track, sighting: Sighting, mono: float) -> None:
        at, dt = centre(sighting.box), mono - track.mono
        if dt > 0:
            now = (at[0] - track.at[0]) / dt, (at[1] - track.at[1]) / dt
            before = track.velocity or now
            track.velocity = _between(before, now, 0.5)
            self._drift = _between(self._drift, track.velocity, 0.2)
        track.at, track.mono, track.size = at, mono, diagonal(sighting.box)

    def _is_gone(self, track: Track, mono: float, width: int, height: int) -> bool:
        if track.missed >= FORGET_FRAMES and mono - track.mono >= FORGET_S:
            return True
        x, y = self._expected(track, track.velocity or self._drift, mono)
        return not (0 <= x <= width and 0 <= y <= height)


def _between(a: tuple[float, float], b: tuple[float, float], share: float) -> tuple[float, float]:
    return a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1])
