# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frame in, detections out: letterbox, inference, decode, NMS over any runtime."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgeagent.engines.decode import Candidates, choose_head, decode
from edgeagent.engines.letterbox import Letterbox
from edgeagent.engines.nms import MAX_DETECTIONS, best_first, suppress
from edgeagent.engines.port import Image, Runtime, Tensor
from edgeagent.errors import WeightsError

_WARM_ROUNDS = 3


@dataclass(frozen=True)
class Detections:
    """What one frame holds.

    boxes: n×6 float32: x1, y1, x2, y2 in pixels of the frame and inside it, confidence, class id; best first.
    timings_ms: letterbox, inference, decode and NMS.
    """

    boxes: NDArray[np.float32]
    timings_ms: tuple[float, float, float]


class Detector:
    """A runtime with what stands before and behind it. Not thread-safe; reuses its input buffer."""

    def __init__(self, runtime: Runtime) -> None:
        """Runs the network once, on plain grey, to see which head it has. Raises WeightsError."""
        self.runtime = runtime
        contract = runtime.facts.contract
        self.classes = len(contract.names)
        self._letterbox = Letterbox(contract.imgsz)
        self._shape = runtime.run(self._letterbox.tensor).shape
        self.head = choose_head(self._shape, self.classes, contract.imgsz, contract.stride)

    def warm(self) -> None:
        """Run the network until its first, slow runs are over. Raises WeightsError."""
        for _ in range(_WARM_ROUNDS):
            self.runtime.run(self._letterbox.tensor)

    def detect(self, image: Image, confidence: float, iou: float) -> Detections:
        """Find objects in `image` (H×W×3, BGR) that score above `confidence`; `iou` is the threshold of NMS (0..1).

        Raises WeightsError when the network refuses or gives numbers that are none.
        """
        begin = perf_counter()
        placement = self._letterbox.fill(image)
        filled = perf_counter()
        raw = self._run()
        inferred = perf_counter()
        found = decode(self.head, raw, confidence)
        kept = suppress(found, iou) if self.head.overlaps else best_first(found)[:MAX_DETECTIONS]
        boxes = np.empty((len(kept), 6), np.float32)
        boxes[:, :4] = placement.clip(placement.to_frame(found.boxes[kept]))
        boxes[:, 4] = found.scores[kept]
        boxes[:, 5] = found.classes[kept]
        end = perf_counter()
        return Detections(boxes, ((filled - begin) * 1e3, (inferred - filled) * 1e3, (end - inferred) * 1e3))

    def candidates(self, image: Image) -> Candidates:
        """Every row of the network's output for `image`, before threshold, NMS and clipping; boxes in pixels of the
        frame. For gates. Raises WeightsError."""
        placement = self._letterbox.fill(image)
        found = decode(self.head, self._run(), -np.inf)
        return found._replace(boxes=placement.to_frame(found.boxes))

    def _run(self) -> Tensor:
        raw = self.runtime.run(self._letterbox.tensor)
        if (
            raw.shape != self._shape and not self.head.ranked
        ):  # built-in NMS may give a row for each detection
            raise WeightsError(
                "output of the network", f"changed its shape from {self._shape} to {raw.shape}"
            )
        image: Tensor = raw[0]
        return image
