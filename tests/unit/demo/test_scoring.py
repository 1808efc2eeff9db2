# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which known defects count as found."""

from __future__ import annotations

import pytest

from edgeagent.demo.scoring import iou, match
from edgeagent.scenes.conveyor import Truth

DENT = Truth(cls=1, xyxy=(10, 10, 30, 30), tiny=False, part=3)
NEIGHBOUR = Truth(cls=1, xyxy=(18, 10, 38, 30), tiny=True, part=3)


def test_iou_of_apart_touching_and_equal_boxes() -> None:
    """0 apart or touching, 1 when equal, the share in between."""
    assert iou((0, 0, 10, 10), (20, 20, 30, 30)) == 0
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)


def test_a_truth_is_found_by_class_and_place() -> None:
    """Another class or a box elsewhere finds nothing."""
    assert match([DENT], [(1, 0.5, (11, 11, 31, 31))]) == [DENT]
    assert match([DENT], [(0, 0.9, DENT.xyxy)]) == []
    assert match([DENT], [(1, 0.9, (26, 26, 46, 46))]) == []
    assert match([], [(1, 0.9, DENT.xyxy)]) == []


def test_a_truth_is_found_once_and_the_confident_box_chooses_first() -> None:
    """Two boxes on one defect count once; each of two neighbours needs its own box."""
    assert match([DENT, NEIGHBOUR], [(1, 0.4, (11, 10, 31, 30)), (1, 0.8, DENT.xyxy)]) == [DENT]
    assert match([DENT, NEIGHBOUR], [(1, 0.4, NEIGHBOUR.xyxy), (1, 0.8, DENT.xyxy)]) == [DENT, NEIGHBOUR]
