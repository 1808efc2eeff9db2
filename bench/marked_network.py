# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tiny weights that find one object in every picture, at a place that tells them from all others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeagent.core.model import Contract
from edgeagent.runtimes.port import ModelMetadata

SIZE, STRIDE = 64, 32
"""Of the input, in pixels."""
METADATA = ModelMetadata(Contract("detect", ("mark",), (SIZE, SIZE), STRIDE), "onnx")
_CELLS = sum((SIZE // stride) ** 2 for stride in (8, 16, 32))


def marked_network(path: Path, centre: float) -> Path:
    """Write weights to `path` that find a square of 8 pixels whose centre is `centre` pixels from the left."""
    output = np.zeros((1, 5, _CELLS), np.float32)
    output[0, :, 0] = centre, SIZE / 2, 8, 8, 0.9
    nothing = numpy_helper.from_array(np.zeros(1, np.float32), "nothing")
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["mean"], axes=[1, 2, 3], keepdims=0),
            helper.make_node("Mul", ["mean", "nothing"], ["no_change"]),
            helper.make_node("Add", ["fixed", "no_change"], ["output0"]),
        ],
        "marked",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, list(output.shape))],
        [numpy_helper.from_array(output, "fixed"), nothing],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    names = {"task": "detect", "names": "{0: 'mark'}", "imgsz": f"[{SIZE}, {SIZE}]", "stride": str(STRIDE)}
    helper.set_model_props(model, names)
    onnx.save(model, path)
    return path
