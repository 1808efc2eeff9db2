# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gate `parity`: a converted model must find what its source finds, and nothing else."""

from __future__ import annotations

import math

import pytest

from edgeagent.core.boxes import Box
from edgeagent.core.tuning import Parity, Tolerance
from edgeagent.gates.parity import LOWEST, compare, judge, threshold

TOLERANCE = Tolerance(iou=0.9, score=0.02)
DENT: Box = (10.0, 10.0, 110.0, 110.0, 0.8, 1)
SCRATCH: Box = (200.0, 50.0, 300.0, 90.0, 0.6, 0)


def moved(box: Box, by: float = 0.0, score: float | None = None, cls: int | None = None) -> Box:
    """The box, so many pixels to the right, with another score or class."""
    x1, y1, x2, y2, conf, kind = box
    return x1 + by, y1, x2 + by, y2, conf if score is None else score, kind if cls is None else cls


def compared(reference: list[Box], candidate: list[Box], confidence: float = 0.25) -> Parity:
    """On one frame."""
    return compare([reference], [candidate], confidence, TOLERANCE)


def test_the_same_boxes_in_another_order() -> None:
    """Nothing missing, nothing extra, no difference."""
    found = compared([DENT, SCRATCH], [SCRATCH, DENT])
    assert found == Parity(1, 2, 0, 0, 1.0, 0.0, differing=0, differing_at_most=0.95)
    assert found.failures(TOLERANCE) == []


def test_small_differences_are_told_and_forgiven() -> None:
    """One pixel to the right, 0.015 less sure."""
    found = compared([DENT, SCRATCH], [moved(DENT, by=1, score=0.785), SCRATCH])
    assert found.least_iou == pytest.approx(99 / 101)
    assert found.most_score == pytest.approx(0.015)
    assert found.failures(TOLERANCE) == []


@pytest.mark.parametrize(
    ("candidate", "failures"),
    [
        ([DENT], ["1 of 2 objects of the source weights are not found"]),
        ([DENT, SCRATCH, (0, 0, 9, 9, 0.5, 2)], ["1 objects are found that the source weights don't find"]),
        ([moved(DENT, score=0.77), SCRATCH], ["scores differ by up to 0.030 (at most 0.02)"]),
        (
            [moved(DENT, by=10), SCRATCH],
            [
                "1 of 2 objects of the source weights are not found",
                "1 objects are found that the source weights don't find",
            ],
        ),
        (
            [moved(DENT, cls=0), SCRATCH],
            [
                "1 of 2 objects of the source weights are not found",
                "1 objects are found that the source weights don't find",
            ],
        ),
        ([], ["2 of 2 objects of the source weights are not found"]),
    ],
    ids=["lost one", "found one more", "less sure", "elsewhere", "another class", "blind"],
)
def test_what_is_wrong_is_said_in_numbers(candidate: list[Box], failures: list[str]) -> None:
    """Each kind of difference has its own words."""
    assert compared([DENT, SCRATCH], candidate).failures(TOLERANCE) == failures


def test_what_stands_on_the_threshold_does_not_decide() -> None:
    """0.251 and 0.249 are the same object, whichever of the two found it so."""
    above, below = moved(DENT, score=0.251), moved(DENT, score=0.249)
    assert compared([above], [below]).failures(TOLERANCE) == []
    assert compared([below], [above]).failures(TOLERANCE) == []


def test_an_object_that_the_source_hardly_suspects_is_an_extra_one() -> None:
    """There is a box in its place, below the threshold: that doesn't excuse it."""
    found = compared([moved(DENT, score=0.1)], [moved(DENT, score=0.9)])
    assert (found.objects, found.extra) == (0, 1)
    assert found.failures(TOLERANCE)


def test_one_box_is_partner_of_one_only() -> None:
    """Two objects that nearly cover one another need two boxes."""
    assert compared([DENT, moved(DENT, by=1, score=0.7)], [DENT]).missing == 1


