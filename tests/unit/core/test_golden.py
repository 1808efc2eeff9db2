# SPDX-License-Identifier: AGPL-3.0-or-later
"""Judging by labelled pictures: what is found, what is lost, and what a set can't tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.golden import (
    Box,
    GoldenLimits,
    GoldenObject,
    GoldenReport,
    Sighting,
    look,
    objects_needed,
    reasons,
    report,
)
from edgeagent.core.golden_figures import figures_of, limits_of

NAMES = ("scratch", "dent", "label")
LIMITS = GoldenLimits()
Pictures = list[tuple[str, list[GoldenObject]]]


def square(x: float, side: float = 10.0) -> tuple[float, float, float, float]:
    """A box of this side, at x from the left."""
    return x, 0.0, x + side, side


def set_of(*classes: int, pictures: int = 30) -> Pictures:
    """So many pictures, each with an object of each of the classes, far from each other."""
    shown = [GoldenObject(cls, square(100.0 * place)) for place, cls in enumerate(classes)]
    return [(f"{n}.png", shown) for n in range(pictures)]


def seen_in(
    pictures: Pictures,
    missed: tuple[int, ...] = (),
    every: int = 1,
    shift: float = 0.0,
    score: float = 0.9,
    extra: int = 0,
) -> list[Sighting]:
    """What a version sees that finds all but, on each `every`-th picture, objects of the classes `missed`."""
    found = []
    for number, (_, shown) in enumerate(pictures):
        boxes = [
            Box(*(edge + shift for edge in o.box), score, o.cls)
            for o in shown
            if not (o.cls in missed and number % every == 0)
        ]
        boxes += [Box(*square(1000.0 + 50 * i), score, 0) for i in range(extra)]
        found.append(look(shown, boxes, 0.25, LIMITS.overlap))
    return found


def against(
    pictures: Pictures,
    seen: list[Sighting],
    active: list[Sighting] | None = None,
    limits: GoldenLimits = LIMITS,
) -> list[str]:
    """What speaks against the version."""
    return list(reasons(report(NAMES, pictures, seen, active), limits))


# -- what finds what ---------------------------------------------------------------------------------


def test_each_object_takes_one_box_and_each_box_one_object() -> None:
    """Two boxes on one object: the surer finds it, the other shows nothing."""
    objects = [GoldenObject(0, square(0)), GoldenObject(0, square(100))]
    boxes = [Box(*square(1), 0.6, 0), Box(*square(0), 0.9, 0), Box(*square(100), 0.5, 0)]
    assert look(objects, boxes, 0.25, 0.5) == Sighting((1.0, 1.0), (0.9, 0.5), (0,))


def test_what_finds_nothing() -> None:
    """Another class, too little overlap, not above the confidence; and a class that the set doesn't know says
    nothing."""
    objects = [GoldenObject(1, square(0))]
    boxes = [
        Box(*square(0), 0.9, 0),
        Box(*square(8), 0.9, 1),
        Box(*square(0), 0.25, 1),
        Box(*square(0), 0.9, None),
    ]
    assert look(objects, boxes, 0.25, 0.5) == Sighting((0.0,), (0.0,), (0, 1))


@given(
    st.lists(st.tuples(st.floats(0, 30), st.floats(0.1, 1), st.integers(0, 2)), max_size=12),
    st.integers(0, 6),
)
def test_no_object_is_found_twice_and_no_box_lost(found: list[tuple[float, float, int]], count: int) -> None:
    """Every box above the confidence either finds an object of its class or counts as false."""
    objects = [GoldenObject(i % 3, square(5.0 * i)) for i in range(count)]
    boxes = [Box(*square(x), score, cls) for x, score, cls in found]
    sighting = look(objects, boxes, 0.25, 0.5)
    hits = sum(overlap > 0 for overlap in sighting.overlaps)
    assert hits + len(sighting.extra) == sum(box.score > 0.25 for box in boxes)


# -- alone -------------------------------------------------------------------------------------------


def test_a_good_version_passes_alone_and_beside_itself() -> None:
    """The same weights never differ from themselves."""
    pictures = set_of(0, 1, 2)
    seen = seen_in(pictures)
    assert against(pictures, seen) == []
    assert against(pictures, seen, seen) == []


def test_recall_of_each_class_has_a_floor() -> None:
    """A class that is blind doesn't hide behind the others."""
    pictures = set_of(0, 1, 2)
    (why,) = against(pictures, seen_in(pictures, missed=(1,)))
    assert why == "class 'dent': 0 of 30 objects found, recall 0 is below min_recall 0.3"


