# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which runtime reads what, and what stays out of a process that needs no runtime."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeagent.errors import MissingExtraError, UsageError, WeightsError
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from tests.support import weights


def test_a_backend_that_can_not_read_the_format(tmp_path: Path) -> None:
    """Says which can."""
    with pytest.raises(UsageError, match=r"use one of auto, onnxruntime, openvino$"):
        load_runtime(weights.detection_onnx(tmp_path / "w.onnx"), "onnx", EngineOptions(backend="torch"))
    with pytest.raises(UsageError, match=r"use one of auto, torch$"):
        load_runtime(tmp_path / "w.pt", "pt", EngineOptions(backend="onnxruntime"))


def test_an_unknown_format(tmp_path: Path) -> None:
    """Says which are known."""
    with pytest.raises(WeightsError, match="use one of onnx, pt"):
        load_runtime(tmp_path / "w.tflite", "tflite", EngineOptions())


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What to install, rather than a traceback."""
    monkeypatch.delitem(sys.modules, "edgeagent.runtimes.onnx.runtime", raising=False)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match="onnxruntime is not installed"):
        load_runtime(weights.detection_onnx(tmp_path / "w.onnx"), "onnx", EngineOptions())


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_name_that_is_no_text(tmp_path: Path, backend: str) -> None:
    """The runtime's own message quotes it; it is refused all the same."""
    path = weights.detection_onnx(tmp_path / "w.onnx")
    path.write_bytes(path.read_bytes().replace(b"ReduceMean", b"ReduceMea\xe7"))
    with pytest.raises(WeightsError):
        load_runtime(path, "onnx", EngineOptions(backend=backend))
