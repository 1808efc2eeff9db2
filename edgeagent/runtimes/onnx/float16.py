# SPDX-License-Identifier: AGPL-3.0-or-later
"""An ONNX network in float16, but for its last steps: for runtimes that calculate in what the file says.

ONNX Runtime has a tool for it, which rounds to float16 between any two nodes, also those that it is told to leave.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import (
    GraphProto,
    NodeProto,
    TensorProto,
    helper,
    load_model,
    numpy_helper,
    save_model,
    shape_inference,
)

from edgeagent.errors import WeightsError

_CONVOLUTIONS = ("Conv", "ConvTranspose", "Gemm")
_LARGEST = float(np.finfo(np.float16).max)
# Inputs that are float32 whatever the picture is in, by kind of node.
_STAY = {"Resize": (1, 2), "Upsample": (1,)}


def to_float16(source: Path, target: Path) -> None:
    """Write `source` with weights and pictures in float16 up to its last convolutions; float32 in and out.

    What follows stays in float32: boxes in pixels need more digits than float16 has. Raises WeightsError, OSError.
    """
    model = load_model(source)
    graph = model.graph
    if any(a.HasField("g") or a.graphs for node in graph.node for a in node.attribute):
        raise WeightsError(f"weights {source}", "hold branches, which can't be made into float16", "use fp32")
    floats = _floats(shape_inference.infer_shapes(model).graph)
    early = _early(graph)
    stay = {node.input[i] for node in graph.node for i in _STAY.get(node.op_type, ()) if i < len(node.input)}
    floats -= stay
    read_early = {
        name for node, is_early in zip(graph.node, early, strict=True) if is_early for name in node.input
    }
    read_late = {
        name for node, is_early in zip(graph.node, early, strict=True) if not is_early for name in node.input
    }
    read_late |= {output.name for output in graph.output}

    weights = {tensor.name for tensor in graph.initializer}
    nodes = [
        helper.make_node("Cast", [picture.name], [_half(picture.name)], to=TensorProto.FLOAT16)
        for picture in graph.input
        if picture.name in floats - weights
    ]
    for node, is_early in zip(graph.node, early, strict=True):
        nodes.append(node)
        if is_early:
            nodes.extend(_node_to_float16(node, floats, read_late))
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    for tensor in list(graph.initializer):
        if tensor.name in floats & read_early:
            float16_file = graph.initializer.add() if tensor.name in read_late else tensor
            float16_file.CopyFrom(_tensor_to_float16(tensor))
            float16_file.name = _half(tensor.name)
    try:
        shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except shape_inference.InferenceError as e:
        why = " ".join(str(e).split())[:300]
        raise WeightsError(f"weights {source}", f"can't be made into float16 ({why})", "use fp32") from e
    save_model(model, target)


def _half(name: str) -> str:
    return f"{name}__half"


def _floats(graph: GraphProto) -> set[str]:
    """Names of the values that are float32."""
    floats = {tensor.name for tensor in graph.initializer if tensor.data_type == TensorProto.FLOAT}
    for value in (*graph.input, *graph.value_info, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT:
            floats.add(value.name)
    return floats


def _early(graph: GraphProto) -> list[bool]:
    """For each node whether it is a convolution with weights of the network, or leads to one.

    One with a single filter is the sum that turns a distribution over distances into a distance: a last step.
    """
    filters = {tensor.name: tensor.dims for tensor in graph.initializer}
    leads_on: set[str] = set()  # values on whose way on there is a convolution
    early = []
    for node in reversed(graph.node):
        convolves = node.op_type in _CONVOLUTIONS and any(
            len(filters.get(name, ())) > 1 and filters[name][0] > 1 for name in node.input
        )
        early.append(convolves or not leads_on.isdisjoint(node.output))
        if early[-1]:
            leads_on.update(node.input)
    return early[::-1]


def _node_to_float16(node: NodeProto, floats: set[str], read_late: set[str]) -> list[NodeProto]:
    """Let the node calculate in float16; the casts back, for the last steps."""
    for i, name in enumerate(node.input):
        if name in floats and i not in _STAY.get(node.op_type, ()):
            node.input[i] = _half(name)
    made = [name for name in node.output if name in floats]
    for i, name in enumerate(node.output):
        if name in made:
            node.output[i] = _half(name)
    for attribute in node.attribute if made else ():
        if attribute.name == "to" and node.op_type == "Cast":
            attribute.i = TensorProto.FLOAT16
        elif attribute.HasField("t") and attribute.t.data_type == TensorProto.FLOAT:
            attribute.t.CopyFrom(_tensor_to_float16(attribute.t))
    return [
        helper.make_node("Cast", [_half(name)], [name], to=TensorProto.FLOAT)
        for name in made
        if name in read_late
    ]


def _tensor_to_float16(tensor: TensorProto) -> TensorProto:
    """The numbers in float16; the few that are too large become the largest."""
    numbers = np.clip(numpy_helper.to_array(tensor), -_LARGEST, _LARGEST)
    return numpy_helper.from_array(numbers.astype(np.float16), tensor.name)
