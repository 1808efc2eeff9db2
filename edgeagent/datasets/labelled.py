# SPDX-License-Identifier: AGPL-3.0-or-later
"""A data set with its labels read and checked: what is to be found on which picture. The pictures stay closed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from edgeagent.core.boxes import iou
from edgeagent.core.yolo import Label, MustFind, parse_labels, parse_must_find
from edgeagent.datasets.files import read_text, read_yaml
from edgeagent.datasets.layout import MUST_FIND, Layout, Picture
from edgeagent.errors import UsageError

_SAME_BOX = 0.5  # IoU from which a box of must_find.yaml is that of a label
_SHOWN = 12  # names in a message


@dataclass(frozen=True)
class LabelledPicture:
    """A picture and its objects; must: of those that must be found, by the number of the label, what they are
    called."""

    picture: Picture
    labels: tuple[Label, ...]
    must: Mapping[int, str]


@dataclass(frozen=True)
class LabelledSet:
    """A set that can be judged by. names: of the classes by number; pictures: in order; of: how many the whole set has,
    where these are a sample."""

    layout: Layout
    names: tuple[str, ...]
    pictures: tuple[LabelledPicture, ...]
    of: int

    @property
    def unlabelled(self) -> int:
        """Pictures without a label file."""
        return sum(p.picture.labels is None for p in self.pictures)

    @property
    def objects(self) -> int:
        """Labelled objects."""
        return sum(len(p.labels) for p in self.pictures)

    @property
    def shown(self) -> tuple[str, ...]:
        """The names of the classes that it shows, by number."""
        seen = {label.cls for p in self.pictures for label in p.labels}
        return tuple(name for cls, name in enumerate(self.names) if cls in seen)


def read_set(layout: Layout, names: Sequence[str], most: int = 0) -> LabelledSet:
    """Read the labels of a set. names: of the classes, where the set names none. most: pictures to take, 0: all; of
    more a sample is taken, always the same, and with it all pictures that show what must be found.

    Raises UsageError: no labels, labels that are none, a class number without a name, what must be found isn't
    there, or is on more pictures than are to be taken.
    """
    must = _must_find(layout)
    chosen = _sample(layout, most, {entry.picture for entry in must})
    known = layout.names or tuple(names)
    pictures = [_read(picture, known, layout.where) for picture in chosen]
    if not any(p.labels for p in pictures):
        missing = (
            "no picture has a label file"
            if all(p.picture.labels is None for p in pictures)
            else "all are empty"
        )
        raise UsageError(
            f"golden set {layout.where}",
            f"has no labels: {missing}",
            "the labels of images/a.png belong into labels/a.txt, a line for each object",
        )
    return LabelledSet(
        layout, known, tuple(_marked(pictures, must, known, layout.where)), len(layout.pictures)
    )


def check_names(found: LabelledSet, names: Sequence[str], whose: str) -> None:
    """Raise UsageError, which names both, unless each class that the set shows is one of `names`."""
    if unknown := [name for name in found.shown if name not in names]:
        raise UsageError(
            f"golden set {found.layout.where}",
            f"shows {_list(unknown)}, which {whose} doesn't know; the set names {_list(found.names)}, {whose}"
            f" {_list(names)}",
            "give a set of the same classes: they are told by name, in any order",
        )


def _list(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(repr(name[:40]) for name in names[:_SHOWN]) + more


def _read(picture: Picture, names: Sequence[str], where: str) -> LabelledPicture:
    labels = parse_labels(read_text(picture.labels), str(picture.labels)) if picture.labels else ()
    if wrong := next((label for label in labels if label.cls >= len(names)), None):
        raise UsageError(
            f"label file {picture.labels}",
            f"has class {wrong.cls}, and {where} has {len(names)} names: {_list(names)}",
            "correct the label, or `names` in data.yaml",
        )
    return LabelledPicture(picture, labels, {})


def _sample(layout: Layout, most: int, must: set[str]) -> list[Picture]:
    """At most `most` of them, but those that must be seen in any case: by the hash of their names, so that the same are
    taken every time, and not the ones that happened to come first."""
    pictures = layout.pictures
    if not most or len(pictures) <= most:
        return list(pictures)
    needed = sum(any(_is_called(p, name) for name in must) for p in pictures)
    if needed > most:
        raise UsageError(
            f"{MUST_FIND} of {layout.where}",
            f"names objects on {needed} pictures, and max_pictures is {most}: each of them has to be looked at",
            f"set golden.max_pictures to {needed} or more, or name fewer",
        )
    order = sorted(
        pictures,
        key=lambda p: (
            not any(_is_called(p, name) for name in must),
            hashlib.sha256(p.name.encode()).digest(),
        ),
    )
    return sorted(order[:most], key=lambda p: p.name)


# -- what must be found ------------------------------------------------------------------------------


def _must_find(layout: Layout) -> tuple[MustFind, ...]:
    if layout.must_find is None:
        return ()
    return parse_must_find(read_yaml(layout.must_find), f"{MUST_FIND} of {layout.where}")


def _is_called(picture: Picture, name: str) -> bool:
    """Whether that is this picture's name, or a path that ends with it."""
    return picture.name == name or name.endswith(f"/{picture.name}") or picture.name.endswith(f"/{name}")


def _marked(
    pictures: Sequence[LabelledPicture], must: Sequence[MustFind], names: Sequence[str], where: str
) -> Iterator[LabelledPicture]:
    marks: dict[str, dict[int, str]] = {}
    for number, entry in enumerate(must, 1):
        what = f"{MUST_FIND} of {where}, entry {number}"
        found = [p for p in pictures if _is_called(p.picture, entry.picture)]
        if len(found) != 1:
            why = f"{entry.picture!r} is {'no picture' if not found else 'the name of several pictures'} of the set"
            raise UsageError(what, why, "name a picture by its path below images/")
        index = _object(found[0], entry, names, what)
        called = entry.name or f"object {number} of {MUST_FIND}"
        marks.setdefault(found[0].picture.name, {})[index] = called
    for p in pictures:
        yield replace(p, must=marks.get(p.picture.name, {}))


def _object(picture: LabelledPicture, entry: MustFind, names: Sequence[str], what: str) -> int:
    """The number of the label that is meant."""
    same = [i for i, label in enumerate(picture.labels) if names[label.cls] == entry.cls]
    if entry.box is None:
        if len(same) == 1:
            return same[0]
        why = f"{len(same)} objects of class {entry.cls!r} are labelled in {picture.picture.name}"
        raise UsageError(what, why, "say which with `box: [x, y, width, height]`" if same else "label it")
    x, y, width, height = entry.box
    wanted = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    shares = {i: iou(wanted, picture.labels[i].box(1, 1)) for i in same}
    best = max(same, key=lambda i: shares[i], default=None)
    if best is None or shares[best] < _SAME_BOX:
        why = f"no label of class {entry.cls!r} in {picture.picture.name} lies where its box is"
        raise UsageError(what, why, "correct the box, or label the object")
    return best