def test_false_boxes_have_a_ceiling() -> None:
    """Everything detected finds every object."""
    pictures = set_of(0)
    (why,) = against(pictures, seen_in(pictures, extra=2))
    assert why == "60 false boxes on 30 pictures, 2 per picture is above max_false_boxes 1"


def test_what_must_be_found_is_named() -> None:
    """One object among many that are found."""
    pictures = set_of(0)
    pictures[7] = ("7.png", [replace(pictures[7][1][0], must="the hairline at the rim")])
    seen = seen_in(pictures)
    assert against(pictures, seen) == []
    seen[7] = Sighting((0.0,), (0.0,), ())
    (why,) = against(pictures, seen)
    assert why == "must be found, and isn't: the hairline at the rim (scratch in 7.png)"


# -- beside what serves ------------------------------------------------------------------------------


def test_a_loss_that_is_no_accident_is_refused_though_the_floor_is_kept() -> None:
    """A third of a class's objects, while recall is well above the floor."""
    pictures = set_of(0, 1, 2)
    reasons_ = against(pictures, seen_in(pictures, missed=(1,), every=3), seen_in(pictures))
    assert len(reasons_) == 2
    assert reasons_[0].startswith(
        "class 'dent': 10 of 30 objects lost that the active version finds, 0 gained (p = "
    )
    assert reasons_[1].startswith("10 of 90 objects lost")


def test_losses_and_gains_that_balance_pass() -> None:
    """Another version finds other objects; as many lost as gained tell no difference."""
    pictures = set_of(0, pictures=40)
    seen, active = seen_in(pictures, missed=(0,), every=4), seen_in(pictures, missed=(0,), every=4)
    active = active[1:] + active[:1]
    assert report(NAMES, pictures, seen, active).compared is not None
    assert against(pictures, seen, active) == []


def test_a_few_lost_are_an_accident() -> None:
    """Four lost and none gained could be one: fewer than min_lost."""
    pictures = set_of(0, pictures=40)
    seen = seen_in(pictures, missed=(0,), every=10)
    assert against(pictures, seen, seen_in(pictures)) == []
    strict = GoldenLimits(p_value=0.5, min_lost=4)
    assert len(against(pictures, seen, seen_in(pictures), strict)) == 1


def test_boxes_that_lie_worse_are_refused_though_they_still_find() -> None:
    """Shifted by a few pixels, the labels are still found."""
    pictures = set_of(0)
    (why,) = against(pictures, seen_in(pictures, shift=1.0), seen_in(pictures))
    assert "boxes lie worse than those of the active version" in why


def test_scores_that_shrink_are_refused_though_they_still_find() -> None:
    """0.9 × 0.6 is still above the confidence."""
    pictures = set_of(0)
    (why,) = against(pictures, seen_in(pictures, score=0.54), seen_in(pictures))
    assert "scores are 0.36 lower than those of the active version over 30 objects" in why


def test_more_false_boxes_than_the_active_version() -> None:
    """Within the ceiling, and yet one more on every picture."""
    pictures = set_of(0)
    (why,) = against(pictures, seen_in(pictures, extra=1), seen_in(pictures))
    assert "1.00 false boxes per picture more than the active version" in why


