# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which runtime reads which format."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgeagent.core.model import FORMATS
from edgeagent.errors import MissingExtraError, UsageError, WeightsError
from edgeagent.runtimes.openvino.ir import Companions
from edgeagent.runtimes.port import EngineOptions, Runtime
from edgeagent.runtimes.variants import READS, missing


def load_runtime(
    path: Path, fmt: str, options: EngineOptions, companions: Companions | None = None
) -> Runtime:
    """Load the weights at `path` (format `fmt`, as in the manifest) with the backend that `options` name.

    `auto` takes the format's usual one; which is fastest here is for the preparing worker to find out.
    `parts`: for the format `openvino` the files that belong to it, else those beside `path`.
    Sets thread counts of this process. Raises WeightsError (can't be read, unsafe), UsageError (backend, device or
    precision that can't be had), MissingExtraError (package not installed), NotFoundError, UnavailableError (disk).
    """
    if fmt not in READS:
        raise WeightsError(
            f"weights {path}", f"format {fmt!r} is unknown", f"use one of {', '.join(FORMATS)}"
        )
    backend = READS[fmt][0] if options.backend == "auto" else options.backend
    if backend not in READS[fmt]:
        raise UsageError(
            f"engine.backend {backend!r}",
            f"can't load weights in format {fmt!r}",
            f"use one of auto, {', '.join(READS[fmt])}",
        )
    # OpenCV resizes in the same worker: a pool of its own would take cores from other pipelines.
    cv2.setNumThreads(max(options.threads, 1))
    try:
        return _load(backend, path, fmt, options, companions)
    except ModuleNotFoundError as e:
        package = missing(backend)
        raise MissingExtraError(package.what, f"package {e.name} is not installed", package.todo) from e


def _load(
    backend: str, path: Path, fmt: str, options: EngineOptions, companions: Companions | None
) -> Runtime:
    match backend:
        case "onnxruntime":
            from edgeagent.runtimes.onnx.runtime import OnnxRuntime

            return OnnxRuntime(path, options)
        case "openvino":
            from edgeagent.runtimes.openvino.runtime import OpenVinoRuntime

            return OpenVinoRuntime(path, fmt, options, companions)
        case "torchscript":
            from edgeagent.runtimes.torch.torchscript_runtime import TorchScriptRuntime

            return TorchScriptRuntime(path, options)
        case "tensorrt":
            from edgeagent.runtimes.tensorrt.runtime import TensorRtRuntime

            return TensorRtRuntime(path, options)
    from edgeagent.runtimes.torch.runtime import TorchRuntime

    return TorchRuntime(path, options)
