# SPDX-License-Identifier: AGPL-3.0-or-later
"""Heads: chosen by shape, decoded into boxes, scores and classes."""

from __future__ import annotations

import numpy as np
import pytest

from edgeagent.errors import WeightsError
from edgeagent.runtimes.detection.layouts import LAYOUTS, choose_layout, decode


@pytest.mark.parametrize(
    ("shape", "classes", "head"),
    [
        ((1, 84, 8400), 80, "v8"),
        ((1, 25200, 85), 80, "v5"),
        ((1, 300, 6), 80, "end2end"),
        ((1, 5, 8400), 1, "v8"),
        ((1, 25200, 6), 1, "v5"),  # six channels also mean end-to-end: the rows tell
        ((1, 300, 6), 1, "end2end"),
        ((1, 6, 8400), 2, "v8"),
        ((1, 300, 6), 2, "end2end"),
        ((1, 34000, 6), 2, None),  # neither: v5 would have seven channels, end-to-end fewer rows
        ((1, 102000, 6), 1, "v5"),  # with a grid of stride 4 for small objects
        ((None, 84, None), 80, "v8"),
        ((None, None, 6), 1, None),
        ((1, 8400, 84), 80, None),
        ((1, 116, 8400), 80, None),  # a segmentation model's masks
        ((1, 84), 80, None),
        ((), 80, None),
        ((1, 3, 80, 80, 85), 80, None),
    ],
)
def test_a_head_is_chosen_only_when_it_is_the_only_one(
    shape: tuple[int | None, ...], classes: int, head: str | None
) -> None:
    """Shape and number of classes name one layout, or the weights are refused."""
    if head is None:
        with pytest.raises(WeightsError, match="output of shape"):
            choose_layout(shape, classes, (640, 640), 32)
    else:
        assert choose_layout(shape, classes, (640, 640), 32).name == head


def test_more_detections_than_allowed_are_told_from_an_unknown_head() -> None:
    """An export with NMS and a large `max_det`."""
    with pytest.raises(WeightsError, match="max_det=1000 or less"):
        choose_layout((1, 1500, 6), 80, (640, 640), 32)


def test_v8_rows_become_corners_with_their_best_class() -> None:
    """Channels first, centre form, no objectness."""
    raw = np.zeros((6, 3), np.float32)
    raw[:, 0] = 10, 20, 4, 8, 0.1, 0.7
    raw[:, 1] = 50, 60, 2, 2, 0.2, 0.1
    raw[:, 2] = 30, 30, 10, 10, 0.5, 0.3
    found = decode(LAYOUTS["v8"], raw, 0.25)
    np.testing.assert_allclose(found.boxes, [[8, 16, 12, 24], [25, 25, 35, 35]])
    np.testing.assert_allclose(found.scores, [0.7, 0.5])
    assert found.classes.tolist() == [1, 0]


def test_v5_score_is_objectness_times_class() -> None:
    """A sure object of an unsure class does not pass."""
    raw = np.array([[10, 20, 4, 8, 0.9, 0.1, 0.8], [1, 1, 1, 1, 0.9, 0.2, 0.1]], np.float32)
    found = decode(LAYOUTS["v5"], raw, 0.25)
    np.testing.assert_allclose(found.boxes, [[8, 16, 12, 24]])
    np.testing.assert_allclose(found.scores, [0.72], rtol=1e-6)
    assert found.classes.tolist() == [1]


def test_end_to_end_rows_are_taken_as_they_are() -> None:
    """Corners, score and class id; the empty rows at the end fall to the threshold."""
    raw = np.array([[1, 2, 3, 4, 0.9, 7], [5, 6, 7, 8, 0.2, 1], [0, 0, 0, 0, 0, 0]], np.float32)
    found = decode(LAYOUTS["end2end"], raw, 0.1)
    np.testing.assert_allclose(found.boxes, [[1, 2, 3, 4], [5, 6, 7, 8]])
    assert found.classes.tolist() == [7, 1]


@pytest.mark.parametrize("head", LAYOUTS)
def test_nothing_above_the_threshold_is_nothing(head: str) -> None:
    """A score equal to the threshold does not pass, as in ultralytics."""
    layout = LAYOUTS[head]
    rows = np.full((4, layout.channels(2)), 0.5, np.float32)
    found = decode(layout, rows.T if layout.channels_first else rows, 0.5)
    assert found.boxes.shape == (0, 4)
    assert found.scores.shape == found.classes.shape == (0,)


@pytest.mark.parametrize("head", LAYOUTS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("column", [0, 3, 4, 5])
def test_numbers_that_are_none_are_an_error(head: str, wrong: float, column: int) -> None:
    """NaN or infinity in the box, the objectness or a score of a row that passes is said, never dropped."""
    layout = LAYOUTS[head]
    rows = np.full((4, layout.channels(2)), 0.9, np.float32)
    rows[2, column] = wrong
    with pytest.raises(WeightsError, match="NaN"):
        decode(layout, rows.T if layout.channels_first else rows, 0.25)
