# SPDX-License-Identifier: AGPL-3.0-or-later
"""Labelled pictures of the demo's line in the YOLO layout: what a site photographs once, and labels by hand."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import yaml

from edgeagent.demo.dataset import frame_indices
from edgeagent.scenes.carton import Image
from edgeagent.scenes.conveyor import CLASSES, Conveyor

LAB_LIGHT = (0.88, 1.0, 1.08)
"""Of a lamp that is warmer than the line's: factors of blue, green and red."""
WARM = 1.4
"""Red ÷ blue of a picture, on average: the demo's line stays below it, and most pictures in the lab's light above."""
_JPEG_QUALITY = 95


def write_golden_set(folder: Path, seeds: Iterable[int], frames: int, *, lab: bool = False) -> Path:
    """Write `frames` pictures of the line of each seed, as its camera gives them, with their truth, into `folder`
    (made); returns its `data.yaml`. lab: in the light of the lab, and none that is not warm. Raises OSError."""
    images, labels = folder / "images", folder / "labels"
    images.mkdir(parents=True)
    labels.mkdir()
    for seed in seeds:
        line, written = Conveyor(seed=seed), 0
        for index in frame_indices(seed, 10 * frames):
            image = _in_lab_light(line.frame(index)) if lab else line.frame(index)
            if lab and warmth(image) < WARM * 1.02:
                continue
            name = f"{seed}-{index:06d}"
            path = images / f"{name}.jpg"
            if not cv2.imwrite(str(path), image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]):
                raise OSError(f"cannot write {path}: is the disk full or the folder read-only?")
            (labels / f"{name}.txt").write_text("".join(_rows(line, index)), encoding="ascii")
            written += 1
            if written == frames:
                break
    data = folder / "data.yaml"
    description = {"path": ".", "val": "images", "names": dict(enumerate(CLASSES))}
    data.write_text(yaml.safe_dump(description, sort_keys=False), encoding="utf-8")
    return data


def warmth(image: Image) -> float:
    """Red ÷ blue of a BGR picture, on average."""
    blue, _, red = image.reshape(-1, 3).mean(axis=0)
    return float(red / blue)


def _in_lab_light(image: Image) -> Image:
    lit: Image = (image * np.array(LAB_LIGHT, np.float32)).clip(0, 255).astype(np.uint8)
    return lit


def _rows(line: Conveyor, index: int) -> Iterable[str]:
    for truth in line.truth(index):
        x0, y0, x1, y1 = (v / side for v, side in zip(truth.xyxy, (line.width, line.height) * 2, strict=True))
        yield f"{truth.cls} {(x0 + x1) / 2:.6f} {(y0 + y1) / 2:.6f} {x1 - x0:.6f} {y1 - y0:.6f}\n"
