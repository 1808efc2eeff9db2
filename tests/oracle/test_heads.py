# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every family of detection models as ultralytics exports it: our boxes against ultralytics' own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeagent.runtimes.convert import convert
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from edgeagent.runtimes.variants import Variant
from tests.support.families import FAMILIES, HEADS, NAMES, family_pt, pictures

SIZE = 160
RECTANGLE = [96, 160]  # height, width
IOU = 0.45
CONFIDENCE = 0.25
PIXEL, SCORE = 1.0, 1e-3

# ultralytics still exports through torch's older way.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*might cause the trace to be incorrect"),
]

# What ultralytics is told to export, and the layout that comes of it; for v10 and 26 "one_to_one" is their own
# way to do without NMS, which the others lack.
EXPORTS: dict[str, tuple[dict[str, Any], str]] = {
    "static": ({"imgsz": SIZE}, "v8"),
    "rectangle": ({"imgsz": RECTANGLE}, "v8"),
    "dynamic": ({"imgsz": RECTANGLE, "dynamic": True}, "v8"),
    "nms": ({"imgsz": RECTANGLE, "nms": True, "conf": CONFIDENCE, "iou": IOU}, "end2end"),
    "dynamic_nms": (
        {"imgsz": SIZE, "nms": True, "conf": CONFIDENCE, "iou": IOU, "dynamic": True},
        "end2end",
    ),
    "one_to_one": ({"imgsz": RECTANGLE, "nms": False}, "end2end"),
}
ONE_TO_ONE = ("yolov10n", "yolo26")
# Each family, each export, and each kind of head with and without NMS; the whole product is in the soak.
CORNERS = {
    ("yolov5", "rectangle"), ("yolov9t", "dynamic"), ("yolo11", "nms"), ("yolo12", "static"),
    ("yolov8", "static"), ("yolov8", "dynamic"), ("yolov8", "dynamic_nms"),
    ("yolov10n", "rectangle"), ("yolov10n", "one_to_one"),
    ("yolo26", "dynamic_nms"), ("yolo26", "one_to_one"),
}  # fmt: skip
CASES = [
    pytest.param(family, export, marks=() if (family, export) in CORNERS else pytest.mark.soak)
    for family in FAMILIES
    for export in EXPORTS
    if export != "one_to_one" or family in ONE_TO_ONE
]
# Every picture, wide, tall and square, in torch; as ONNX another of them for each kind of head.
CONVERTED = [
    pytest.param(
        family,
        picture,
        marks=() if (family, picture) in zip(HEADS, range(3), strict=True) else pytest.mark.soak,
    )
    for family in FAMILIES
    for picture in range(3)
]
BY_HEAD = [pytest.param(f, marks=() if f in HEADS else pytest.mark.soak) for f in FAMILIES]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Build the checkpoint of a family, once."""
    folder = tmp_path_factory.mktemp("families")

    def build(family: str) -> Path:
        path = folder / f"{family}.pt"
        return path if path.exists() else family_pt(family, path, SIZE)

    return build


def theirs(weights: Path, imgsz: int | list[int], rect: bool = False) -> list[NDArray[np.float32]]:
    """What ultralytics finds in each picture, best first: n×6, as ours. rect: as it does unless told otherwise, each
    picture in the smallest rectangle."""
    from ultralytics import YOLO

    model = YOLO(str(weights), task="detect")
    found = [
        model.predict(
            picture, imgsz=imgsz, conf=CONFIDENCE, iou=IOU, rect=rect, verbose=False, save=False, device="cpu"
        )[0]
        for picture in pictures()
    ]
    return [np.asarray(f.boxes.data, np.float32) for f in found]


def ours(weights: Path, options: EngineOptions) -> tuple[Detector, list[NDArray[np.float32]]]:
    """What the detector finds in each picture."""
    detector = Detector(load_runtime(weights, weights.suffix[1:], options))
    return detector, [detector.detect(picture, CONFIDENCE, IOU).boxes for picture in pictures()]


def assert_same(
    found: list[NDArray[np.float32]],
    expected: list[NDArray[np.float32]],
    on_the_edge: int = 0,
    at_least: int = 6,
) -> None:
    """The same objects in every picture: classes, scores, and boxes within a pixel.

    ultralytics also gives boxes without an area, such as networks of random weights find in what letterboxing adds.

    on_the_edge: objects a picture that a threshold may let pass on one side only, where the arithmetic differs.
    at_least: so many objects there must be, or the comparison says nothing.
    """
    expected = [boxes[(boxes[:, 2:4] > boxes[:, :2]).all(axis=1)] for boxes in expected]
    assert sum(len(boxes) for boxes in expected) >= at_least, "the oracle finds too little to compare"
    for mine, oracle in zip(found, expected, strict=True):
        assert abs(len(mine) - len(oracle)) <= on_the_edge
        # Objects of equal score may come in any order.
        left, missed = list(mine), []
        for box in oracle:
            near = [i for i, other in enumerate(left) if is_same(other, box)]
            if near:
                left.pop(near[0])
            else:
                missed.append(box)
        assert len(missed) <= on_the_edge, f"nothing like {missed[0]} in {mine[:5]}"


def is_same(a: NDArray[np.float32], b: NDArray[np.float32]) -> bool:
    """The same class, score and box."""
    return bool(a[5] == b[5] and abs(a[4] - b[4]) <= SCORE and np.abs(a[:4] - b[:4]).max() <= PIXEL)


@pytest.mark.parametrize(("family", "export"), CASES)
def test_an_export_is_read_as_ultralytics_reads_it(
    family: str, export: str, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """Static, dynamic, rectangular, with and without built-in NMS."""
    source = tmp_path / f"{family}.pt"
    os.link(checkpoint(family), source)
    arguments, head = EXPORTS[export]
    from ultralytics import YOLO

    exported = Path(YOLO(str(source)).export(format="onnx", simplify=False, verbose=False, **arguments))
    detector, found = ours(exported, EngineOptions(device="cpu"))
    metadata = read_metadata(exported)
    assert detector.layout.name == head
    assert metadata.layout in (head, None)
    assert metadata.contract.names == NAMES
    assert metadata.contract.imgsz == tuple(np.broadcast_to(arguments["imgsz"], 2))
    assert metadata.batches == (export == "dynamic")
    assert_same(found, theirs(exported, arguments["imgsz"]))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_checkpoint_is_read_as_ultralytics_reads_it(family: str, checkpoint: Callable[[str], Path]) -> None:
    """The `.pt` itself; its bytes lie in another order here, so the last digits differ."""
    weights = checkpoint(family)
    assert_same(ours(weights, EngineOptions(device="cpu"))[1], theirs(weights, SIZE), on_the_edge=1)


@pytest.mark.parametrize("family", BY_HEAD)
def test_a_checkpoint_made_for_the_frames_finds_what_ultralytics_finds(
    family: str, checkpoint: Callable[[str], Path]
) -> None:
    """In the smallest rectangle that holds the picture, as ultralytics pads a checkpoint's input."""
    weights = checkpoint(family)
    found = [for_the_frames(weights, weights, picture) for picture in pictures()]
    assert_same(found, theirs(weights, SIZE, rect=True), on_the_edge=1)


