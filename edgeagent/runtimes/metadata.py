# SPDX-License-Identifier: AGPL-3.0-or-later
"""What exporters write beside the weights (task, class names, input size, stride), made into ModelMetadata."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence

from edgeagent.core.model import MAX_CLASSES, MAX_IMGSZ, Contract
from edgeagent.errors import WeightsError
from edgeagent.runtimes.detection.layouts import choose_layout
from edgeagent.runtimes.port import ModelMetadata

MAX_METADATA_CHARS = 4 << 20  # one value; room for MAX_CLASSES long names
_EXPORT_ANEW = "export the model with ultralytics, for the task detect"
_DETECT_HEADS = ("Detect", "v10Detect")


def parse_metadata(
    meta: Mapping[str, str],
    input_shape: Sequence[int | None],
    output_shape: Sequence[int | None],
    file_format: str,
) -> ModelMetadata:
    """The metadata of an exported network, out of its metadata and the shapes of its first input and output.

    None in a shape is a size that the graph leaves open; an empty `output_shape` is unknown altogether, and so is an
    empty `input_shape`.
    A missing `task` means detect, as in YOLOv5's exports. Raises WeightsError.
    """
    task = meta.get("task", "detect")
    names = class_names(_literal(meta, "names"))
    imgsz = _input_size(meta, input_shape)
    stride = _whole(_literal(meta, "stride"))
    if type(stride) is not int or not 1 <= stride <= 256:
        raise WeightsError(
            "metadata of the weights", f"stride is {stride!r}, not a whole number from 1 to 256", _EXPORT_ANEW
        )
    layout = None
    if task == "detect":
        kind = meta.get("head", "Detect")
        if kind not in _DETECT_HEADS:
            raise WeightsError(
                "metadata of the weights",
                f"head is {kind!r}, known are {', '.join(_DETECT_HEADS)}",
                _EXPORT_ANEW,
            )
        if output_shape and None not in output_shape[1:]:
            layout = choose_layout(output_shape, len(names), imgsz, stride).name
    batches = bool(input_shape) and input_shape[0] is None and not has_nms(meta)
    return ModelMetadata(Contract(task, names, imgsz, stride), file_format, layout, batches)


def has_nms(meta: Mapping[str, str]) -> bool:
    """Whether non-maximum suppression was exported with the network. Ultralytics unrolls it for each picture of the
    export's batch; a further one would get no boxes, silently. Raises WeightsError."""
    arguments = _literal(meta, "args") if "args" in meta else {}
    return isinstance(arguments, dict) and bool(arguments.get("nms"))


def class_names(value: object) -> tuple[str, ...]:
    """Class names in order, from a list or from `{0: "a", 1: "b"}`. Raises WeightsError."""
    if isinstance(value, dict):
        if sorted(value, key=str) != sorted(range(len(value)), key=str):
            raise WeightsError(
                "class names of the weights", "are not numbered from 0 without gaps", _EXPORT_ANEW
            )
        value = [value[i] for i in range(len(value))]
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= MAX_CLASSES:
        raise _no_names()
    for number, name in enumerate(value):
        if name is None or isinstance(name, (bool, int, float)):
            raise WeightsError(
                "class names of the weights",
                f"class {number} is {name!r}, no text: YAML takes no, yes, null and digits for values",
                "put it in quotes in data.yaml, and train or export again",
            )
        if not isinstance(name, str) or not 0 < len(name) <= 200:
            raise _no_names()
    return tuple(value)


def _no_names() -> WeightsError:
    return WeightsError(
        "class names of the weights",
        f"are not 1 to {MAX_CLASSES} texts of at most 200 characters",
        _EXPORT_ANEW,
    )


def _literal(meta: Mapping[str, str], key: str) -> object:
    text = meta.get(key)
    if text is None:
        raise WeightsError("metadata of the weights", f"{key} is missing", _EXPORT_ANEW)
    if len(text) > MAX_METADATA_CHARS:
        raise WeightsError("metadata of the weights", f"{key} has {len(text)} characters", _EXPORT_ANEW)
    try:
        value: object = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as e:
        raise WeightsError(
            "metadata of the weights", f"{key} can't be read ({type(e).__name__})", _EXPORT_ANEW
        ) from e
    return value


def _input_size(meta: Mapping[str, str], shape: Sequence[int | None]) -> tuple[int, int]:
    shown = "×".join("?" if n is None else str(n) for n in shape)
    if len(shape) == 4 and shape[1] not in (3, None):
        raise WeightsError(
            f"input of shape {shown}",
            f"takes pictures of {shape[1]} channel{'' if shape[1] == 1 else 's'}; three channels are needed (colour)",
            "train it with `channels: 3` in data.yaml; a camera without colour gives three equal ones",
        )
    if shape and (len(shape) != 4 or shape[0] not in (1, None)):
        raise WeightsError(
            f"input of shape {shown}",
            "is not one picture in colour, 1×3×height×width",
            "export with batch=1, or with dynamic=True",
        )
    height, width = shape[2:] if shape else (None, None)
    if height is None or width is None:
        size = _whole(_literal(meta, "imgsz"))
        height, width = (size, size) if isinstance(size, int) else _pair(size)
    if not all(32 <= n <= MAX_IMGSZ for n in (height, width)):
        raise WeightsError(
            f"input of {height}×{width} pixels", f"a side is not from 32 to {MAX_IMGSZ}", _EXPORT_ANEW
        )
    return height, width


def _whole(value: object) -> object:
    """The int that a float like 32.0 is; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _pair(size: object) -> tuple[int, int]:
    if isinstance(size, (list, tuple)):
        match [_whole(side) for side in size]:
            case [int(height), int(width)]:
                return height, width
    raise WeightsError(
        "metadata of the weights", f"imgsz is {str(size)[:40]!r}, not [height, width]", _EXPORT_ANEW
    )
