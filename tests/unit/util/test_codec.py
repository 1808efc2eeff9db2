# SPDX-License-Identifier: AGPL-3.0-or-later
"""Dataclasses as JSON values and back: what was taken apart is put together, and nothing else is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.util.codec import from_json, to_json


class Colour(StrEnum):
    """Some."""

    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Inner:
    """One in another."""

    count: int
    share: float = 0.5

    def __post_init__(self) -> None:
        """Refuses what is less than nothing."""
        if self.count < 0:
            raise ValueError(f"count {self.count}")


@dataclass(frozen=True)
class Outer:
    """One of each."""

    name: str
    path: Path
    yes: bool
    colour: Colour
    word: Literal["left", "right"]
    inner: Inner
    maybe: Inner | None
    pair: tuple[int, float]
    many: tuple[Inner, ...]
    by_name: Mapping[str, Path]
    figures: Mapping[str, int | float | str]
    free: dict[str, Any] = field(default_factory=dict)


VALUE = Outer(
    name="Käse\n",
    path=Path("/tmp/Überlauf\udcff"),  # a file's name needn't be UTF-8
    yes=True,
    colour=Colour.GREEN,
    word="left",
    inner=Inner(2**62, 1),
    maybe=None,
    pair=(1, 2.5),
    many=(Inner(1), Inner(2)),
    by_name={"onnx": Path("a.onnx")},
    figures={"frames": 3, "least": 0.25, "why": "so"},
    free={"key": [1, None, {"a": True}]},
)


def test_what_is_taken_apart_is_put_together() -> None:
    """Through JSON; numbers keep their kind."""
    back = from_json(Outer, json.loads(json.dumps(to_json(VALUE))))
    assert back == VALUE
    assert [type(f) for f in back.figures.values()] == [int, float, str]
    assert type(back.inner.share) is float


def changed(**fields: Any) -> Any:
    """VALUE in JSON values, with other fields."""
    return {**to_json(VALUE), **fields}


@pytest.mark.parametrize(
    ("doc", "why"),
    [
        (None, "Outer is no object"),
        ([1, 2], "Outer is no object"),
        ({}, "Outer has , not the fields name, path"),
        (changed(more=1), "has .*more, not the fields"),
        (changed(name=3), "Outer.name is no text"),
        (changed(name="\ud800"), "Outer.name is no text in UTF-8"),
        (changed(path="a\0b"), "Outer.path is no path"),
        (changed(path="\ud800"), "Outer.path is no path"),
        (changed(yes=1), "Outer.yes is neither true nor false"),
        (changed(colour="blue"), "Outer.colour is no Colour"),
        (changed(colour=[]), "Outer.colour is no Colour"),
        (changed(word="up"), "Outer.word is none of left, right"),
        (changed(word=["left"]), "Outer.word is none of left, right"),
        (changed(inner={"count": True, "share": 1}), "Outer.inner.count is no integer"),
        (changed(inner={"count": 10**400, "share": 1}), "Outer.inner.count is no integer"),
        (changed(inner={"count": 1, "share": float("nan")}), "Outer.inner.share is no finite number"),
        (changed(inner={"count": 1, "share": 10**400}), "Outer.inner.share is no integer"),
        (changed(inner={"count": -1, "share": 1}), "count -1"),
        (changed(maybe="none"), "Outer.maybe is no object"),
        (changed(pair=[1]), "Outer.pair is no list of 2"),
        (changed(many={}), "Outer.many is no list"),
        (changed(many=[None]), r"Outer.many\[0\] is no object"),
        (changed(by_name=[]), "Outer.by_name is no object"),
        (changed(by_name={"a": 1}), r"Outer.by_name\['a'\] is no path"),
        (changed(figures={"a": None}), r"Outer.figures\['a'\] is no integer"),
    ],
)
def test_what_was_never_taken_apart_is_refused(doc: Any, why: str) -> None:
    """With the field, and what is wrong with it."""
    with pytest.raises(ValueError, match=why):
        from_json(Outer, doc)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from([*to_json(VALUE)]), JSON)
def test_whatever_stands_in_a_field_is_taken_or_refused(name: str, value: Any) -> None:
    """No other exception; what is taken can be taken apart again."""
    try:
        back = from_json(Outer, changed(**{name: value}))
    except ValueError:
        return
    to_json(back.inner)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1, 2}, b"bytes"])
def test_what_has_no_form_is_said_to_the_sender(value: object) -> None:
    """Rather than to the receiver."""
    with pytest.raises(ValueError, match="no JSON form"):
        to_json({"a": (value,)})


def test_text_that_is_no_utf8_travels_with_marks() -> None:
    """An error that names such a file must come through."""
    assert to_json("weights \udcff.onnx") == "weights ?.onnx"
