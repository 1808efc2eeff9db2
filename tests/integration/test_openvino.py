# SPDX-License-Identifier: AGPL-3.0-or-later
"""What OpenVINO does on its own, and may not do here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeagent.errors import UsageError, WeightsError
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from edgeagent.runtimes.variants import variants
from tests.support import weights

OPENVINO = EngineOptions(backend="openvino", device="cpu")


def test_nothing_is_reported_to_anybody(tmp_path: Path) -> None:
    """Its telemetry is never loaded, and leaves no file in the home folder."""
    script = (
        "import sys, edgeagent.runtimes.openvino.runtime\n"
        "print([m for m in sys.modules if m.startswith('openvino_telemetry.')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert not list(tmp_path.iterdir())


def test_weights_in_other_files_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO itself would fetch them from the working folder."""
    path = weights.external_data_onnx(tmp_path / "w.onnx")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WeightsError, match="lies in another file"):
        load_runtime(path, "onnx", OPENVINO)


def test_a_class_called_location_is_no_reason(tmp_path: Path) -> None:
    """The word alone refers to nothing."""
    path = weights.detection_onnx(tmp_path / "w.onnx", names=("location", "b", "c"))
    assert load_runtime(path, "onnx", OPENVINO).metadata.contract.names[0] == "location"


def test_a_precision_that_the_processor_lacks_is_refused(tmp_path: Path) -> None:
    """OpenVINO would calculate in another one and say nothing."""
    path = weights.detection_onnx(tmp_path / "w.onnx")
    load_runtime(path, "onnx", OPENVINO)
    import openvino  # not before its telemetry is out of the way

    able = {c.lower() for c in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")} & {
        "bf16",
        "fp16",
    }
    for precision in {"bf16", "fp16"} - able:
        with pytest.raises(UsageError, match="use fp32"):
            load_runtime(path, "onnx", EngineOptions("openvino", "cpu", 1, precision))
    possible = {v.precision for v in variants("onnx", "openvino", "cpu")}
    assert possible <= able | {"fp32"}
    for precision in possible:
        assert load_runtime(path, "onnx", EngineOptions("openvino", "cpu", 1, precision)).run


def test_what_was_compiled_is_loaded_by_the_next(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The weights aren't even read, and the results are the same to the last bit."""
    path = weights.exported_onnx(tmp_path / "w.onnx")
    options = replace(OPENVINO, compiled=tmp_path / "openvino.compiled")
    first = load_runtime(path, "onnx", options)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["openvino.compiled", "w.onnx"]
    path.unlink()
    second = load_runtime(path, "onnx", options)
    assert second.metadata == first.metadata
    picture = np.random.default_rng(0).random((1, 3, weights.SIZE, weights.SIZE), np.float32)
    np.testing.assert_array_equal(first.run(picture), second.run(picture))
    assert not capfd.readouterr().err


@pytest.mark.parametrize("content", [b"", b"{}\n", b"[]", b"not JSON\nand no network", b"cut off"])
def test_what_was_compiled_and_is_broken_is_compiled_anew(
    tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    """It costs time only; the next finds it whole again."""
    path = weights.exported_onnx(tmp_path / "w.onnx")
    options = replace(OPENVINO, compiled=tmp_path / "openvino.compiled")
    metadata = load_runtime(path, "onnx", options).metadata
    assert options.compiled is not None
    whole = options.compiled.read_bytes()
    options.compiled.write_bytes(content if content != b"cut off" else whole[: len(whole) // 2])
    assert load_runtime(path, "onnx", options).metadata == metadata
    assert "compiled anew" in capfd.readouterr().err
    path.unlink()
    assert load_runtime(path, "onnx", options).metadata == metadata


def test_what_can_not_be_kept_is_compiled_all_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A folder that is gone, a full disk."""
    path = weights.exported_onnx(tmp_path / "w.onnx")
    options = replace(OPENVINO, compiled=tmp_path / "gone" / "openvino.compiled")
    assert load_runtime(path, "onnx", options).metadata.layout == "v8"
    assert "not kept" in capfd.readouterr().err


def test_a_bin_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """The graph says how long it is."""
    source = weights.openvino_ir(tmp_path / "w.xml", weights.exported_onnx(tmp_path / "w.onnx"))
    short = tmp_path / "short.xml"
    shutil.copy(source, short)
    content = source.with_suffix(".bin").read_bytes()
    short.with_suffix(".bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match="OpenVINO can't load them"):
        load_runtime(short, "openvino", OPENVINO)
