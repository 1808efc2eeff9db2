# SPDX-License-Identifier: AGPL-3.0-or-later
"""This project's detector on a weights file, in the measuring process itself."""

from __future__ import annotations

from pathlib import Path

from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions

__all__ = ["Detector", "load_detector"]


def load_detector(weights: Path, threads: int) -> Detector:
    """`.onnx` in ONNX Runtime, `.pt` in torch. Raises EdgeAgentError."""
    backend = {".onnx": "onnxruntime", ".pt": "torch"}[weights.suffix]
    options = EngineOptions(backend=backend, device="cpu", threads=threads)
    return Detector(load_runtime(weights, weights.suffix[1:], options))
