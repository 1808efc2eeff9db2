# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tiny weights of every kind, good and bad, built in milliseconds. Each builder writes `path` and returns it."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from edgeagent.runtimes.detection.layouts import LAYOUTS

NAMES = ("scratch", "dent", "label")
SIZE = 64  # pixels a side; strides 8, 16 and 32 give 84 cells
STRIDE = 32
END_TO_END_ROWS = 300

# One object in the middle of the picture: centre x, centre y, width, height (pixels of the input), score, class id.
Box = tuple[float, float, float, float, float, int]
ONE_BOX: tuple[Box, ...] = ((32.0, 32.0, 16.0, 16.0, 0.9, 0),)


def detection_onnx(
    path: Path,
    boxes: Sequence[Box] = ONE_BOX,
    *,
    head: str = "v8",
    names: Sequence[str] = NAMES,
    size: int = SIZE,
    task: str = "detect",
    brightness_moves: float = 0.0,
    metadata: Mapping[str, str | None] | None = None,
) -> Path:
    """A network that finds `boxes` in every picture, with the output layout `head` ("v8", "v5" or "end2end").

    brightness_moves: pixels of the input by which a white picture moves the boxes to the right, a black one by none.
    metadata: entries to replace in what ultralytics writes, or to leave out (None).
    """
    output = _output(boxes, head, len(names), size)
    # Depends on the input, so that no runtime can compute it once and for all.
    moves = np.zeros_like(output)
    columns = moves[:, 0, :] if LAYOUTS[head].channels_first else moves[:, :, 0]
    columns += brightness_moves
    if LAYOUTS[head].corners:
        moves[:, :, 2] = brightness_moves
    return _save_network(path, output, moves, names, size, task, metadata)


def nan_onnx(path: Path) -> Path:
    """A network whose every number is NaN."""
    output = np.full_like(_output((), "v8", len(NAMES), SIZE), np.nan)
    return _save_network(path, output, np.zeros_like(output), NAMES, SIZE, "detect", None)


def headless_onnx(path: Path) -> Path:
    """A network whose output no detection head has."""
    output = np.zeros((1, 17, 9), np.float32)
    return _save_network(path, output, output, NAMES, SIZE, "detect", None)


def external_data_onnx(path: Path) -> Path:
    """A network whose weights lie in a second file, `weights.bin`, beside it."""
    model = onnx.load(detection_onnx(path))
    onnx.save(
        model,
        path,
        save_as_external_data=True,
        location="weights.bin",
        size_threshold=0,
        convert_attribute=False,
    )
    return path


def never_ending_onnx(path: Path, turns: int = np.iinfo(np.int64).max) -> Path:
    """A network that loads, and then infers for centuries; or as long as so many turns of about a microsecond take."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("Sin", ["state"], ["state_out"]),
        ],
        "again",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1, 1, 1]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", TensorProto.FLOAT, [1, 1, 1]),
        ],
    )
    nodes = [
        _constant("turns", np.array(turns, np.int64)),
        _constant("yes", np.array(True)),
        helper.make_node("Loop", ["turns", "yes", "mean"], ["bad"], body=body),
    ]
    return _save_bad(path, nodes)


def crashing_onnx(path: Path) -> Path:
    """A network that loads, and then ends its process by signal (SIGFPE: the quotient of -2³¹ and -1 is no int32)."""
    nodes = [
        helper.make_node("Cast", ["mean"], ["whole"], to=TensorProto.INT32),
        helper.make_node("Sub", ["whole", "whole"], ["zero"]),
        _constant("least", np.array(np.iinfo(np.int32).min, np.int32)),
        _constant("minus_one", np.array(-1, np.int32)),
        helper.make_node("Add", ["zero", "least"], ["dividend"]),
        helper.make_node("Add", ["zero", "minus_one"], ["divisor"]),
        helper.make_node("Div", ["dividend", "divisor"], ["quotient"]),
        helper.make_node("Cast", ["quotient"], ["bad"], to=TensorProto.FLOAT),
    ]
    return _save_bad(path, nodes)


def memory_eating_onnx(path: Path) -> Path:
    """A network that loads, and then takes 256 MB after 256 MB until somebody stops it."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            _constant("many", np.array([64 << 20])),
            helper.make_node("Expand", ["state", "many"], ["piece"]),
            helper.make_node("Identity", ["state"], ["state_out"]),
        ],
        "more",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [1]),
        ],
        [
            helper.make_tensor_value_info("go_on_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("piece", TensorProto.FLOAT, [64 << 20]),
        ],
    )
    nodes = [
        _constant("turns", np.array(4096)),
        _constant("yes", np.array(True)),
        _constant("one", np.array([1])),
        helper.make_node("Reshape", ["mean", "one"], ["seed"]),
        helper.make_node("Loop", ["turns", "yes", "seed"], ["state_end", "pieces"], body=body),
        _constant("first", np.array([0, 0])),
        helper.make_node("GatherND", ["pieces", "first"], ["bad"]),
    ]
    return _save_bad(path, nodes)


def garbage(path: Path) -> Path:
    """Bytes that are no weights at all."""
    path.write_bytes(b"these are no weights\n" * 100)
    return path


def checkpoint_pt(path: Path, names: Sequence[str] = NAMES, size: int = SIZE) -> Path:
    """A tiny untrained detection network as ultralytics saves one. Imports torch."""
    import torch

    torch.save({"model": tiny_network(names, size), "train_args": {"imgsz": size}}, path)
    return path


