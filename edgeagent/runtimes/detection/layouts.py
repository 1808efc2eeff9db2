# SPDX-License-Identifier: AGPL-3.0-or-later
"""Output layouts of detection networks, as data, and the one function that reads them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgeagent.errors import WeightsError
from edgeagent.runtimes.port import Tensor

MAX_END_TO_END_ROWS = 1000


@dataclass(frozen=True)
class OutputLayout:
    """How one image's output is laid out: rows × channels, or channels × rows when `channels_first`.

    A row is a box (x, y, width, height of its centre form, or its corners when `corners`), then the objectness
    when `objectness`, then a score for each class; or, when `ranked`, one score and one class id.
    rows_per_cell: rows for each cell of the network's grids, 0 when rows and cells have nothing to do with each other.
    overlaps: boxes of one object overlap, so non-maximum suppression is still to be done.
    """

    name: str
    channels_first: bool
    corners: bool
    objectness: bool
    ranked: bool
    rows_per_cell: int
    overlaps: bool

    def channels(self, classes: int) -> int:
        """Channels of one row, for a network of so many classes."""
        return 6 if self.ranked else 4 + self.objectness + classes


LAYOUTS: Mapping[str, OutputLayout] = {
    layout.name: layout
    for layout in (
        # YOLOv5 and v7 as their own repositories export them: 1×N×(5+classes), three anchors a cell.
        OutputLayout(
            "v5", False, corners=False, objectness=True, ranked=False, rows_per_cell=3, overlaps=True
        ),
        # Ultralytics v5u, v8, v9, 11, 12, and v10 and 26 without their one-to-one branch: 1×(4+classes)×N.
        OutputLayout(
            "v8", True, corners=False, objectness=False, ranked=False, rows_per_cell=1, overlaps=True
        ),
        # v10 and 26 with it, and any export with NMS built in: 1×K×6.
        OutputLayout(
            "end2end", False, corners=True, objectness=False, ranked=True, rows_per_cell=0, overlaps=False
        ),
    )
}


class Candidates(NamedTuple):
    """Rows that passed the threshold: corners (n×4, pixels of the network's input), scores (n), class ids (n)."""

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    classes: NDArray[np.intp]


def choose_layout(
    shape: Sequence[int | None], classes: int, imgsz: tuple[int, int], stride: int
) -> OutputLayout:
    """The one layout that an output of this shape (batch included) can have; None in it is an unknown size.

    The number of channels decides; where two layouts share it (one class: 5+1 and 6), the number of rows does.
    Raises WeightsError when none or more than one is possible.
    """
    fitting = [h for h in LAYOUTS.values() if _channels_fit(h, shape, classes)]
    if len(fitting) > 1:
        fitting = [h for h in fitting if _rows_fit(h, shape, imgsz, stride)]
    if len(fitting) == 1:
        return fitting[0]
    shown = "×".join("?" if n is None else str(n) for n in shape)
    if len(shape) == 3 and shape[2] == 6 and (shape[1] or 0) > MAX_END_TO_END_ROWS and not fitting:
        raise WeightsError(
            f"output of shape {shown}",
            f"an end-to-end network, or one with NMS, may give at most {MAX_END_TO_END_ROWS} detections",
            f"export it with max_det={MAX_END_TO_END_ROWS} or less",
        )
    known = ", ".join(
        f"1×{h.channels(classes)}×N" if h.channels_first else f"1×N×{h.channels(classes)}"
        for h in LAYOUTS.values()
    )
    raise WeightsError(
        f"output of shape {shown}",
        f"{'could be ' + ' or '.join(h.name for h in fitting) if fitting else 'is no known detection head'}"
        f" for {classes} class{'' if classes == 1 else 'es'}",
        f"use a detection model whose output is one of {known}",
    )


def _channels_fit(layout: OutputLayout, shape: Sequence[int | None], classes: int) -> bool:
    if len(shape) != 3:
        return False
    channels, rows = (shape[1], shape[2]) if layout.channels_first else (shape[2], shape[1])
    if channels != layout.channels(classes):
        return False
    return not layout.ranked or rows is None or rows <= MAX_END_TO_END_ROWS


def _rows_fit(layout: OutputLayout, shape: Sequence[int | None], imgsz: tuple[int, int], stride: int) -> bool:
    rows = shape[2] if layout.channels_first else shape[1]
    if rows is None:
        return False
    # Grids halve from stride 8 (4 in networks for small objects) to the largest stride.
    grids = {first: _cells(imgsz, first, stride) for first in (4, 8)}
    if layout.rows_per_cell:
        return rows in {layout.rows_per_cell * cells for cells in grids.values()}
    return not any(
        rows == h.rows_per_cell * cells for h in LAYOUTS.values() for cells in grids.values() if cells
    )


def _cells(imgsz: tuple[int, int], first: int, last: int) -> int:
    height, width = imgsz
    total, step = 0, first
    while step <= last:
        total += (height // step) * (width // step)
        step *= 2
    return total


def decode(layout: OutputLayout, raw: Tensor, confidence: float) -> Candidates:
    """Rows of one image's output (no batch axis) whose score is above `confidence`, in no particular order.

    Raises WeightsError when a score, or the box of a row that passes, is not finite, or a class id no whole number.
    A box may still end before it begins.
    """
    if layout.ranked:
        best = raw[:, 4]
    elif layout.objectness:
        best = raw[:, 4]  # an upper bound of every class score of the row
    else:
        best = raw[4:].max(axis=0)  # NaN wins in max, so it can't hide behind a good score
    _require_finite(best)
    passed = np.flatnonzero(best > confidence)
    rows = raw[:, passed].T if layout.channels_first else raw[passed]
    boxes = rows[:, :4]
    if layout.ranked:
        classes = rows[:, 5]
        _require_finite(classes)
        _require_finite(boxes)
        _require_class_ids(classes)
        return Candidates(boxes.copy(), rows[:, 4], classes.astype(np.intp))
    first = 4 + layout.objectness
    classes_of = rows[:, first:].argmax(axis=1)
    scores = best[passed]
    if layout.objectness:
        scores = scores * np.take_along_axis(rows[:, first:], classes_of[:, None], axis=1)[:, 0]
        _require_finite(scores)
        above = scores > confidence
        boxes, scores, classes_of = boxes[above], scores[above], classes_of[above]
    corners = _corners(boxes)
    _require_finite(corners)
    return Candidates(corners, scores, classes_of)


def _corners(centred: NDArray[np.float32]) -> NDArray[np.float32]:
    half = centred[:, 2:4] / 2
    return np.concatenate((centred[:, :2] - half, centred[:, :2] + half), axis=1)


def _require_class_ids(classes: NDArray[np.float32]) -> None:
    """What else gives six numbers a row, RT-DETR of two classes above all, has scores in their place."""
    broken = classes[classes != np.rint(classes)]
    if broken.size:
        raise WeightsError(
            "output of the network",
            f"has {broken[0]:.3g} where an end-to-end YOLO has the number of a class: it is no YOLO (an RT-DETR?)",
            "export a YOLO with ultralytics, for the task detect",
        )


def proper(found: Candidates) -> Candidates:
    """Without boxes that end before they begin, or where they begin: no object has such a one."""
    left, top, right, bottom = found.boxes.T
    sane = (right > left) & (bottom > top)
    return found if sane.all() else Candidates(*(values[sane] for values in found))


def _require_finite(values: NDArray[np.float32]) -> None:
    if not np.isfinite(values).all():
        raise WeightsError(
            "output of the network",
            "holds NaN or infinite numbers",
            "export the weights anew and try them first",
        )