def test_comparison_can_be_left_out() -> None:
    """p_value 0."""
    pictures = set_of(0)
    limits = GoldenLimits(p_value=0)
    assert against(pictures, seen_in(pictures, missed=(0,), every=2), seen_in(pictures), limits) == []


# -- what a set can't tell ---------------------------------------------------------------------------


def test_too_few_objects_are_no_pass_and_said_with_how_many_are_needed() -> None:
    """A version without any fault is not passed by a set that couldn't show one."""
    pictures = set_of(0, 1, 2, pictures=16)
    why = against(pictures, seen_in(pictures))
    assert len(why) == 3
    assert "class 'dent': too few objects to tell, 16: 17 are needed to see a drop of recall by 0.5" in why[0]
    assert against(set_of(0, 1, 2, pictures=17), seen_in(set_of(0, 1, 2, pictures=17))) == []


@pytest.mark.parametrize(("tests", "drop", "needed"), [(1, 0.5, 12), (4, 0.5, 17), (4, 0.1, 90), (1, 1.0, 5)])
def test_how_many_are_needed(tests: int, drop: float, needed: int) -> None:
    """The smaller the drop that is to be seen, the more."""
    assert objects_needed(tests, GoldenLimits(drop=drop)) == needed


def test_a_small_set_of_objects_that_must_be_found_is_enough() -> None:
    """Each of them is judged by itself: nothing need be told from chance."""
    pictures: Pictures = [
        ("a.png", [GoldenObject(0, square(0), must="a"), GoldenObject(1, square(100), must="b")])
    ]
    assert against(pictures, seen_in(pictures)) == []
    assert len(against(pictures, seen_in(pictures, missed=(1,)))) == 2


def test_a_class_that_is_not_shown_has_no_figure() -> None:
    """Neither zero nor one."""
    pictures = set_of(0, 2)
    found = report(NAMES, pictures, seen_in(pictures))
    figures = figures_of(found, "f" * 64)
    assert (found.unseen, figures["classes_not_shown"]) == (("dent",), 1)
    assert {name for name in figures if name.startswith("recall.")} == {"recall.scratch", "recall.label"}


def test_precision_has_a_floor_only_where_one_is_set() -> None:
    """For information otherwise."""
    pictures = set_of(0)
    found = report(NAMES, pictures, seen_in(pictures), precision={"map50": 0.8, "map50_95": 0.4})
    assert reasons(found, LIMITS) == ()
    assert reasons(found, GoldenLimits(min_map50=0.8, min_map50_95=0.5)) == (
        "map50_95 0.400 is below min_map50_95 0.5",
    )


def test_limits_have_the_names_of_figures() -> None:
    """So that who reads one finds the other."""
    pictures = set_of(0, 1)
    found = report(NAMES, pictures, seen_in(pictures), seen_in(pictures), precision={"map50": 0.9})
    held = limits_of(found, GoldenLimits(min_map50=0.5))
    assert set(held) - {"objects_of_a_class"} <= set(figures_of(found, "f" * 64))


def test_a_set_of_nothing_is_an_error() -> None:
    """Nothing was judged, so there is no report."""
    with pytest.raises(ValueError, match="no pictures"):
        report(NAMES, [], [])


def test_without_objects_nothing_passes() -> None:
    """Pictures of an empty belt tell nothing of what is found."""
    pictures: Pictures = [("a.png", [])]
    (why,) = against(pictures, seen_in(pictures))
    assert "no picture shows an object" in why


def test_limits_by_name() -> None:
    """As the configuration and a directive give them; those that are left out have their default."""
    assert GoldenLimits.of({"min_recall": 0.9, "min_map50": 0.4}) == GoldenLimits(
        min_recall=0.9, min_map50=0.4
    )


def test_report_type_is_what_travels() -> None:
    """From the worker, as JSON."""
    from edgeagent.util.codec import from_json, to_json

    pictures = set_of(0, 1)
    found = report(NAMES, pictures, seen_in(pictures), seen_in(pictures))
    assert from_json(GoldenReport, to_json(found)) == found
