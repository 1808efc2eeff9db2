# SPDX-License-Identifier: AGPL-3.0-or-later
"""Data sets in the YOLO layout, of grey pictures, for the tiny weights of `tests.support.weights`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import yaml

from tests.support.weights import NAMES, SIZE

MIDDLE = (0.5, 0.5, 0.25, 0.25)
"""Where `detection_onnx` finds its one object: centre, width and height as shares of the picture."""


def labels(*classes: int, box: Sequence[float] = MIDDLE) -> str:
    """A line for each object, all in one place."""
    return "".join(f"{cls} {' '.join(f'{share:g}' for share in box)}\n" for cls in classes)


def write_picture(path: Path, shade: int = 114, size: int = SIZE) -> None:
    """A square of one shade."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size, size, 3), shade, np.uint8))


def golden_set(
    folder: Path,
    pictures: int = 20,
    *classes: int,
    names: Sequence[str] | None = NAMES,
    text: str | None = None,
) -> Path:
    """A set of `pictures`, each with an object of each class in the middle; with a data.yaml unless `names` is None.

    text: of every label file, in the place of that. Returns the folder.
    """
    for n in range(pictures):
        write_picture(folder / f"images/{n:04}.png", shade=n % 256)
        path = folder / f"labels/{n:04}.txt"
        path.parent.mkdir(exist_ok=True)
        path.write_text(labels(*(classes or (0,))) if text is None else text)
    if names is not None:
        description = {"val": "images", "names": dict(enumerate(names))}
        (folder / "data.yaml").write_text(yaml.safe_dump(description))
    return folder
