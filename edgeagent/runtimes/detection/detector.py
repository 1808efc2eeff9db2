# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frame in, detections out: letterbox, inference, decode, NMS over any runtime."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter, process_time

import numpy as np
from numpy.typing import NDArray

from edgeagent.errors import WeightsError
from edgeagent.runtimes.detection.layouts import Candidates, choose_layout, decode, proper
from edgeagent.runtimes.detection.letterbox import InputBatch, LetterboxGeometry
from edgeagent.runtimes.detection.nms import MAX_DETECTIONS, best_first, suppress
from edgeagent.runtimes.port import Image, Runtime, Tensor

_MEASURED_RUNS, _MEASURED_S = 3, 0.2


@dataclass(frozen=True)
class Detections:
    """What one frame holds.

    boxes: n×6 float32: x1 < x2, y1 < y2 in pixels of the frame and inside it (as x1, y1, x2, y2), confidence, class id;
    best first.
    timings_ms: letterbox, inference (of the whole batch that the frame was in), decode and NMS.
    """

    boxes: NDArray[np.float32]
    timings_ms: tuple[float, float, float]


class Detector:
    """A runtime with what stands before and behind it. Not thread-safe; reuses its input.

    pictures: that input. Who fills another one while the network runs on this may give it to `infer` next.
    """

    def __init__(self, runtime: Runtime) -> None:
        """Runs the network once, on plain grey, to see which head it has. Raises WeightsError."""
        self.runtime = runtime
        contract = runtime.metadata.contract
        self.classes = len(contract.names)
        self.max_batch = runtime.max_batch
        self.pictures = self.another_input()
        self._shape = runtime.run(self.pictures.tensor[:1]).shape
        self.layout = choose_layout(self._shape, self.classes, contract.imgsz, contract.stride)

    def another_input(self) -> InputBatch:
        """Room for `max_batch` frames of the network's size."""
        return InputBatch(self.max_batch, self.runtime.metadata.contract.imgsz)

    def warm(self) -> None:
        """Run the network with every size of batch, so that none is the first, slow run. Raises WeightsError."""
        for count in range(self.max_batch, 0, -1):
            self._run(self.pictures.tensor[:count])

    def measure(self, cpu_threads: int) -> float:
        """Milliseconds that the network needs for a frame at least, once it is warm; of a few runs the fastest.

        cpu_threads: how many threads it has on its CPU; it is the time that these need if each does its part. What else
        runs on the machine makes a run longer, and not that. Raises WeightsError.
        """
        batch = self.pictures.tensor
        least, begun = float("inf"), perf_counter()
        for _ in range(_MEASURED_RUNS):
            wall, cpu = perf_counter(), process_time()
            self._run(batch)
            took = min(perf_counter() - wall, (process_time() - cpu) / cpu_threads)
            least = min(least, took / len(batch))
            if perf_counter() - begun > _MEASURED_S:
                break
        return least * 1000

    def detect(self, image: Image, confidence: float, iou: float) -> Detections:
        """Find objects in `image` (H×W×3, BGR) that score above `confidence`; `iou` is the threshold of NMS (0..1).

        Raises WeightsError when the network refuses or gives numbers that are none.
        """
        return self.detect_many((image,), (confidence,), (iou,))[0]

    def detect_many(
        self, images: Sequence[Image], confidences: Sequence[float], ious: Sequence[float]
    ) -> list[Detections]:
        """The same for 1 to `max_batch` images in one run of the network, each with thresholds of its own.

        Raises WeightsError, as `detect`.
        """
        self.pictures.clear()
        for image in images:
            self.pictures.add(image)
        return self.infer(self.pictures, confidences, ious)

    def infer(
        self, pictures: InputBatch, confidences: Sequence[float], ious: Sequence[float], first: int = 0
    ) -> list[Detections]:
        """The same for frames that stand in `pictures` already: from `first` on, as many as there are thresholds."""
        begun = perf_counter()
        raw = self._run(pictures.tensor[first : first + len(confidences)])
        done = perf_counter()
        infer_ms = (done - begun) * 1e3
        results = []
        for i, (confidence, iou) in enumerate(zip(confidences, ious, strict=True)):
            boxes = self._boxes(raw[i], pictures.geometries[first + i], confidence, iou)
            begun, done = done, perf_counter()
            timings_ms = pictures.letterbox_ms[first + i], infer_ms, (done - begun) * 1e3
            results.append(Detections(boxes, timings_ms))
        return results

    def candidates(self, image: Image) -> Candidates:
        """Every row of the network's output for `image`, before threshold, NMS and clipping; boxes in pixels of the
        frame. For gates. Raises WeightsError."""
        self.pictures.clear()
        self.pictures.add(image)
        found = decode(self.layout, self._run(self.pictures.tensor[:1])[0], -np.inf)
        return found._replace(boxes=self.pictures.geometries[0].to_frame(found.boxes))

    def _run(self, batch: Tensor) -> Tensor:
        raw = self.runtime.run(batch)
        # Built-in NMS may give a row for each detection.
        if len(raw) != len(batch) or (raw.shape[1:] != self._shape[1:] and not self.layout.ranked):
            raise WeightsError(
                "output of the network",
                f"changed its shape from {self._shape} to {raw.shape} for {len(batch)} pictures",
            )
        return raw

    def _boxes(
        self, raw: Tensor, geometry: LetterboxGeometry, confidence: float, iou: float
    ) -> NDArray[np.float32]:
        found = proper(decode(self.layout, raw, confidence))
        kept = suppress(found, iou) if self.layout.overlaps else best_first(found)[:MAX_DETECTIONS]
        in_frame = geometry.clip(geometry.to_frame(found.boxes[kept]))
        shown = proper(Candidates(in_frame, found.scores[kept], found.classes[kept]))  # not beyond its border
        boxes = np.empty((len(shown.scores), 6), np.float32)
        boxes[:, :4], boxes[:, 4], boxes[:, 5] = shown
        return boxes
