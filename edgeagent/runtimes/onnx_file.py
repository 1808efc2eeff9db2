# SPDX-License-Identifier: AGPL-3.0-or-later
"""ONNX files, read without running them: what they say of themselves, and what they may not hold.

Shared by all runtimes that load ONNX or build from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.errors import UnavailableError, WeightsError
from edgeagent.runtimes.metadata import parse_metadata
from edgeagent.runtimes.port import ModelMetadata, WeightFiles

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

MAX_ONNX_BYTES = (2 << 30) - 1  # what one protobuf message can hold


def read_metadata(weights: WeightFiles) -> ModelMetadata:
    """Raises WeightsError (no ONNX, unsafe, no detection network), UnavailableError (disk)."""
    path = weights.path
    try:
        size = path.stat().st_size
        if size > MAX_ONNX_BYTES:
            raise WeightsError(f"weights {path}", f"{size} bytes are more than an ONNX file can hold")
        content = path.read_bytes()
    except OSError as e:
        raise UnavailableError(f"weights {path}", str(e)) from e
    model = _parse(content, path)
    graph = model.graph
    if not graph.node or not graph.output:
        raise WeightsError(f"weights {path}", "hold no network", "export them anew")
    _refuse_unsafe(model, path)
    # Before ONNX 4 the weights were listed among the inputs.
    numbers = {tensor.name for tensor in graph.initializer}
    inputs = [i for i in graph.input if i.name not in numbers]
    if len(inputs) != 1:
        raise WeightsError(f"weights {path}", f"the network has {len(inputs)} inputs, not one picture")
    meta = {entry.key: entry.value for entry in model.metadata_props}
    return parse_metadata(meta, _shape(inputs[0]), _shape(graph.output[0]), "onnx")


def refuse_external_data(content: bytes, path: Path) -> None:
    """Raise WeightsError when a tensor of the ONNX file `content` lies in another file.

    For runtimes that would go and get it. Quick, as such a tensor can't do without the key `location`.
    """
    if b"location" in content:
        _refuse_unsafe(_parse(content, path), path)


def _parse(content: bytes, path: Path) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return onnx.load_model_from_string(content)
    except DecodeError as e:
        raise WeightsError(f"weights {path}", "are not an ONNX model", "export them anew") from e


def _shape(value: ValueInfoProto) -> tuple[int | None, ...]:
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.HasField("dim_value") and d.dim_value > 0 else None for d in dims)


def _refuse_unsafe(model: ModelProto, path: Path) -> None:
    """External data can name any path of this machine; a sparse tensor can unfold to any size."""
    from onnx import TensorProto

    for graph in _graphs(model):
        attributes = [a for node in graph.node for a in node.attribute]
        if graph.sparse_initializer or any(
            a.HasField("sparse_tensor") or a.sparse_tensors for a in attributes
        ):
            raise WeightsError(f"weights {path}", "hold sparse tensors", "export them with dense weights")
        tensors = [
            *graph.initializer,
            *(a.t for a in attributes),
            *(t for a in attributes for t in a.tensors),
        ]
        for tensor in tensors:
            if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
                raise WeightsError(
                    f"weights {path}",
                    f"tensor {tensor.name!r} lies in another file (external data)",
                    "export them into one file",
                )


def _graphs(model: ModelProto) -> Iterator[GraphProto]:
    """The graph, the graphs inside its nodes, and those of its functions (as graphs with nothing but nodes)."""
    from onnx import GraphProto

    waiting = [model.graph, *(GraphProto(node=f.node) for f in model.functions)]
    while waiting:
        graph = waiting.pop()
        yield graph
        for attribute in (a for node in graph.node for a in node.attribute):
            waiting.extend(attribute.graphs)
            if attribute.HasField("g"):
                waiting.append(attribute.g)
