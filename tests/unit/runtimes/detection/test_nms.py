# SPDX-License-Identifier: AGPL-3.0-or-later
"""Non-maximum suppression, against torchvision's."""

from __future__ import annotations

import numpy as np
import pytest

from edgeagent.runtimes.detection.layouts import Candidates
from edgeagent.runtimes.detection.nms import MAX_DETECTIONS, suppress


def candidates(boxes: list[list[float]], scores: list[float], classes: list[int]) -> Candidates:
    """Boxes (x1, y1, x2, y2) with their scores and classes, before suppression."""
    return Candidates(
        np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(classes, np.intp)
    )


def test_the_better_of_two_that_overlap_stays() -> None:
    """Same class, overlap above the threshold."""
    found = candidates([[0, 0, 10, 10], [1, 0, 11, 10]], [0.5, 0.9], [0, 0])
    assert suppress(found, 0.45).tolist() == [1]


def test_classes_do_not_suppress_each_other() -> None:
    """The same box twice, of two classes: both stay, the better first."""
    found = candidates([[-9, 0, 10, 10], [-9, 0, 10, 10]], [0.5, 0.9], [1, 0])
    assert suppress(found, 0.45).tolist() == [1, 0]


@pytest.mark.parametrize(("iou", "kept"), [(0.5, 1), (0.61, 2)])
def test_the_threshold_is_the_overlap(iou: float, kept: int) -> None:
    """Two boxes with an intersection over union of 0.6."""
    found = candidates([[0, 0, 8, 10], [2, 0, 10, 10]], [0.9, 0.8], [0, 0])
    assert len(suppress(found, iou)) == kept


def test_none_and_many() -> None:
    """No box gives none; more than enough give the best ones."""
    assert suppress(candidates([], [], []), 0.45).tolist() == []
    many = 2 * MAX_DETECTIONS
    boxes = [[20.0 * i, 0, 20.0 * i + 10, 10] for i in range(many)]
    found = candidates(boxes, [(i + 1) / many for i in range(many)], [0] * many)
    assert suppress(found, 0.45).tolist() == list(range(many - 1, many - 1 - MAX_DETECTIONS, -1))


@pytest.mark.parametrize("seed", range(5))
def test_it_keeps_what_torchvision_keeps(seed: int) -> None:
    """Random crowds of boxes in three classes."""
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    rng = np.random.default_rng(seed)
    count = 200
    centres = rng.uniform(50, 600, (20, 2))[rng.integers(0, 20, count)] + rng.normal(0, 5, (count, 2))
    half = rng.uniform(15, 30, (count, 2))
    boxes = np.concatenate((centres - half, centres + half), axis=1).astype(np.float32)
    found = Candidates(boxes, rng.uniform(0.25, 1, count).astype(np.float32), rng.integers(0, 3, count))
    expected = torchvision.ops.batched_nms(
        torch.from_numpy(found.boxes), torch.from_numpy(found.scores), torch.from_numpy(found.classes), 0.45
    )
    assert suppress(found, 0.45).tolist() == expected.tolist()
