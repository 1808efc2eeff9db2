# SPDX-License-Identifier: AGPL-3.0-or-later
"""Every way to run weights on a CUDA device, against the processor. Skipped where there is no such device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeagent.errors import EdgeAgentError
from edgeagent.runtimes.convert import convert
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from edgeagent.runtimes.variants import Variant, variants
from tests.support import weights
from tests.support.families import family_pt, pictures

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.timeout(900),  # TensorRT tries kernels
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device in this machine"),
]
CPU = EngineOptions(device="cpu")


def on_gpu() -> list[Variant]:
    """Every way that this machine has."""
    try:
        return [*variants("pt", device="cuda"), *variants("pt", "torchscript", "cuda")]
    except EdgeAgentError:
        return [Variant("torch", "cuda:0", "fp32", "pt")]  # skipped


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network that finds something."""
    return family_pt("yolov8", tmp_path_factory.mktemp("gpu") / "w.pt", 160)


@pytest.mark.parametrize("variant", on_gpu(), ids=lambda v: f"{v.name}-{v.format}")
def test_the_gpu_finds_what_the_processor_finds(
    variant: Variant, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Raw numbers, one picture after the other and in batches, again and again from the same graph."""
    options = EngineOptions(
        variant.backend, variant.device, 1, variant.precision, max_batch=3, timings=tmp_path / "timings"
    )
    path = checkpoint
    if variant.needs_conversion("pt"):
        path = convert(checkpoint, "pt", variant, tmp_path, options)
    runtime = load_runtime(path, variant.format, options)
    assert runtime.name == variant.name
    reference = load_runtime(checkpoint, "pt", CPU)
    random = np.random.default_rng(0)
    batches = [
        random.random((n, 3, 160, 160), np.float32) for n in (1, 1, 3, 2, 1, 3) if n <= runtime.max_batch
    ]
    for batch in batches:
        found, expected = runtime.run(batch), np.concatenate([reference.run(p[None]) for p in batch])
        assert found.shape == expected.shape
        difference = np.abs(found - expected)
        limits = (0.05, 1e-3) if variant.precision == "fp32" else (1.0, 0.02)
        assert np.quantile(difference[:, :4], 0.99) < limits[0]
        assert np.quantile(difference[:, 4:], 0.99) < limits[1]
    assert "without a CUDA graph" not in capsys.readouterr().err


def test_a_graph_keeps_nothing_between_frames(checkpoint: Path) -> None:
    """Pinned buffers are filled anew: two pictures, alternating."""
    detector = Detector(load_runtime(checkpoint, "pt", EngineOptions(device="cuda")))
    detector.warm()
    first, second = (detector.detect(p, 0.25, 0.45).boxes for p in pictures()[:2])
    for _ in range(20):
        np.testing.assert_array_equal(detector.detect(pictures()[0], 0.25, 0.45).boxes, first)
        np.testing.assert_array_equal(detector.detect(pictures()[1], 0.25, 0.45).boxes, second)


def test_an_engine_file_is_refused_after_an_update_of_tensorrt(tmp_path: Path) -> None:
    """As after a new driver stack: the header says what it was built for."""
    pytest.importorskip("tensorrt", reason="TensorRT is not installed: pip install 'edgeagent[tensorrt]'")
    source = weights.exported_onnx(tmp_path / "w.onnx")
    variant = Variant("tensorrt", "cuda:0", "fp32", "engine")
    path = convert(source, "onnx", variant, tmp_path, EngineOptions())
    path.write_bytes(path.read_bytes().replace(b'"TensorRT": "', b'"TensorRT": "0.', 1))
    with pytest.raises(EdgeAgentError, match="built for TensorRT 0"):
        load_runtime(path, "engine", EngineOptions("tensorrt", "cuda"))
