# SPDX-License-Identifier: AGPL-3.0-or-later
"""Class-aware greedy non-maximum suppression."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeagent.runtimes.detection.layouts import Candidates

MAX_DETECTIONS = 300
# Greedy suppression costs candidates × survivors: a network gone mad must not hold up the line.
MAX_CANDIDATES = 4096


def best_first(found: Candidates) -> NDArray[np.intp]:
    """Indices of all candidates, the highest score first; equal ones keep their order."""
    return np.argsort(-found.scores, kind="stable")


def suppress(found: Candidates, iou: float) -> NDArray[np.intp]:
    """Indices of the boxes to keep, best first, at most MAX_DETECTIONS.

    A box goes when its overlap with a better one of its class (intersection over union, 0..1) is above `iou`.
    """
    order = best_first(found)[:MAX_CANDIDATES]
    if order.size < 2:
        return order
    boxes = found.boxes[order].astype(np.float64)
    # Boxes of different classes are moved so far apart that they can't overlap.
    apart = float(np.abs(boxes).max()) * 2 + 1
    boxes += found.classes[order, None] * apart
    boxes[:, 2:] -= boxes[:, :2]
    kept = cv2.dnn.NMSBoxes(boxes, found.scores[order], 0.0, iou)  # type: ignore[arg-type]
    return order[np.asarray(kept, dtype=np.intp)[:MAX_DETECTIONS]]
