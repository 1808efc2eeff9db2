# SPDX-License-Identifier: AGPL-3.0-or-later
"""When nothing lies before the cameras: the moment between two parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

Region = tuple[float, float, float, float]
"""Left, top, right, bottom, as shares of the frame's width and height."""
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


class BetweenParts:
    """Counts, for each pipeline, the frames in a row without a detection in its region of interest.

    pipelines: all of them must have so many at the same time (frames). regions: by pipeline; the whole frame where none
    is named.
    """

    def __init__(self, pipelines: Iterable[str], frames: int, regions: Mapping[str, Region]) -> None:
        self._empty = dict.fromkeys(pipelines, 0)
        self._frames = frames
        self._regions = regions

    def observe(self, pipeline: str, size: tuple[int, int], boxes: Iterable[Sequence[float]]) -> bool:
        """Whether it is the moment, with this frame. size: (width, height); boxes: (x1, y1, x2, y2, …), pixels."""
        region = self._regions.get(pipeline, WHOLE)
        occupied = any(_touches(box, region, size) for box in boxes)
        self._empty[pipeline] = 0 if occupied else self._empty.get(pipeline, 0) + 1
        return bool(self._empty) and all(count >= self._frames for count in self._empty.values())


def _touches(box: Sequence[float], region: Region, size: tuple[int, int]) -> bool:
    if region == WHOLE:
        return True  # whatever size is taken for that of the frame
    width, height = size
    left, top, right, bottom = region
    return (
        box[0] < right * width
        and box[2] > left * width
        and box[1] < bottom * height
        and box[3] > top * height
    )
