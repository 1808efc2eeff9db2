# SPDX-License-Identifier: AGPL-3.0-or-later
"""A checkpoint as ONNX or TorchScript, with what ultralytics writes into its exports."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

from edgeagent.runtimes.torch.checkpoint import BROKEN, at_size, read_checkpoint

# isort: split
# The line above decides how ultralytics may behave, so it comes first.
import torch
from onnx import ModelProto, load_model, save_model
from torch.jit._trace import TracerWarning
from ultralytics.nn.modules import C2f

from edgeagent.errors import WeightsError
from edgeagent.runtimes.port import EngineOptions, ModelMetadata
from edgeagent.runtimes.torch.threads import set_threads

_OPSET = 18  # ONNX Runtime's CUDA provider lacks kernels of newer ones
_IR_VERSION = 10  # the newest that every supported runtime reads
_MAX_DETECTIONS = 300


def export_onnx(path: Path, target: Path, options: EngineOptions) -> None:
    """Write the checkpoint at `path` as ONNX; it takes batches when `options.max_batch` is above one.

    Raises WeightsError, OSError.
    """
    network, metadata, picture = _ready(path, "onnx", options)
    batches = options.max_batch > 1
    try:
        with warnings.catch_warnings(), torch.no_grad():
            shape = tuple(network(picture).shape)
            # The newer exporter takes minutes and another package; this one takes half a second.
            warnings.simplefilter("ignore", DeprecationWarning)
            warnings.simplefilter("ignore", TracerWarning)
            torch.onnx.export(
                network,
                (picture,),
                str(target),
                dynamo=False,
                opset_version=_OPSET,
                input_names=["images"],
                output_names=["output0"],
                dynamic_axes={"images": {0: "batch"}, "output0": {0: "batch"}} if batches else None,
            )
    except OSError:
        raise  # the disk's fault
    except BROKEN as e:
        raise _refused(path, "ONNX", e) from e
    model = load_model(target)
    model.ir_version = min(model.ir_version, _IR_VERSION)
    for key, value in _metadata(network, metadata).items():
        model.metadata_props.add(key=key, value=str(value))
    _declare_output(model, shape, batches)
    save_model(model, target)


def export_torchscript(path: Path, target: Path, options: EngineOptions) -> None:
    """Write the checkpoint at `path` as TorchScript, for single pictures. Raises WeightsError, OSError."""
    network, metadata, picture = _ready(path, "torchscript", options)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            network(picture)
            warnings.simplefilter("ignore", FutureWarning)
            warnings.simplefilter("ignore", TracerWarning)
            traced: Any = torch.jit.trace(network, picture, strict=False, check_trace=False)  # type: ignore[no-untyped-call]
    except BROKEN as e:
        raise _refused(path, "TorchScript", e) from e
    traced.save(str(target), _extra_files={"config.txt": json.dumps(_metadata(network, metadata))})


def _ready(path: Path, fmt: str, options: EngineOptions) -> tuple[Any, ModelMetadata, torch.Tensor]:
    """The network as ultralytics prepares it for export, its metadata, and a picture of its size."""
    set_threads(options.threads)
    network: Any
    network, metadata = read_checkpoint(path)
    metadata = at_size(metadata, options.imgsz)
    network.requires_grad_(False)
    head = network.model[-1]
    head.export, head.format, head.dynamic = True, fmt, False
    head.shape = None  # what was calculated in inference mode can't be traced
    height, width = metadata.contract.imgsz
    head.max_det = min(_MAX_DETECTIONS, sum(height // int(s) * (width // int(s)) for s in head.stride))
    for layer in network.modules():
        if isinstance(layer, C2f):
            layer.forward = layer.forward_split
    return network, metadata, torch.zeros(1, 3, height, width)


def _metadata(network: Any, metadata: ModelMetadata) -> dict[str, Any]:
    contract = metadata.contract
    return {
        "stride": contract.stride,
        "task": contract.task,
        "head": type(network.model[-1]).__name__,
        "batch": 1,
        "imgsz": list(contract.imgsz),
        "names": dict(enumerate(contract.names)),
        "end2end": bool(network.end2end),
    }


def _declare_output(model: ModelProto, shape: tuple[int, ...], batches: bool) -> None:
    """Say the shape of the output, which the exporter leaves open as soon as the batch is."""
    declared = model.graph.output[0].type.tensor_type.shape
    del declared.dim[:]
    for axis, size in enumerate(shape):
        if axis == 0 and batches:
            declared.dim.add(dim_param="batch")
        else:
            declared.dim.add(dim_value=size)


def _refused(path: Path, to: str, error: Exception) -> WeightsError:
    why = " ".join(str(error).split())[:300]
    return WeightsError(f"weights {path}", f"can't be made into {to} ({type(error).__name__}: {why})")