def exported_onnx(path: Path, names: Sequence[str] = NAMES, size: int = SIZE) -> Path:
    """The network of `checkpoint_pt` as ONNX. Imports torch."""
    import torch

    network = tiny_network(names, size).eval().fuse(verbose=False)
    network.model[-1].export = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the exporter that needs no further package
        torch.onnx.export(network, (torch.zeros(1, 3, size, size),), path, dynamo=False, opset_version=17)
    model = onnx.load(path)
    helper.set_model_props(model, _metadata(names, size, "detect"))
    onnx.save(model, path)
    return path


def openvino_ir(path: Path, source: Path) -> Path:
    """The ONNX file `source` in OpenVINO's own format: `path` (`.xml`) and the `.bin` beside it."""
    import edgeagent.runtimes.openvino.runtime  # noqa: F401  (keeps OpenVINO from reporting home)

    # isort: split
    import openvino

    openvino.save_model(openvino.Core().read_model(source), path, compress_to_fp16=False)
    return path


def tiny_network(names: Sequence[str] = NAMES, size: int = SIZE) -> Any:
    """The network of `checkpoint_pt`: an ultralytics DetectionModel with strides 8, 16 and 32. Imports torch."""
    import edgeagent.runtimes.torch.checkpoint  # noqa: F401  (sets how ultralytics may behave, so it comes first)

    # isort: split
    import torch
    from ultralytics.nn.tasks import DetectionModel

    torch.manual_seed(0)
    convs = [[-1, 1, "Conv", [8, 3, 2]] for _ in range(5)]
    model = DetectionModel(
        {"backbone": convs, "head": [[[2, 3, 4], 1, "Detect", ["nc"]]], "nc": len(names), "scales": None},
        verbose=False,
    )
    for layer in model.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.constant_(
                layer.weight, 4.0
            )  # untrained, it would pass on next to nothing of the picture
    for scores in model.model[-1].cv3:
        torch.nn.init.constant_(scores[-1].bias, -2.0)  # and would be sure that nothing is there
    model.names = dict(enumerate(names))
    model.task = "detect"
    model.args = {"imgsz": size}
    return model


def evil_pt(path: Path, marker: Path) -> Path:
    """A checkpoint that, unpickled the plain way, runs a command that creates `marker`. Imports torch."""
    import torch

    class Command:
        def __reduce__(self) -> tuple[object, ...]:
            return os.system, (f"touch '{marker}'",)

    torch.save({"model": Command(), "train_args": {"imgsz": SIZE}}, path)
    return path


def _output(boxes: Sequence[Box], head: str, classes: int, size: int) -> NDArray[np.float32]:
    """The raw output, batch included, that says `boxes` in the layout `head`."""
    layout = LAYOUTS[head]
    cells = sum((size // stride) ** 2 for stride in (8, 16, 32))
    rows = np.zeros((layout.rows_per_cell * cells or END_TO_END_ROWS, layout.channels(classes)), np.float32)
    for row, (x, y, width, height, score, cls) in zip(rows, boxes, strict=False):
        if layout.corners:
            row[:4] = x - width / 2, y - height / 2, x + width / 2, y + height / 2
        else:
            row[:4] = x, y, width, height
        if layout.ranked:
            row[4:] = score, cls
        elif layout.objectness:
            row[4], row[5 + cls] = score, 1.0
        else:
            row[4 + cls] = score
    return (rows.T if layout.channels_first else rows)[None].copy()


def _save_bad(path: Path, nodes: Sequence[NodeProto]) -> Path:
    """A network with a sane head, whose output waits for `bad`, which `nodes` make out of `mean`."""
    output = _output((), "v8", len(NAMES), SIZE)
    return _save_network(path, output, np.zeros_like(output), NAMES, SIZE, "detect", None, nodes)


def _save_network(
    path: Path,
    output: NDArray[np.float32],
    moves: NDArray[np.float32],
    names: Sequence[str],
    size: int,
    task: str,
    metadata: Mapping[str, str | None] | None,
    bad: Sequence[NodeProto] = (),
) -> Path:
    """output + moves × (mean of the input), or with `bad` nodes output + moves × bad; with ultralytics' metadata."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean_4d"], axes=[1, 2, 3], keepdims=1),
        _constant("shape_3d", np.array([1, 1, 1])),
        helper.make_node("Reshape", ["mean_4d", "shape_3d"], ["mean"]),
        *bad,
        helper.make_node("Mul", ["moves", "bad" if bad else "mean"], ["moved"]),
        helper.make_node("Add", ["fixed", "moved"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, size, size])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(output.shape))],
        [numpy_helper.from_array(output, "fixed"), numpy_helper.from_array(moves, "moves")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    entries = {**_metadata(names, size, task), **(metadata or {})}
    helper.set_model_props(model, {k: v for k, v in entries.items() if v is not None})
    onnx.save(model, path)
    return path


def _metadata(names: Sequence[str], size: int, task: str) -> dict[str, str]:
    """What ultralytics writes beside the weights."""
    return {
        "task": task,
        "names": repr(dict(enumerate(names))),
        "imgsz": repr([size, size]),
        "stride": str(STRIDE),
        "batch": "1",
    }


def _constant(name: str, value: NDArray[np.generic]) -> NodeProto:
    return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value, name))
