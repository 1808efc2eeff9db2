# SPDX-License-Identifier: AGPL-3.0-or-later
"""Detector over a runtime that answers as told."""

from __future__ import annotations

import time

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeagent.core.model import Contract
from edgeagent.errors import WeightsError
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.port import ModelMetadata, Tensor

CELLS = 84  # of a 64×64 input


class FakeRuntime:
    """Gives `output` for every batch, and counts."""

    name = "fake"
    max_batch = 1
    metadata = ModelMetadata(Contract("detect", ("a", "b"), (64, 64), 32), "onnx")

    def __init__(self, output: Tensor) -> None:
        self.output = output
        self.runs = 0

    def run(self, batch: Tensor) -> Tensor:
        assert batch.shape == (1, 3, 64, 64)
        self.runs += 1
        return self.output

    def streams(self) -> tuple[()]:
        return ()

    def close(self) -> None:
        pass


def v8_output(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    """What a network with a YOLOv8 head gives: rows of cx, cy, w, h and a score for each class, as columns."""
    output = np.zeros((1, 6, CELLS), np.float32)
    for i, row in enumerate(rows):
        output[0, :, i] = row
    return output


def test_boxes_are_pixels_of_the_frame_best_first() -> None:
    """A frame of 128×256 stands at a quarter of its size, 16 pixels below the top of the input."""
    runtime = FakeRuntime(v8_output((32, 32, 16, 8, 0.1, 0.6), (8, 24, 8, 8, 0.9, 0.2)))
    found = Detector(runtime).detect(np.zeros((128, 256, 3), np.uint8), 0.25, 0.45)
    np.testing.assert_allclose(found.boxes, [[16, 16, 48, 48, 0.9, 0], [96, 48, 160, 80, 0.6, 1]], rtol=1e-6)
    assert found.boxes.dtype == np.float32
    assert all(ms >= 0 for ms in found.timings_ms)


def test_boxes_are_cut_at_the_border_of_the_frame() -> None:
    """What reaches into the padding ends where the picture ends."""
    runtime = FakeRuntime(v8_output((32, 32, 100, 100, 0.9, 0.0)))
    found = Detector(runtime).detect(np.zeros((128, 256, 3), np.uint8), 0.25, 0.45)
    np.testing.assert_allclose(found.boxes[0, :4], [0, 0, 256, 128])


def test_overlapping_boxes_are_suppressed() -> None:
    """NMS runs with the threshold of the call."""
    runtime = FakeRuntime(v8_output((32, 32, 16, 16, 0.9, 0), (33, 32, 16, 16, 0.8, 0)))
    detector = Detector(runtime)
    image = np.zeros((64, 64, 3), np.uint8)
    assert len(detector.detect(image, 0.25, 0.45).boxes) == 1
    assert len(detector.detect(image, 0.25, 0.95).boxes) == 2


def test_end_to_end_boxes_are_sorted_and_not_suppressed() -> None:
    """The network has chosen already."""
    output = np.zeros((1, 300, 6), np.float32)
    output[0, 0] = 10, 10, 20, 20, 0.5, 1
    output[0, 1] = 10, 10, 20, 20, 0.8, 1
    found = Detector(FakeRuntime(output)).detect(np.zeros((64, 64, 3), np.uint8), 0.25, 0.45)
    np.testing.assert_allclose(found.boxes, [[10, 10, 20, 20, 0.8, 1], [10, 10, 20, 20, 0.5, 1]])


def end_to_end_output(*rows: tuple[float, ...]) -> NDArray[np.float32]:
    """What an end-to-end network gives: rows of x1, y1, x2, y2, score and class id."""
    output = np.zeros((1, 300, 6), np.float32)
    output[0, : len(rows)] = rows
    return output


@pytest.mark.parametrize(
    "output",
    [
        v8_output(
            (32, 32, -16, 8, 0.9, 0),
            (32, 32, 16, -8, 0.8, 0),
            (32, 32, 0, 8, 0.7, 0),
            (32, 32, 16, 8, 0.6, 0),
        ),
        end_to_end_output((40, 28, 24, 36, 0.9, 0), (24, 36, 40, 28, 0.8, 0), (24, 28, 40, 36, 0.6, 0)),
    ],
    ids=["v8", "end2end"],
)
def test_boxes_that_end_before_they_begin_are_no_objects(output: Tensor) -> None:
    """And suppress none: the sound one below them stays."""
    found = Detector(FakeRuntime(output)).detect(np.zeros((64, 64, 3), np.uint8), 0.25, 0.45)
    np.testing.assert_allclose(found.boxes, [[24, 28, 40, 36, 0.6, 0]])


def test_boxes_beyond_the_frame_are_no_objects() -> None:
    """Cut at its border they would have no width, or no height: above a frame that stands 16 pixels lower."""
    runtime = FakeRuntime(v8_output((32, 4, 16, 8, 0.9, 0), (32, 32, 16, 8, 0.6, 0)))
    found = Detector(runtime).detect(np.zeros((128, 256, 3), np.uint8), 0.25, 0.45)
    np.testing.assert_allclose(found.boxes[:, 4], [0.6])


def test_scores_in_the_place_of_class_ids_are_refused() -> None:
    """RT-DETR of two classes gives as many numbers a row as an end-to-end YOLO."""
    detector = Detector(FakeRuntime(end_to_end_output((0.5, 0.5, 0.2, 0.3, 0.8, 0.03))))
    with pytest.raises(WeightsError, match="RT-DETR"):
        detector.detect(np.zeros((64, 64, 3), np.uint8), 0.25, 0.45)


def test_a_frame_without_objects_has_an_empty_table() -> None:
    """Zero rows, six columns."""
    found = Detector(FakeRuntime(v8_output())).detect(np.zeros((64, 64, 3), np.uint8), 0.25, 0.45)
    assert found.boxes.shape == (0, 6)


def test_detections_outlive_the_next_frame() -> None:
    """A runtime may overwrite its output; what was detected stays."""
    runtime = FakeRuntime(v8_output((32, 32, 16, 16, 0.9, 0)))
    detector = Detector(runtime)
    image = np.zeros((64, 64, 3), np.uint8)
    before = detector.detect(image, 0.25, 0.45).boxes
    runtime.output[:] = 0
    detector.detect(image, 0.25, 0.45)
    assert before[0, 4] == np.float32(0.9)


def test_not_a_number_is_a_weights_error() -> None:
    """Of any cell, seen from the score alone."""
    output = v8_output((32, 32, 16, 16, 0.9, 0))
    output[0, 5, 40] = np.nan
    detector = Detector(FakeRuntime(output))
    with pytest.raises(WeightsError, match="NaN"):
        detector.detect(np.zeros((64, 64, 3), np.uint8), 0.25, 0.45)


def test_an_unknown_head_is_refused_at_once() -> None:
    """Before the first frame."""
    with pytest.raises(WeightsError, match="1×17×9"):
        Detector(FakeRuntime(np.zeros((1, 17, 9), np.float32)))


def test_an_output_that_changes_its_shape_is_refused() -> None:
    """The head was chosen for another one."""
    runtime = FakeRuntime(v8_output())
    detector = Detector(runtime)
    runtime.output = np.zeros((1, 6, CELLS + 1), np.float32)
    with pytest.raises(WeightsError, match="changed its shape"):
        detector.detect(np.zeros((64, 64, 3), np.uint8), 0.25, 0.45)


def test_warm_runs_the_network() -> None:
    """More than the run that finds the head."""
    runtime = FakeRuntime(v8_output())
    detector = Detector(runtime)
    before = runtime.runs
    detector.warm()
    assert runtime.runs > before


class BatchRuntime(FakeRuntime):
    """Takes up to three pictures; the box of each is as high as its picture is bright."""

    max_batch = 3

    def __init__(self) -> None:
        super().__init__(v8_output())
        self.sizes: list[int] = []

    def run(self, batch: Tensor) -> Tensor:
        self.sizes.append(len(batch))
        assert batch.flags.c_contiguous
        output = np.zeros((len(batch), 6, CELLS), np.float32)
        for i, picture in enumerate(batch):
            output[i, :, 0] = 32, 32, 16, 32 * picture[:, 32, 32].mean(), 0.5, 0.0
        return output


def grey(brightness: int, height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    """A picture of one brightness."""
    return np.full((height, width, 3), brightness, np.uint8)


def test_several_frames_in_one_run() -> None:
    """Each comes back with its own boxes, in its own pixels, by its own threshold."""
    runtime = BatchRuntime()
    detector = Detector(runtime)
    images = [grey(255), grey(51, 128, 128), grey(255)]
    found = detector.detect_many(images, [0.25, 0.25, 0.6], [0.45] * 3)
    np.testing.assert_allclose(found[0].boxes, [[24, 16, 40, 48, 0.5, 0]], atol=1e-4)
    np.testing.assert_allclose(found[1].boxes, [[48, 57.6, 80, 70.4, 0.5, 0]], atol=1e-4)
    assert found[2].boxes.shape == (0, 6)
    assert runtime.sizes == [1, 3]
    alone = detector.detect(images[1], 0.25, 0.45)
    np.testing.assert_array_equal(alone.boxes, found[1].boxes)
    assert len(detector.detect_many(images[:2], [0.25] * 2, [0.45] * 2)) == 2
    assert runtime.sizes == [1, 3, 1, 2]


def test_frames_that_stand_in_another_input() -> None:
    """Filled while the detector's own is in use; all of them in one run, or some of them in another."""
    runtime = BatchRuntime()
    detector = Detector(runtime)
    ahead = detector.another_input()
    for brightness in (255, 51, 102):
        ahead.add(grey(brightness, 128, 128))
    own = detector.detect(grey(204), 0.25, 0.45)
    np.testing.assert_allclose(own.boxes[0, :4], [24, 19.2, 40, 44.8], atol=1e-4)
    found = detector.infer(ahead, [0.25] * 3, [0.45] * 3)
    np.testing.assert_allclose(found[1].boxes, [[48, 57.6, 80, 70.4, 0.5, 0]], atol=1e-4)
    last = detector.infer(ahead, [0.25] * 2, [0.45] * 2, first=1)
    assert runtime.sizes == [1, 1, 3, 2]
    for before, after in zip(found[1:], last, strict=True):
        np.testing.assert_array_equal(before.boxes, after.boxes)
        assert before.timings_ms[0] == after.timings_ms[0]


def test_warming_runs_every_size_of_batch() -> None:
    """Each may have a graph of its own."""
    runtime = BatchRuntime()
    Detector(runtime).warm()
    assert set(runtime.sizes) == {1, 2, 3}


def test_a_batch_that_comes_back_short_is_refused() -> None:
    """A network exported for one picture, whatever it says of itself."""
    runtime = BatchRuntime()
    detector = Detector(runtime)
    runtime.run = lambda batch: v8_output()  # type: ignore[method-assign]
    with pytest.raises(WeightsError, match="2 pictures"):
        detector.detect_many([grey(0), grey(0)], [0.25] * 2, [0.45] * 2)


class SlowRuntime(FakeRuntime):
    """Waits for the processor, as beside a line at work, or works for each frame."""

    def __init__(self, works_s: float, waits_s: float) -> None:
        super().__init__(v8_output())
        self.works_s, self.waits_s = works_s, waits_s

    def run(self, batch: Tensor) -> Tensor:
        time.sleep(self.waits_s)
        until = time.process_time() + self.works_s
        while time.process_time() < until:
            pass
        return super().run(batch)


def test_what_a_frame_takes_is_measured_in_work_and_not_in_waiting() -> None:
    """Two threads that share the work would need half of it."""
    detector = Detector(SlowRuntime(works_s=0.02, waits_s=0.1))
    assert 10 <= detector.measure(2) < 100


def test_what_takes_long_is_measured_once() -> None:
    """Loading must not take several times as long for it."""
    runtime = SlowRuntime(works_s=0.0, waits_s=0.25)
    detector = Detector(runtime)
    runs = runtime.runs
    detector.measure(1)
    assert runtime.runs == runs + 1
