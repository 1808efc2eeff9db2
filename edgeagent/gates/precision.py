# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mean average precision by faster-coco-eval: COCO's figures, to compare with those that a training prints."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from edgeagent.core.golden import Box, GoldenObject
from edgeagent.errors import MissingExtraError

LOWEST = 0.001
"""The confidence down to which it looks, as ultralytics does."""


def is_installed() -> bool:
    """Whether the package is here."""
    return find_spec("faster_coco_eval") is not None


def missing_extra() -> MissingExtraError:
    """For whoever needs the figures, and not only shows them."""
    return MissingExtraError(
        "mean average precision",
        "faster-coco-eval is not installed",
        "install the extra: pip install 'edgeagent[evaluate]', or leave out min_map50 and min_map50_95",
    )


def mean_average_precision(
    objects: Sequence[Sequence[GoldenObject]], boxes: Sequence[Sequence[Box]]
) -> dict[str, float]:
    """`map50` (IoU 0.5) and `map50_95` (mean over IoU 0.5, 0.55, … 0.95) over all classes that are shown, by picture.

    boxes: all above LOWEST, at most 100 of a picture count. Raises MissingExtraError.
    """
    if not is_installed():
        raise missing_extra()
    from faster_coco_eval import COCO, COCOeval_faster

    truth = COCO(_truth(objects))
    found = truth.loadRes(_found(boxes))
    evaluation = COCOeval_faster(truth, found, "bbox", print_function=_quiet)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    every, half = evaluation.stats[:2]
    return {"map50": round(float(half), 6), "map50_95": round(float(every), 6)}


def _truth(objects: Sequence[Sequence[GoldenObject]]) -> dict[str, object]:
    """In COCO's form: pictures and annotations are numbered, and a box is x, y, width, height."""
    annotations: list[dict[str, object]] = []
    for picture, shown in enumerate(objects):
        for o in shown:
            x1, y1, x2, y2 = o.box
            size = (x2 - x1, y2 - y1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": picture,
                    "category_id": o.cls,
                    "bbox": [x1, y1, *size],
                    "area": size[0] * size[1],
                    "iscrowd": 0,
                }
            )
    classes = sorted({o.cls for shown in objects for o in shown})
    return {
        "info": {},
        "images": [{"id": picture} for picture in range(len(objects))],
        "categories": [{"id": cls, "name": str(cls)} for cls in classes],
        "annotations": annotations,
    }


def _found(boxes: Sequence[Sequence[Box]]) -> list[dict[str, object]]:
    return [
        {
            "image_id": picture,
            "category_id": box.cls,
            "bbox": [box.x1, box.y1, box.x2 - box.x1, box.y2 - box.y1],
            "score": box.score,
        }
        for picture, of_picture in enumerate(boxes)
        for box in of_picture
        if box.cls is not None
    ]


def _quiet(*_: object) -> None:
    """Instead of print."""
