# SPDX-License-Identifier: AGPL-3.0-or-later
"""What two versions say of the objects on a frame, and of an object over the frames on which it is in view.

What either of them saw is an object, so that neither is preferred: it is judged by the share of its frames on which
each of them found it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeagent.core.boxes import Box, match, match_any_class, match_nearby
from edgeagent.core.tracks import Track

NEARBY = 0.05
"""How far from its place, in lengths of the frame's longer side, the other version may see an object, and it is still
the same."""


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


@dataclass(slots=True, eq=False)
class PairTrack(Track):
    """One object, while it is in view, as two versions see it.

    frames: on which either version found it; incumbent, candidate: on which that one did; both: on which both did, and
    of these: renamed, the sum of overlaps and of the scores of each. judged: it was counted.
    """

    frames: int = 0
    incumbent: int = 0
    candidate: int = 0
    both: int = 0
    renamed: int = 0
    overlap: float = 0.0
    incumbent_score: float = 0.0
    candidate_score: float = 0.0
    judged: bool = False

    def add(self, seen: Sighting) -> None:
        """It was seen on one more frame."""
        self.frames += 1
        self.incumbent += seen.incumbent is not None
        self.candidate += seen.candidate is not None
        if seen.incumbent is not None and seen.candidate is not None:
            self.both += 1
            self.renamed += seen.renamed
            self.overlap += seen.overlap
            self.incumbent_score += seen.incumbent
            self.candidate_score += seen.candidate
