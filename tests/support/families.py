# SPDX-License-Identifier: AGPL-3.0-or-later
"""The detection families of ultralytics as it builds them, made tiny, with weights that find something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeagent.runtimes.detection.letterbox import Letterbox

FAMILIES = ("yolov5", "yolov8", "yolov9t", "yolov10n", "yolo11", "yolo12", "yolo26")
HEADS = ("yolov8", "yolov10n", "yolo26")
"""One family of each kind of head: that of 8, which most share, that of 10, and that of 26, which has no distribution
over distances."""
NAMES = ("scratch", "dent", "label")
# Depth, width and most channels; attention blocks need an eighth of the full width, those of 12 a quarter.
_TINY = {"n": [0.33, 0.125, 1024]}
_TINY_OF = {"yolov9t": {"n": [0.33, 0.75, 1024]}, "yolo12": {"n": [0.33, 0.25, 1024]}}
_FOUND = 0.02  # of all cells, on the calibration pictures


def family_pt(name: str, path: Path, size: int) -> Path:
    """A checkpoint of the family `name` for pictures of `size` pixels a side, written to `path`. Imports torch."""
    import edgeagent.runtimes.torch.checkpoint  # noqa: F401  (sets how ultralytics may behave, so it comes first)

    # isort: split
    import torch
    import ultralytics
    from ultralytics.nn.tasks import DetectionModel, yaml_model_load

    torch.manual_seed(0)
    models = Path(ultralytics.__file__).parent / "cfg" / "models"
    config = yaml_model_load(next(file for file in models.rglob(f"{name}.yaml")))
    config.update(scales=_TINY_OF.get(name, _TINY), scale="n")
    for layer in config["backbone"] + config["head"]:
        if layer[2] == "RepNCSPELAN4":  # of 9, whose smallest is given in numbers: it repeats within itself
            layer[3][-1] = 1
    model = DetectionModel(config, nc=len(NAMES), verbose=False)
    _wake(model, size)
    model.names = dict(enumerate(NAMES))
    model.task = "detect"
    model.args = {"imgsz": size, "task": "detect"}
    torch.save({"model": model, "train_args": {"imgsz": size, "task": "detect"}}, path)
    return path


def pictures() -> list[NDArray[np.uint8]]:
    """Three pictures in colour with large and small shapes: wide, tall, and square."""
    import cv2

    random = np.random.default_rng(7)
    sizes = ((120, 200), (210, 97), (160, 160))
    found = []
    for height, width in sizes:
        coarse = random.integers(0, 255, (9, 9, 3), np.uint8)
        fine = random.integers(0, 60, (height, width, 3), np.uint8)
        found.append(cv2.add(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), fine))
    return found


def _wake(model: Any, size: int) -> None:
    """Untrained layers pass on almost nothing: give them the spread of trained ones, and the head a threshold."""
    import torch
    from torch import nn

    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0.0, 0.3)
            layer.momentum = None  # the mean over all batches that follow
            layer.reset_running_stats()
    letterbox = Letterbox((size, size))
    seen = []
    for picture in pictures():
        letterbox.fill(picture)
        seen.append(letterbox.tensor.copy())
    batch = torch.from_numpy(np.concatenate(seen))
    head = model.model[-1]
    with torch.no_grad():
        model.train()
        for _ in range(3):
            model(batch + torch.randn_like(batch) * 0.05)
        model.eval()
        given = _given_to_head(model, batch)
        for boxes, classes in _branches(head):
            for features, box, cls in zip(given, boxes, classes, strict=True):
                # Scores that are far from each other, and as many above 0.25 as a threshold is for.
                _spread(cls[-1], cls(features), 1.5)
                cls[-1].bias -= torch.quantile(cls(features), 1 - _FOUND) + np.log(3.0)
                _spread(box[-1], box(features), 0.3)
                # Sides of about two cells, so that not every box overlaps every other, and none is inside out.
                nearest = -0.7 * torch.arange(head.reg_max) if head.reg_max > 1 else 1.5 * torch.ones(1)
                box[-1].bias[:] = nearest.repeat(4)


def _spread(layer: Any, outputs: Any, wanted: float) -> None:
    """Scale the layer's filters so that each channel of its outputs deviates by `wanted`, around zero."""
    scale = wanted / (outputs.std(dim=(0, 2, 3)) + 1e-6)
    layer.weight *= scale[:, None, None, None]
    layer.bias[:] = (layer.bias - outputs.mean(dim=(0, 2, 3))) * scale


def _branches(head: Any) -> list[tuple[Any, Any]]:
    found = [(head.cv2, head.cv3)]
    if getattr(head, "one2one_cv2", None) is not None:
        found.append((head.one2one_cv2, head.one2one_cv3))
    return found


def _given_to_head(model: Any, batch: Any) -> list[Any]:
    seen: list[Any] = []
    hook = model.model[-1].register_forward_pre_hook(lambda _head, given: seen.extend(given[0]))
    model(batch)
    hook.remove()
    return seen
