# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `smoke`: a candidate must infer, on grey and on what the cameras see just now, and give sane numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeagent.errors import WeightsError
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.port import Image

_CONFIDENCE = 0.25  # rows above it count as detections
_ROUNDING = 1e-3  # scores of quantized networks may pass 1 by a hair


def check(detector: Detector, frames: Sequence[Image]) -> list[str]:
    """What speaks against the candidate: each failure in words, empty when it passes.

    Runs the network on a grey picture and on each of `frames` (H×W×3, BGR).
    """
    height, width = detector.runtime.metadata.contract.imgsz
    grey = np.full((height, width, 3), 114, np.uint8)
    failures = []
    for name, image in (("a grey picture", grey), *((f"frame {i}", frame) for i, frame in enumerate(frames))):
        try:
            failures += [f"on {name}: {why}" for why in _check_one(detector, image)]
        except WeightsError as e:
            failures.append(f"on {name}: {e}")
    return failures


def _check_one(detector: Detector, image: Image) -> list[str]:
    found = detector.candidates(image)
    failures = []
    if found.scores.size and not (found.scores.min() >= -_ROUNDING and found.scores.max() <= 1 + _ROUNDING):
        failures.append(
            f"scores from {found.scores.min():.3g} to {found.scores.max():.3g} are not within 0..1"
        )
    sure = found.scores > _CONFIDENCE
    classes, boxes = found.classes[sure], found.boxes[sure]
    if classes.size and not (classes.min() >= 0 and classes.max() < detector.classes):
        failures.append(
            f"class ids {classes.min()}..{classes.max()}, the network has {detector.classes} classes"
        )
    x1, y1, x2, y2 = boxes.T
    height, width = image.shape[:2]
    outside = (x2 <= x1) | (y2 <= y1) | (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
    if outside.any():
        x1, y1, x2, y2 = boxes[outside][0]
        failures.append(
            f"{int(outside.sum())} of {len(boxes)} boxes are empty or outside the frame of {width}×{height},"
            f" as [{x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f}]"
        )
    return failures