def test_the_better_partner_is_taken() -> None:
    """The surer of two neighbours chooses first, and takes the box that covers it best."""
    pair = [DENT, moved(DENT, by=4, score=0.79)]
    found = compared(pair, pair[::-1])
    assert (found.missing, found.extra, found.least_iou, found.most_score) == (0, 0, 1.0, 0.0)


def test_frames_are_summed_up_and_never_mixed() -> None:
    """A box found on the wrong frame is missing on one, and extra on the other."""
    found = compare([[DENT], []], [[], [DENT]], 0.25, TOLERANCE)
    assert (found.frames, found.objects, found.missing, found.extra) == (2, 1, 1, 1)


def test_another_number_of_frames_is_no_comparison() -> None:
    """Half a proof is none."""
    with pytest.raises(ValueError, match="zip"):
        compare([[DENT], [DENT]], [[DENT]], 0.25, TOLERANCE)


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_boxes_that_are_no_numbers_are_partners_of_none(broken: float) -> None:
    """A comparison with NaN is always false: it must not pass for that."""
    nonsense = (broken, 10.0, 110.0, 110.0, 0.8, 1)
    assert compared([DENT], [nonsense]).missing == 1


def test_boxes_without_an_area_are_partners_of_none() -> None:
    """Nor do they divide by zero."""
    point = (10.0, 10.0, 10.0, 10.0, 0.8, 1)
    assert compared([point], [point]).missing == 1


def test_the_tolerance_is_the_operators() -> None:
    """What one allows another refuses."""
    candidate = [moved(DENT, by=10, score=0.7)]
    generous = Tolerance(iou=0.5, score=0.2)
    assert compare([[DENT]], [candidate], 0.25, generous).failures(generous) == []


def test_pictures_with_enough_in_them_are_compared_at_the_lines_threshold() -> None:
    """More than five objects are above it."""
    scores = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.1)
    assert threshold([[moved(DENT, score=s) for s in scores]], 0.25) == 0.25


def test_next_to_empty_pictures_are_compared_lower() -> None:
    """A comparison of nothing with nothing would prove nothing: the five best count."""
    boxes = [moved(DENT, score=s) for s in (0.3, 0.2, 0.1, 0.05, 0.04, 0.03, 0.02)]
    assert threshold([boxes[:3], boxes[3:]], 0.25) == 0.04
    assert threshold([[moved(DENT, score=0.1)], []], 0.25) == 0.1
    assert threshold([[], []], 0.25) == 2 * LOWEST


def test_what_hardly_shows_at_all_is_not_missed() -> None:
    """A frame of an empty line: boxes at the least score that is looked at, which the other has a hair below it."""
    source = [moved(DENT, score=1.002 * LOWEST), moved(SCRATCH, score=0.06)]
    other = [moved(SCRATCH, score=0.06)]
    assert compared(source, other, threshold([source], 0.25)).failures(TOLERANCE) == []


def test_it_says_on_how_many_pictures_and_how_sure_that_is() -> None:
    """Whatever differs on a picture, it is one; that none of eight does leaves room for a third of all."""
    same = [[DENT, SCRATCH]] * 8
    found = compare(same, same, 0.25, TOLERANCE)
    assert (found.differing, found.differing_at_most) == (0, 0.3123)
    less_sure = [moved(DENT, score=0.77), moved(SCRATCH, by=30)]
    found = compare([[DENT, SCRATCH]] * 100, [less_sure, [DENT], *[[DENT, SCRATCH]] * 98], 0.25, TOLERANCE)
    assert (found.frames, found.differing, found.differing_at_most) == (100, 2, 0.0616)


def test_the_gate_judges_by_what_a_trial_found() -> None:
    """Figures and limits have the same names."""
    found = compared([DENT, SCRATCH], [DENT])
    refused = judge(found, TOLERANCE)
    assert refused.failure == "gate parity: 1 of 2 objects of the source weights are not found"
    assert (refused.figures["missing"], refused.figures["least_iou"]) == (1, 1.0)
    assert refused.limits == {
        "missing": 0,
        "extra": 0,
        "least_iou": 0.9,
        "most_score": 0.02,
        "differing": 0,
    }
    assert judge(compared([DENT], [DENT]), TOLERANCE).passed
