# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `smoke`: it infers, and its numbers are sane."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeagent.gates import smoke
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.detection.layouts import LAYOUTS
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from tests.support import weights
from tests.support.weights import Box

FRAME = np.full((48, 96, 3), 255, np.uint8)


def detector(path: Path) -> Detector:
    """Loads the file in ONNX Runtime."""
    return Detector(load_runtime(path, "onnx", EngineOptions()))


@pytest.mark.parametrize("head", LAYOUTS)
def test_a_sane_network_passes(tmp_path: Path, head: str) -> None:
    """Of every head, with one object and empty rows."""
    assert (
        smoke.check(detector(weights.detection_onnx(tmp_path / "w.onnx", head=head)), [FRAME, FRAME]).reasons
        == ()
    )


def test_a_network_that_finds_nothing_passes(tmp_path: Path) -> None:
    """A good part has no defect."""
    assert smoke.check(detector(weights.detection_onnx(tmp_path / "w.onnx", ())), [FRAME]).reasons == ()


def test_not_a_number_is_refused(tmp_path: Path) -> None:
    """On each picture, by name."""
    failures = smoke.check(detector(weights.nan_onnx(tmp_path / "w.onnx")), [FRAME]).reasons
    assert [f.split(":")[0] for f in failures] == ["on a grey picture", "on frame 0"]
    assert all("NaN" in f for f in failures)


@pytest.mark.parametrize(
    ("box", "head", "said"),
    [
        ((32, 32, 16, 16, 40.0, 0), "v8", "scores from 0 to 40 are not within 0..1"),
        ((32, 32, 16, 16, -3.0, 0), "end2end", "scores from -3 to 0 are not within 0..1"),
        ((32, 32, 16, 16, 0.9, 7), "end2end", "class ids 7..7, the network has 3 classes"),
        ((900, 900, 16, 16, 0.9, 0), "v8", "empty or outside the frame"),
        ((32, 32, 0, 0, 0.9, 0), "v8", "empty or outside the frame"),
        ((0.5, 0.5, 0.25, 0.25, 0.9, 0), "v8", "coordinates from 0 to 1, not pixels"),
        ((0.5, 0.5, 0.25, 0.25, 0.1, 0), "end2end", "coordinates from 0 to 1, not pixels"),
        ((32, 32, 16, 16, 0.1, 0.03), "end2end", "an RT-DETR?"),
    ],
)
def test_insane_numbers_are_refused(tmp_path: Path, box: Box, head: str, said: str) -> None:
    """Logits for scores, class ids beyond the names, boxes that no frame holds."""
    failures = smoke.check(
        detector(weights.detection_onnx(tmp_path / "w.onnx", [box], head=head)), []
    ).reasons
    assert len(failures) == 1
    assert said in failures[0]


def test_it_looks_at_the_frames_too(tmp_path: Path) -> None:
    """Sane on grey, off the picture on a bright frame."""
    path = weights.detection_onnx(tmp_path / "w.onnx", [(8, 32, 16, 16, 0.9, 0)], brightness_moves=80)
    failures = smoke.check(detector(path), [np.full((64, 64, 3), 255, np.uint8)]).reasons
    assert len(failures) == 1
    assert failures[0].startswith("on frame 0: 1 of 1 boxes")


def test_it_tells_what_it_saw(tmp_path: Path) -> None:
    """Frames, boxes above a quarter, scores; those that are no numbers are left out."""
    sane = smoke.check(detector(weights.detection_onnx(tmp_path / "w.onnx")), [FRAME, FRAME])
    assert sane.passed
    assert sane.figures["frames"] == 2
    assert sane.figures["boxes"] == 3, "one on grey, one on each frame"
    assert 0 <= sane.figures["least_score"] < sane.figures["most_score"] <= 1  # type: ignore[operator]
    assert sane.limits == {"least_score": 0, "most_score": 1}
    broken = smoke.check(detector(weights.nan_onnx(tmp_path / "nan.onnx")), [FRAME])
    assert (broken.passed, broken.figures) == (False, {"frames": 1, "boxes": 0})