@pytest.mark.parametrize(("family", "picture"), CONVERTED)
def test_a_conversion_made_for_the_frames_finds_what_its_source_finds(
    family: str, picture: int, checkpoint: Callable[[str], Path], tmp_path: Path
) -> None:
    """The checkpoint as ONNX, for the smallest rectangle that holds the picture."""
    weights, frame = checkpoint(family), pictures()[picture]
    options = fitted(weights, frame)
    onnx = convert(weights, "pt", Variant("onnxruntime", "cpu", "fp32", "onnx"), tmp_path, options)
    expected = for_the_frames(weights, weights, frame)
    assert_same([for_the_frames(onnx, weights, frame)], [expected], on_the_edge=1, at_least=2)


def fitted(checkpoint: Path, picture: NDArray[np.uint8]) -> EngineOptions:
    """To run this checkpoint, or what is made of it, on pictures of this shape."""
    contract = read_metadata(checkpoint).contract
    return EngineOptions(device="cpu", imgsz=contract.fitted([picture.shape[:2]]))


def for_the_frames(weights: Path, checkpoint: Path, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the detector finds with an input made for pictures of this shape."""
    options = fitted(checkpoint, picture)
    detector = Detector(load_runtime(weights, weights.suffix[1:], options))
    assert detector.runtime.metadata.contract.imgsz == options.imgsz
    return detector.detect(picture, CONFIDENCE, IOU).boxes
