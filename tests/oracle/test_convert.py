# SPDX-License-Identifier: AGPL-3.0-or-later
"""Conversions as the preparing worker does them, on real weights of every family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeagent.errors import MissingExtraError, UnavailableError, UsageError, WeightsError
from edgeagent.runtimes.convert import convert, product
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.detection.letterbox import Letterbox
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.onnx.float16 import to_float16
from edgeagent.runtimes.port import EngineOptions
from edgeagent.runtimes.variants import Variant
from tests.support import weights
from tests.support.families import FAMILIES, HEADS, family_pt, pictures

ONNX = Variant("onnxruntime", "cpu", "fp32", "onnx")
HALF = Variant("onnxruntime", "cuda:0", "fp16", "onnx")
SCRIPT = Variant("torchscript", "cpu", "fp32", "torchscript")
ENGINE = Variant("tensorrt", "cuda:0", "fp16", "engine")
ONE = EngineOptions(device="cpu")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny checkpoint."""
    return weights.checkpoint_pt(tmp_path_factory.mktemp("weights") / "w.pt")


@pytest.mark.parametrize(
    "family", [pytest.param(f, marks=() if f in HEADS else pytest.mark.soak) for f in FAMILIES]
)
def test_a_conversion_finds_what_its_source_finds(family: str, tmp_path: Path) -> None:
    """Every family as ONNX, TorchScript and ONNX in float16: the same numbers before any threshold."""
    source = family_pt(family, tmp_path / "w.pt", 160)
    detector = Detector(load_runtime(source, "pt", ONE))
    letterbox = Letterbox((160, 160))
    paths = {variant: convert(source, "pt", variant, tmp_path, ONE) for variant in (ONNX, SCRIPT)}
    paths[HALF] = convert(
        paths[ONNX], "onnx", HALF, tmp_path, ONE
    )  # what it does with a checkpoint, minus an export
    for variant, path in paths.items():
        runtime = load_runtime(path, variant.format, ONE)
        for picture in pictures():
            letterbox.fill(picture)
            expected = detector.runtime.run(letterbox.tensor)
            assert (expected[:, 4:] > 0.25).any()
            found = runtime.run(letterbox.tensor)
            pixels, scores = (np.abs(found - expected)[:, part] for part in (slice(4), slice(4, None)))
            if variant is HALF:  # a network of random weights blows up the rounding here and there
                assert np.median(pixels) < 0.2
                assert np.median(scores) < 1e-3
            else:
                assert pixels.max() < 0.05
                assert scores.max() < 1e-3


@pytest.mark.parametrize("variant", [ONNX, HALF, SCRIPT], ids=product)
def test_the_product_is_all_that_is_made(variant: Variant, checkpoint: Path, tmp_path: Path) -> None:
    """One file, of the promised name, that says of itself what the source says."""
    path = convert(checkpoint, "pt", variant, tmp_path, ONE)
    assert path == tmp_path / product(variant)
    assert list(tmp_path.iterdir()) == [path]
    assert read_metadata(path, variant.format).contract == read_metadata(checkpoint, "pt").contract


def test_one_picture_or_batches_as_told(checkpoint: Path, tmp_path: Path) -> None:
    """The batch is open only when the node may use it; the shape of the output is known either way."""
    assert not read_metadata(convert(checkpoint, "pt", ONNX, tmp_path, ONE)).batches
    metadata = read_metadata(convert(checkpoint, "pt", ONNX, tmp_path, EngineOptions(max_batch=4)))
    assert metadata.batches
    assert metadata.layout == "v8"


def test_float16_is_close_and_keeps_its_last_steps(checkpoint: Path, tmp_path: Path) -> None:
    """Half the size, float32 in and out, boxes and scores all but the same."""
    source = convert(checkpoint, "pt", ONNX, tmp_path, ONE)
    path = convert(checkpoint, "pt", HALF, tmp_path, ONE)
    assert path.stat().st_size < source.stat().st_size * 0.75
    picture = np.random.default_rng(0).random((1, 3, weights.SIZE, weights.SIZE), np.float32)
    expected = load_runtime(source, "onnx", ONE).run(picture)
    found = load_runtime(path, "onnx", ONE).run(picture)
    np.testing.assert_allclose(found[0, :4], expected[0, :4], atol=0.2)
    np.testing.assert_allclose(found[0, 4:], expected[0, 4:], atol=2e-3)
    # The sum over distances is one of the last steps.
    graph = onnx.load(path).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    convolutions = [n for n in graph.node if n.op_type == "Conv"]
    assert {kinds[n.input[1]] for n in convolutions if "dfl" in n.name} == {onnx.TensorProto.FLOAT}
    assert {kinds[n.input[1]] for n in convolutions if "dfl" not in n.name} == {onnx.TensorProto.FLOAT16}


def test_an_onnx_file_can_be_converted_to_float16_too(tmp_path: Path) -> None:
    """Published as ONNX, served in float16."""
    source = weights.exported_onnx(tmp_path / "w.onnx")
    assert read_metadata(convert(source, "onnx", HALF, tmp_path, ONE)) == read_metadata(source)
    to_float16(weights.detection_onnx(tmp_path / "t.onnx"), tmp_path / "h.onnx")
    assert len(
        Detector(load_runtime(tmp_path / "h.onnx", "onnx", ONE)).detect(pictures()[0], 0.25, 0.45).boxes
    )


def test_what_can_not_be_converted(checkpoint: Path, tmp_path: Path) -> None:
    """Named with the reason; nothing half-made stays."""
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(WeightsError, match="no torch checkpoint"):
        convert(weights.garbage(tmp_path / "g.pt"), "pt", ONNX, out, ONE)
    with pytest.raises(WeightsError, match="unsafe"):
        convert(weights.evil_pt(tmp_path / "e.pt", tmp_path / "marker"), "pt", ONNX, out, ONE)
    with pytest.raises(UsageError, match="can't be made into 'torchscript'"):
        convert(checkpoint, "onnx", SCRIPT, out, ONE)
    assert not list(out.iterdir())
    assert not (tmp_path / "marker").exists()
    with pytest.raises(UnavailableError, match="disk"):
        convert(checkpoint, "pt", ONNX, tmp_path / "gone", ONE)


def test_an_engine_needs_tensorrt(checkpoint: Path, tmp_path: Path) -> None:
    """Without the extra: what to install, and no ONNX file left behind."""
    try:
        import tensorrt  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtraError, match=r"edgeagent\[tensorrt\]"):
            convert(checkpoint, "pt", ENGINE, tmp_path, ONE)
        assert not list(tmp_path.iterdir())
    else:
        pytest.skip("TensorRT is installed: tests/integration/test_gpu.py")


def test_the_metadata_are_what_ultralytics_reads(checkpoint: Path, tmp_path: Path) -> None:
    """An export of ours is an export for others too."""
    import zipfile

    from ultralytics import YOLO

    path = convert(checkpoint, "pt", ONNX, tmp_path, ONE)
    assert YOLO(str(path), task="detect").names == dict(enumerate(weights.NAMES))
    with zipfile.ZipFile(convert(checkpoint, "pt", SCRIPT, tmp_path, ONE)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("extra/config.txt"))
        assert json.loads(archive.read(name))["stride"] == 32
