# SPDX-License-Identifier: AGPL-3.0-or-later
"""Texts of YOLO data sets: right ones are understood, and each wrong one is named."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.yolo import (
    MAX_LABELS,
    Description,
    Label,
    MustFind,
    parse_description,
    parse_labels,
    parse_must_find,
)
from edgeagent.errors import UsageError


def test_boxes_and_polygons() -> None:
    """A polygon counts as its box; a line given twice once; empty lines not at all."""
    text = "0 0.5 0.5 0.2 0.4\n\n1 0.1 0.1 0.3 0.1 0.2 0.5\n0 0.5 0.5 0.2 0.4\n"
    first, second = parse_labels(text, "a.txt")
    assert (first.cls, first.box(100, 200)) == (0, pytest.approx((40, 60, 60, 140)))
    assert second == Label(1, 0.1, 0.1, 0.3, 0.5)


def test_box_that_overshoots_by_a_hair_stays_inside() -> None:
    """Exporters round."""
    (label,) = parse_labels("0 1.0005 0.5 0.2 0.2", "a.txt")
    assert label.x2 == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("0 0.5 0.5 0.2", "4 columns instead of 5"),
        ("0 0.5 0.5 0.2 0.2 0.9", "6 columns instead of 5: are these predictions, with a confidence?"),
        ("0 0.1 0.1 0.2 0.2 0.3 0.3 0.4", "8 columns"),
        ("dent 0.5 0.5 0.2 0.2", "is not made of numbers"),
        ("0 0.5 nan 0.2 0.2", "not finite"),
        ("0 0.5 inf 0.2 0.2", "not finite"),
        ("0 0.5 1.5 0.2 0.2", "1.5 is not from 0 to 1"),
        ("0 320 180 40 40", "320 is not from 0 to 1 (pixels?)"),
        ("0 0.5 -0.5 0.2 0.2", "-0.5 is not from 0 to 1"),
        ("-1 0.5 0.5 0.2 0.2", "class -1 is not a whole number"),
        ("0.5 0.5 0.5 0.2 0.2", "class 0.5 is not a whole number"),
        ("0 0.5 0.5 0 0.2", "its box is empty"),
    ],
)
def test_wrong_label_is_named_with_its_line(line: str, why: str) -> None:
    """File, line and what is wrong with it."""
    with pytest.raises(UsageError, match=re.escape(why)) as caught:
        parse_labels(f"0 0.5 0.5 0.1 0.1\n{line}\n", "a.txt")
    assert "label file a.txt: line 2" in str(caught.value)


def test_too_many_objects() -> None:
    """Bounded, whoever wrote it."""
    text = "\n".join(f"0 0.5 0.5 0.1 {0.1 + i / 1e5}" for i in range(MAX_LABELS + 1))
    with pytest.raises(UsageError, match="more than"):
        parse_labels(text, "a.txt")


@given(st.text(max_size=200))
def test_any_text_gives_labels_or_a_usage_error(text: str) -> None:
    """Labels come from strangers; every box that comes of them lies inside its picture."""
    try:
        labels = parse_labels(text, "a.txt")
    except UsageError:
        return
    assert all(0 <= label.x1 < label.x2 <= 1 and 0 <= label.y1 < label.y2 <= 1 for label in labels)


@pytest.mark.parametrize(
    ("doc", "expected"),
    [
        ({"val": "images/val", "names": ["a", "b"]}, Description(("a", "b"), "", ("images/val",))),
        ({"train": "x", "test": "y", "names": {0: "a", 1: "b"}}, Description(("a", "b"), "", ("y",))),
        ({"path": "/d", "train": ["x", "y"], "nc": 1, "names": ["a"]}, Description(("a",), "/d", ("x", "y"))),
        ({"val": "x", "names": {0: 1, 1: True}}, Description(("1", "True"), "", ("x",))),
        ({"val": "x"}, Description(None, "", ("x",))),
    ],
)
def test_description(doc: dict[str, Any], expected: Description) -> None:
    """Names as a list or by number; val before test before train."""
    assert parse_description(doc, "data.yaml") == expected


@pytest.mark.parametrize(
    ("doc", "why"),
    [
        ([], "is not a mapping"),
        ({"names": ["a"]}, "names no pictures"),
        ({"val": 3}, "val is neither a path nor a list"),
        ({"val": "x", "path": 3}, "path is not text"),
        ({"val": "x", "names": {0: "a", 2: "b"}}, "are not 0, 1, 2"),
        ({"val": "x", "names": "ab"}, "neither a list nor a mapping"),
        ({"val": "x", "names": ["a", "a"]}, "a name twice"),
        ({"val": "x", "names": [["a"]]}, "neither a list nor a mapping"),
        ({"val": "x", "names": []}, "names is not 1 to"),
        ({"val": "x", "names": ["a"], "nc": 2}, "nc is 2, and there are 1 names"),
    ],
)
def test_wrong_description(doc: object, why: str) -> None:
    """What is wrong, and where."""
    with pytest.raises(UsageError, match=why) as caught:
        parse_description(doc, "data.yaml")
    assert "data.yaml" in str(caught.value)


def test_must_find() -> None:
    """Picture and class; box and name may be left out."""
    doc = [
        {"picture": "a.png", "class": "dent"},
        {"picture": "b", "class": 1, "box": [0, 1, 0.5, 1], "name": "n"},
    ]
    assert parse_must_find(doc, "m") == (
        MustFind("a.png", "dent", None, ""),
        MustFind("b", "1", (0, 1, 0.5, 1), "n"),
    )


@pytest.mark.parametrize(
    ("doc", "why"),
    [
        ({}, "is not a list"),
        (["a"], r"entry 1: is not \{picture"),
        ([{"picture": "a"}], "entry 1"),
        ([{"picture": "a", "class": "b", "bix": 1}], "entry 1"),
        ([{"picture": 1, "class": "b"}], "not text"),
        ([{"picture": "a", "class": "b", "box": [0, 0, 1]}], "box is not"),
        ([{"picture": "a", "class": "b", "box": [0, 0, 1, float("nan")]}], "box is not"),
        ([{"picture": "a", "class": "b", "box": [0, 0, 1, True]}], "box is not"),
    ],
)
def test_wrong_must_find(doc: object, why: str) -> None:
    """Which entry, and why."""
    with pytest.raises(UsageError, match=why):
        parse_must_find(doc, "m")
