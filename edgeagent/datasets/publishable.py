# SPDX-License-Identifier: AGPL-3.0-or-later
"""A data set in the form in which it travels with a version: `data.yaml`, `images/`, `labels/`, `must_find.yaml`.

Wherever its files lay before, and whatever its data.yaml said: on a node there is only what came along.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import yaml

from edgeagent.core.model import path_fault
from edgeagent.datasets.labelled import LabelledPicture, LabelledSet
from edgeagent.datasets.layout import DESCRIPTION, MUST_FIND
from edgeagent.errors import UsageError

MAX_PUBLISHED = 1000
"""Pictures of a set that travels with a version: every node fetches and keeps them."""
_TOLD_EVERY = 20


def publishable(found: LabelledSet, folder: Path) -> dict[str, Path]:
    """The files of a set by path; those that have to be written are written into `folder`. Raises UsageError (too many,
    names that can't be published), OSError."""
    check_size(found)
    files: dict[str, Path] = {}
    for picture in found.pictures:
        name = picture.picture.name
        if fault := path_fault(name):
            raise UsageError(
                f"picture {picture.picture.path}", f"its name {fault}", "rename it, and publish again"
            )
        files[f"images/{name}"] = picture.picture.path
        if picture.picture.labels and picture.picture.labels.stat().st_size:  # no empty file can be published
            files[f"labels/{PurePosixPath(name).with_suffix('.txt')}"] = picture.picture.labels
    description = {"val": "images", "names": dict(enumerate(found.names))}
    files[DESCRIPTION] = _written(folder / DESCRIPTION, description)
    if must := [entry for picture in found.pictures for entry in _must_find(picture, found.names)]:
        files[MUST_FIND] = _written(folder / MUST_FIND, must)
    return files


def check_size(found: LabelledSet) -> None:
    """Raise UsageError for more pictures than may travel."""
    if (count := len(found.pictures)) > MAX_PUBLISHED:
        size = sum(p.picture.path.stat().st_size for p in found.pictures)
        raise UsageError(
            f"golden set {found.layout.where}",
            f"holds {count} pictures of {size / 1e6:.0f} MB, which every node would fetch and keep; at most"
            f" {MAX_PUBLISHED} travel with a version",
            "publish a part of it, or lay it on the nodes and name it in update.golden, which may be as large as it is",
        )


def check_pictures(found: LabelledSet, on_progress: Callable[[int, int], None]) -> None:
    """Open every picture. on_progress(done, total): called now and then. Raises UsageError for one that can't be."""
    from edgeagent.datasets.pictures import read_picture

    total = len(found.pictures)
    for number, picture in enumerate(found.pictures):
        if number % _TOLD_EVERY == 0:
            on_progress(number, total)
        read_picture(picture.picture.path)
    on_progress(total, total)


def _must_find(picture: LabelledPicture, names: tuple[str, ...]) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    for index, called in picture.must.items():
        label = picture.labels[index]
        width, height = label.x2 - label.x1, label.y2 - label.y1
        box = [label.x1 + width / 2, label.y1 + height / 2, width, height]
        entries.append(
            {"picture": picture.picture.name, "class": names[label.cls], "box": box, "name": called}
        )
    return entries


def _written(path: Path, values: object) -> Path:
    path.write_text(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path
