# SPDX-License-Identifier: AGPL-3.0-or-later
"""The texts of a YOLO data set: label files, the description of a set, and the objects that must be found. Pure.

Source of the forms: ultralytics' documentation, "Object Detection Datasets". All comes from strangers, and is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

from edgeagent.core.model import MAX_CLASSES
from edgeagent.errors import UsageError

MAX_LABELS = 2000
"""Of one picture."""
MAX_MUST_FIND = 1000
_COLUMNS = 5
_LEAST_POLYGON = 7  # a class, and three corners
_ROUNDING = 1e-3  # by which exporters overshoot the border of a picture
_SHOWN = 60  # characters of what is quoted


@dataclass(frozen=True)
class Label:
    """One object of a picture: its class, by number, and its box as shares of the picture's width and height, which
    stays inside the picture."""

    cls: int
    x1: float
    y1: float
    x2: float
    y2: float

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """x1, y1, x2, y2 in pixels of a picture of this size."""
        return self.x1 * width, self.y1 * height, self.x2 * width, self.y2 * height


@dataclass(frozen=True)
class Description:
    """What a data.yaml says. names: of the classes by number, None where it names none; path: the folder that the
    others are relative to, "" for that of the data.yaml; pictures: folders, or .txt files that list pictures."""

    names: tuple[str, ...] | None
    path: str
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class MustFind:
    """An object that a version must find, whatever it finds else. picture: as the set names it; cls: the class, by
    name; box: centre x, y, width, height as shares of the picture, None: the only object of that class there; name: for
    people."""

    picture: str
    cls: str
    box: tuple[float, float, float, float] | None
    name: str


def parse_labels(text: str, where: str) -> tuple[Label, ...]:
    """The objects in a label file, a line each: `class x y width height`, the box by its centre, as shares of the
    picture from 0 to 1; or `class x1 y1 x2 y2 x3 y3 …`, a polygon, of which the box counts. A line given twice counts
    once. Raises UsageError naming `where` and the line."""
    labels: dict[Label, None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            try:
                labels[_label(words)] = None
            except ValueError as e:
                raise UsageError(
                    f"label file {where}",
                    f"line {number}, {line.strip()[:_SHOWN]!r}: {e}",
                    "write `class x y width height`, the box by its centre, as shares of the picture from 0 to 1",
                ) from e
        if len(labels) > MAX_LABELS:
            raise UsageError(f"label file {where}", f"has more than {MAX_LABELS} objects")
    return tuple(labels)


def _label(words: Sequence[str]) -> Label:
    if len(words) != _COLUMNS and not (len(words) >= _LEAST_POLYGON and len(words) % 2):
        confidence = ": are these predictions, with a confidence?" if len(words) == _COLUMNS + 1 else ""
        raise ValueError(f"{len(words)} columns instead of {_COLUMNS}{confidence}")
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        raise ValueError("is not made of numbers") from None
    if not all(isfinite(number) for number in numbers):
        raise ValueError("a number is not finite")
    cls, *shares = numbers
    if not (cls.is_integer() and 0 <= cls < MAX_CLASSES):
        raise ValueError(f"class {words[0][:_SHOWN]} is not a whole number from 0 to {MAX_CLASSES - 1}")
    if not all(-_ROUNDING <= share <= 1 + _ROUNDING for share in shares):
        worst = max(shares, key=lambda share: abs(share - 0.5))
        pixels = " (pixels?)" if worst > 2 else ""
        raise ValueError(f"{worst:g} is not from 0 to 1{pixels}")
    if len(words) == _COLUMNS:
        return _boxed(int(cls), *shares)
    return _inside(int(cls), min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2]))


def _boxed(cls: int, x: float, y: float, width: float, height: float) -> Label:
    return _inside(cls, x - width / 2, y - height / 2, x + width / 2, y + height / 2)


def _inside(cls: int, *corners: float) -> Label:
    x1, y1, x2, y2 = (min(max(share, 0.0), 1.0) for share in corners)
    if not (x2 > x1 and y2 > y1):
        raise ValueError("its box is empty")
    return Label(cls, x1, y1, x2, y2)


# -- data.yaml ---------------------------------------------------------------------------------------


def parse_description(doc: object, where: str) -> Description:
    """What a data.yaml says, as plain values. Of the splits the first that there is counts: val, test, train.

    Raises UsageError."""
    if not isinstance(doc, dict):
        raise _broken(where, "is not a mapping", "write `val: images/val` and `names: [scratch, dent]`")
    path = doc.get("path", "")
    if not isinstance(path, str) or "\0" in path:
        raise _broken(where, "path is not text", "name the folder that val and train are relative to")
    split = next((name for name in ("val", "test", "train") if doc.get(name)), None)
    if split is None:
        raise _broken(where, "names no pictures", "write `val: images/val`, a folder beside the data.yaml")
    pictures = doc[split] if isinstance(doc[split], list) else [doc[split]]
    if not all(isinstance(entry, str) and entry and "\0" not in entry for entry in pictures):
        raise _broken(where, f"{split} is neither a path nor a list of paths", "write `val: images/val`")
    return Description(_names(doc, where), path, tuple(pictures))


def _names(doc: Mapping[Any, Any], where: str) -> tuple[str, ...] | None:
    given = doc.get("names")
    if given is None:
        return None
    todo = "write `names: [scratch, dent]`, or `names: {0: scratch, 1: dent}`"
    if isinstance(given, dict):
        if sorted(given, key=str) != sorted(range(len(given)), key=str):
            raise _broken(where, "the numbers of names are not 0, 1, 2, …", todo)
        given = [given[number] for number in range(len(given))]
    # A class may be called 1, or yes: YAML takes such names for something else than text.
    if not isinstance(given, list) or not all(isinstance(name, str | int | float) for name in given):
        raise _broken(where, "names is neither a list nor a mapping by number", todo)
    names = tuple(str(name) for name in given)
    if not 1 <= len(names) <= MAX_CLASSES or not all(0 < len(name) <= 200 for name in names):
        raise _broken(where, f"names is not 1 to {MAX_CLASSES} names of at most 200 characters", todo)
    if len(set(names)) != len(names):
        raise _broken(where, "names has a name twice", "give each class its own")
    if (count := doc.get("nc")) is not None and count != len(names):
        raise _broken(where, f"nc is {str(count)[:_SHOWN]}, and there are {len(names)} names", todo)
    return names


# -- must_find.yaml ----------------------------------------------------------------------------------


def parse_must_find(doc: object, where: str) -> tuple[MustFind, ...]:
    """The objects of a must_find.yaml, as plain values. Raises UsageError."""
    if not isinstance(doc, list) or len(doc) > MAX_MUST_FIND:
        why = f"is not a list of at most {MAX_MUST_FIND} objects"
        raise _broken(where, why, "write `- {picture: a.png, class: dent, box: [0.5, 0.4, 0.1, 0.1]}`")
    return tuple(_must_find(entry, f"{where}, entry {number}") for number, entry in enumerate(doc, 1))


def _must_find(entry: object, where: str) -> MustFind:
    if not isinstance(entry, dict) or not {"picture", "class"} <= set(entry) <= {
        "picture",
        "class",
        "box",
        "name",
    }:
        raise _broken(where, "is not {picture, class, box, name}", "box and name may be left out")
    picture, name = entry["picture"], entry.get("name", "")
    if not isinstance(picture, str) or not picture or not isinstance(name, str):
        raise _broken(where, "picture or name is not text")
    box = entry.get("box")
    if box is not None:
        if (
            not isinstance(box, list)
            or len(box) != _COLUMNS - 1
            or not all(isinstance(n, int | float) and not isinstance(n, bool) and 0 <= n <= 1 for n in box)
        ):
            raise _broken(where, "box is not [x, y, width, height], shares of the picture from 0 to 1")
        box = tuple(float(n) for n in box)
    return MustFind(picture, str(entry["class"]), box, name[:200])


def _broken(where: str, why: str, todo: str = "") -> UsageError:
    return UsageError(where, why, todo)
