# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `smoke`: a candidate must infer, on grey and on what the cameras see just now, and give sane numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import TYPE_CHECKING

from edgeagent.core.gating import Figure, GateResult
from edgeagent.errors import WeightsError
from edgeagent.gates.contract import check_form
from edgeagent.gates.port import Gate, GateContext

if TYPE_CHECKING:  # the node has no use for numpy
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.port import Image

_CONFIDENCE = 0.25  # rows above it count as detections
_ROUNDING = 1e-3  # scores of quantized networks may pass 1 by a hair

_A_FEW = 2  # pixels; of all that a network looks at, some box ends farther from the corner


class _Findings:
    """What the network gave on all pictures."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.frames = self.boxes = 0
        self.scores: list[float] = []

    def look(self, detector: Detector, image: Image) -> list[str]:
        """What is wrong with what it gives on one picture. Raises WeightsError."""
        found = detector.candidates(image)
        reasons = []
        if found.scores.size:
            least, most = float(found.scores.min()), float(found.scores.max())
            self.scores += least, most
            if not (least >= -_ROUNDING and most <= 1 + _ROUNDING):
                reasons.append(f"scores from {least:.3g} to {most:.3g} are not within 0..1")
        sure = found.scores > _CONFIDENCE
        classes, boxes = found.classes[sure], found.boxes[sure]
        self.boxes += len(boxes)
        if classes.size and not (classes.min() >= 0 and classes.max() < detector.classes):
            reasons.append(
                f"class ids {classes.min()}..{classes.max()}, the network has {detector.classes} classes"
            )
        height, width = image.shape[:2]
        shown = found.boxes[found.scores > 0]
        if (
            (height, width) == detector.runtime.metadata.contract.imgsz
            and shown.size
            and shown.max() <= _A_FEW
        ):
            reasons.append(
                f"no box reaches beyond {shown.max():.3g} pixels: coordinates from 0 to 1, not pixels"
            )
        x1, y1, x2, y2 = boxes.T
        outside = (x2 <= x1) | (y2 <= y1) | (x2 <= 0) | (y2 <= 0) | (x1 >= width) | (y1 >= height)
        if outside.any():
            x1, y1, x2, y2 = boxes[outside][0]
            reasons.append(
                f"{int(outside.sum())} of {len(boxes)} boxes are empty or outside the frame of {width}×{height},"
                f" as [{x1:.0f}, {y1:.0f}, {x2:.0f}, {y2:.0f}]"
            )
        return reasons

    @property
    def figures(self) -> dict[str, Figure]:
        """By name; the scores where there are any that are numbers."""
        figures: dict[str, Figure] = {"frames": self.frames, "boxes": self.boxes}
        if self.scores and isfinite(least := min(self.scores)) and isfinite(most := max(self.scores)):
            figures |= {"least_score": round(least, 4), "most_score": round(most, 4)}
        return figures


def check(detector: Detector, frames: Sequence[Image]) -> GateResult:
    """What speaks against the candidate: on a grey picture, and on each of `frames` (H×W×3, BGR).

    boxes: rows of the network's output above a confidence of 0.25, before NMS, on all of them.
    """
    import numpy as np

    height, width = detector.runtime.metadata.contract.imgsz
    grey = np.full((height, width, 3), 114, np.uint8)
    findings = _Findings()
    for name, image in (("a grey picture", grey), *((f"frame {i}", frame) for i, frame in enumerate(frames))):
        try:
            findings.reasons += [f"on {name}: {why}" for why in findings.look(detector, image)]
        except WeightsError as e:
            findings.reasons.append(f"on {name}: {e}")
    findings.frames = len(frames)
    limits = {"least_score": 0, "most_score": 1}
    return GateResult.judged("smoke", findings.reasons, findings.figures, limits)


def _run(context: GateContext) -> GateResult:
    detector = context.detector
    if reasons := check_form(context.version.contract, detector.runtime.metadata):
        return GateResult.judged("smoke", reasons)
    return check(detector, context.frames)


GATE = Gate("smoke", _run)
