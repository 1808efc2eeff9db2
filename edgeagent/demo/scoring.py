# SPDX-License-Identifier: AGPL-3.0-or-later
"""Detections against ground truth: which of the known defects of a frame were found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edgeagent.core.boxes import iou
from edgeagent.scenes.conveyor import Truth

MATCH_IOU = 0.5

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the frame
Found = tuple[int, float, Box]  # class, confidence, box


def match(truths: Sequence[Truth], found: Iterable[Found]) -> list[Truth]:
    """The truths that were found: same class, IoU of 0.5 or more, the most confident first, each truth once."""
    left = list(truths)
    hits = []
    for cls, _, box in sorted(found, key=lambda f: -f[1]):
        best = max((t for t in left if t.cls == cls), key=lambda t: iou(t.xyxy, box), default=None)
        if best is not None and iou(best.xyxy, box) >= MATCH_IOU:
            left.remove(best)
            hits.append(best)
    return hits
