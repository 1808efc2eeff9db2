# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which runtime reads which format."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgeagent.core.model import FORMATS
from edgeagent.engines.port import EngineOptions, Runtime
from edgeagent.errors import MissingExtraError, UsageError, WeightsError

_BACKENDS = {"onnx": ("onnxruntime",), "pt": ("torch",)}  # by format, the preferred one first


def load_runtime(path: Path, fmt: str, options: EngineOptions) -> Runtime:
    """Load the weights at `path` (format `fmt`, as in the manifest) with the backend that `options` name.

    Sets thread counts of this process. Raises WeightsError (can't be read, unsafe), UsageError (backend or device
    that can't be had), MissingExtraError (package not installed).
    """
    if fmt not in _BACKENDS:
        raise WeightsError(
            f"weights {path}", f"format {fmt!r} is unknown", f"use one of {', '.join(FORMATS)}"
        )
    backend = _BACKENDS[fmt][0] if options.backend == "auto" else options.backend
    if backend not in _BACKENDS[fmt]:
        raise UsageError(
            f"engine.backend {backend!r}",
            f"can't load weights in format {fmt!r}",
            f"use one of auto, {', '.join(_BACKENDS[fmt])}",
        )
    # OpenCV resizes in the same worker: a pool of its own would take cores from other pipelines.
    cv2.setNumThreads(max(options.threads, 1))
    try:
        if backend == "torch":
            from edgeagent.engines.torch_runtime import TorchRuntime

            return TorchRuntime(path, options)
        from edgeagent.engines.onnx_runtime import OnnxRuntime

        return OnnxRuntime(path, options)
    except ModuleNotFoundError as e:
        raise MissingExtraError(
            f"engine.backend {backend}", f"package {e.name} is not installed", f"pip install {e.name}"
        ) from e
