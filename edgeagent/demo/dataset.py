# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rendered frames of the demo's line, written as a YOLO data set: the parts of a split are its seeds."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import yaml

from edgeagent.scenes.conveyor import CLASSES, Conveyor

IMGSZ = 320  # the models' input side; a frame of 640×360 arrives there as 320×180
TRAIN_SEEDS = range(1000, 1040)
UNSEEN_SEEDS = range(2000, 2010)


def frame_indices(seed: int, frames: int) -> list[int]:
    """Which frames of a seed to take: about two seconds apart, so that most parts and the light differ."""
    steps = np.random.default_rng(seed).integers(37, 90, frames)
    return [int(index) for index in np.cumsum(steps)]


def write_split(folder: Path, split: str, seeds: Iterable[int], frames: int, *, tiny: bool = True) -> None:
    """Write `frames` frames of each seed under `folder`/images/`split`, their labels under labels/`split`.

    Frames are reduced to the size at which an engine would show them to the model. With `tiny` false the tiny
    defects stay in the pixels and out of the labels. Raises OSError where a file cannot be written.
    """
    images, labels = folder / "images" / split, folder / "labels" / split
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        line = Conveyor(seed=seed)
        scale = np.array((line.width, line.height) * 2, float)
        size = (IMGSZ, round(line.height * IMGSZ / line.width))
        for index in frame_indices(seed, frames):
            name = f"{seed}-{index:06d}"
            small = cv2.resize(line.frame(index), size, interpolation=cv2.INTER_LINEAR)
            if not cv2.imwrite(str(images / f"{name}.png"), small):
                raise OSError(f"cannot write {images / name}.png: is the disk full or the folder read-only?")
            rows = []
            for truth in line.truth(index):
                if tiny or not truth.tiny:
                    x0, y0, x1, y1 = np.array(truth.xyxy) / scale
                    rows.append(
                        f"{truth.cls} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}"
                    )
            (labels / f"{name}.txt").write_text("\n".join(rows), encoding="ascii")


def write_yaml(folder: Path) -> Path:
    """Write and return the data set's description for ultralytics."""
    description = {
        "path": str(folder.resolve()),
        "train": "images/train",
        "val": "images/val",
        "names": dict(enumerate(CLASSES)),
    }
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return path
