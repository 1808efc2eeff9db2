# SPDX-License-Identifier: AGPL-3.0-or-later
"""What counts as a detection of a model, whichever version serves: applied to what a version has found.

Confidence and IoU go to the engine, which leaves out what can't count and what is there twice; the rest is decided
here. A box of less confidence never takes away one of more, so that what a class's own limit lets through is what the
engine would have found with that limit alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from edgeagent.core.regions import Region

Box = tuple[float, float, float, float, float, float]
"""x1, y1, x2, y2 in pixels of the frame, confidence, class."""


@dataclass(frozen=True)
class DetectionSettings:
    """Of one model, on all its pipelines.

    confidence: by class name, in the place of the pipeline's own, lower or higher. iou: of the suppression of boxes
    that overlap, in the place of the pipelines' own; None: theirs. region: in which the middle of a box must lie, None:
    anywhere. min_size: share of the picture that a box must cover.
    """

    confidence: tuple[tuple[str, float], ...] = ()
    iou: float | None = None
    region: Region | None = None
    min_size: float = 0.0

    def floor(self, confidence: float) -> float:
        """Below this nothing counts, whatever its class. confidence: the pipeline's own."""
        return min([confidence, *(limit for _, limit in self.confidence)])

    def kept(
        self, boxes: tuple[Box, ...], names: Sequence[str], size: tuple[int, int], confidence: float
    ) -> tuple[Box, ...]:
        """The boxes that count, in the same order.

        names: of the classes, by their ids in the boxes; size: width and height of the frame, pixels; confidence: the
        pipeline's own.
        """
        if self.confidence:
            limits = _limits(self.confidence, tuple(names), confidence)
            boxes = tuple(box for box in boxes if box[4] >= limits[int(box[5])])
        if self.min_size:
            least = self.min_size * size[0] * size[1]
            boxes = tuple(box for box in boxes if _area(box) >= least)
        if self.region:
            boxes = tuple(box for box in boxes if _lies_in(self.region, box, size))
        return boxes

    def unknown(self, names: Sequence[str]) -> list[str]:
        """Classes with a limit of their own that a version with these classes doesn't have."""
        return [name for name, _ in self.confidence if name not in names]


AS_FOUND = DetectionSettings()
"""Nothing but the pipelines' own limits."""


@lru_cache(maxsize=64)
def _limits(
    own: tuple[tuple[str, float], ...], names: tuple[str, ...], confidence: float
) -> tuple[float, ...]:
    """By class id."""
    by_name = dict(own)
    return tuple(by_name.get(name, confidence) for name in names)


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _lies_in(region: Region, box: Box, size: tuple[int, int]) -> bool:
    width, height = size
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    return width > 0 and height > 0 and region.contains(x / width, y / height)
