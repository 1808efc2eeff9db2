# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frame in, detections out: letterbox, inference, decode, NMS over any runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgeagent.engines.decode import Candidates, choose_head, decode
from edgeagent.engines.letterbox import Letterbox, Placement
from edgeagent.engines.nms import MAX_DETECTIONS, best_first, suppress
from edgeagent.engines.port import Image, Runtime, Tensor
from edgeagent.errors import WeightsError

_WARM_ROUNDS = 2


@dataclass(frozen=True)
class Detections:
    """What one frame holds.

    boxes: n×6 float32: x1, y1, x2, y2 in pixels of the frame and inside it, confidence, class id; best first.
    timings_ms: letterbox, inference (of the whole batch that the frame was in), decode and NMS.
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
        self.max_batch = runtime.max_batch
        self._pictures: Tensor = np.empty((self.max_batch, 3, *contract.imgsz), np.float32)
        self._letterboxes = [
            Letterbox(contract.imgsz, self._pictures[i : i + 1]) for i in range(self.max_batch)
        ]
        self._shape = runtime.run(self._pictures[:1]).shape
        self.head = choose_head(self._shape, self.classes, contract.imgsz, contract.stride)

    def warm(self) -> None:
        """Run the network, with every size of batch, until its first, slow runs are over. Raises WeightsError."""
        for pictures in range(self.max_batch, 0, -1):
            for _ in range(_WARM_ROUNDS if pictures in (1, self.max_batch) else 1):
                self._infer(pictures)

    def detect(self, image: Image, confidence: float, iou: float) -> Detections:
        """Find objects in `image` (H×W×3, BGR) that score above `confidence`; `iou` is the threshold of NMS (0..1).

        Raises WeightsError when the network refuses or gives numbers that are none.
        """
        return self.detect_many((image,), (confidence,), (iou,))[0]

    def detect_many(
        self, images: Sequence[Image], confidences: Sequence[float], ious: Sequence[float]
    ) -> list[Detections]:
        """The same for 1 to `max_batch` images in one run of the network, each with thresholds of its own.

        Images that come in the same order again, by size, are placed faster. Raises WeightsError, as `detect`.
        """
        placements: list[Placement] = []
        filled = [perf_counter()]
        for letterbox, image in zip(self._letterboxes, images, strict=False):
            placements.append(letterbox.fill(image))
            filled.append(perf_counter())
        raw = self._infer(len(images))
        done = inferred = perf_counter()
        results = []
        for i, (placement, confidence, iou) in enumerate(zip(placements, confidences, ious, strict=True)):
            boxes = self._boxes(raw[i], placement, confidence, iou)
            begun, done = done, perf_counter()
            seconds = filled[i + 1] - filled[i], inferred - filled[-1], done - begun
            results.append(Detections(boxes, (seconds[0] * 1e3, seconds[1] * 1e3, seconds[2] * 1e3)))
        return results

    def candidates(self, image: Image) -> Candidates:
        """Every row of the network's output for `image`, before threshold, NMS and clipping; boxes in pixels of the
        frame. For gates. Raises WeightsError."""
        placement = self._letterboxes[0].fill(image)
        found = decode(self.head, self._infer(1)[0], -np.inf)
        return found._replace(boxes=placement.to_frame(found.boxes))

    def _infer(self, pictures: int) -> Tensor:
        raw = self.runtime.run(self._pictures[:pictures])
        # Built-in NMS may give a row for each detection.
        if len(raw) != pictures or (raw.shape[1:] != self._shape[1:] and not self.head.ranked):
            raise WeightsError(
                "output of the network",
                f"changed its shape from {self._shape} to {raw.shape} for {pictures} pictures",
            )
        return raw

    def _boxes(self, raw: Tensor, placement: Placement, confidence: float, iou: float) -> NDArray[np.float32]:
        found = decode(self.head, raw, confidence)
        kept = suppress(found, iou) if self.head.overlaps else best_first(found)[:MAX_DETECTIONS]
        boxes = np.empty((len(kept), 6), np.float32)
        boxes[:, :4] = placement.clip(placement.to_frame(found.boxes[kept]))
        boxes[:, 4] = found.scores[kept]
        boxes[:, 5] = found.classes[kept]
        return boxes
