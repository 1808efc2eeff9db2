# SPDX-License-Identifier: AGPL-3.0-or-later
"""One suite over every runtime: the same tiny network, in the format that each reads."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgeagent.core.model import Contract
from edgeagent.errors import EdgeAgentError, UsageError, WeightsError
from edgeagent.runtimes.convert import convert
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions, Runtime, Tensor
from edgeagent.runtimes.variants import Variant, variants
from tests.support import weights

SUFFIXES = {"onnx": ".onnx", "pt": ".pt", "openvino": ".xml", "torchscript": ".torchscript"}
# Every way of a machine without a GPU; bf16 where the processor has it.
VARIANTS = [
    Variant("onnxruntime", "cpu", "fp32", "onnx"),
    Variant("torch", "cpu", "fp32", "pt"),
    Variant("torchscript", "cpu", "fp32", "torchscript"),
    *(v for fmt in ("onnx", "openvino") for v in variants(fmt, "openvino", "cpu")),
]
# How far boxes (pixels) and scores may be from those of the source; bf16 has 8 bits, and a box's side in the coarsest
# cells is up to 512 pixels.
EXACT = {"fp32": (1e-3, 1e-5), "bf16": (2.0, 2e-2), "fp16": (0.1, 2e-3)}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network in every format, by format."""
    folder = tmp_path_factory.mktemp("weights")
    checkpoint = weights.checkpoint_pt(folder / "w.pt")
    onnx = weights.exported_onnx(folder / "w.onnx")
    script = Variant("torchscript", "cpu", "fp32", "torchscript")
    return {
        "onnx": onnx,
        "pt": checkpoint,
        "openvino": weights.openvino_ir(folder / "w.xml", onnx),
        "torchscript": convert(checkpoint, "pt", script, folder, EngineOptions()),
    }


@pytest.fixture(params=VARIANTS, ids=lambda v: f"{v.name}-{v.format}")
def variant(request: pytest.FixtureRequest) -> Variant:
    """Each way to run the network in turn."""
    chosen: Variant = request.param
    return chosen


def options(variant: Variant, max_batch: int = 1) -> EngineOptions:
    """What the worker of a variant is told."""
    return EngineOptions(variant.backend, variant.device, 1, variant.precision, max_batch)


@pytest.fixture
def load(built: dict[str, Path]) -> Callable[[Variant], Runtime]:
    """Load the network in one way."""
    return lambda variant: load_runtime(built[variant.format], variant.format, options(variant))


def picture(seed: int = 0) -> Tensor:
    """An input full of noise."""
    return np.random.default_rng(seed).random((1, 3, weights.SIZE, weights.SIZE), np.float32)


def assert_close(found: Tensor, expected: Tensor, precision: str) -> None:
    """The same boxes and scores, as far as numbers of that precision can be."""
    pixels, score = EXACT[precision]
    np.testing.assert_allclose(found[..., :4, :], expected[..., :4, :], rtol=0, atol=pixels)
    np.testing.assert_allclose(found[..., 4:, :], expected[..., 4:, :], rtol=0, atol=score)


def test_the_metadata_are_those_of_the_file(
    variant: Variant, built: dict[str, Path], load: Callable[[Variant], Runtime]
) -> None:
    """What the loaded runtime says is what reading the file said."""
    runtime = load(variant)
    assert runtime.metadata == read_metadata(built[variant.format])
    assert runtime.metadata.contract == Contract("detect", weights.NAMES, (64, 64), 32)
    assert runtime.metadata.format == variant.format
    # TorchScript does not say the shape of its output.
    assert runtime.metadata.layout == (None if variant.format == "torchscript" else "v8")
    assert runtime.name == variant.name


def test_the_output_is_finite_float32_of_the_head_s_shape(
    variant: Variant, load: Callable[[Variant], Runtime]
) -> None:
    """One picture, 84 cells, a box and a score for each class."""
    raw = load(variant).run(picture())
    assert raw.shape == (1, 4 + len(weights.NAMES), 84)
    assert raw.dtype == np.float32
    assert np.isfinite(raw).all()


def test_a_runtime_keeps_nothing_between_calls(variant: Variant, load: Callable[[Variant], Runtime]) -> None:
    """The same picture gives the same numbers, whatever came between; another gives others."""
    runtime = load(variant)
    first = runtime.run(picture(1)).copy()
    other = runtime.run(picture(2)).copy()
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(runtime.run(picture(1)), first)


def test_the_input_is_left_as_it_was(variant: Variant, load: Callable[[Variant], Runtime]) -> None:
    """The detector fills the same buffer again and relies on its padding."""
    batch = picture()
    before = batch.copy()
    load(variant).run(batch)
    np.testing.assert_array_equal(batch, before)


def test_runtimes_agree(variant: Variant, built: dict[str, Path], load: Callable[[Variant], Runtime]) -> None:
    """The same network in another way is the same network."""
    reference = load_runtime(built["onnx"], "onnx", EngineOptions()).run(picture())
    assert reference[0, 4:].std(axis=1).min() > 0.01, "the network looks at nothing"
    assert_close(load(variant).run(picture()), reference, variant.precision)


def test_a_detector_finds_boxes_inside_the_frame(
    variant: Variant, load: Callable[[Variant], Runtime]
) -> None:
    """With a threshold that lets an untrained network see something."""
    image = np.random.default_rng(0).integers(0, 255, (90, 200, 3), np.uint8)
    detector = Detector(load(variant))
    detector.warm()
    x1, y1, x2, y2, conf, cls = detector.detect(image, 0.0, 0.45).boxes.T
    assert len(conf) > 0
    assert (np.diff(conf) <= 0).all()
    assert x1.min() >= 0
    assert y1.min() >= 0
    assert x2.max() <= 200
    assert y2.max() <= 90
    assert set(cls) <= {0, 1, 2}


def test_an_input_of_another_shape_is_a_weights_error(
    variant: Variant, load: Callable[[Variant], Runtime]
) -> None:
    """The runtime's own error does not get out."""
    with pytest.raises(WeightsError, match="can't run"):
        load(variant).run(np.zeros((1, 4, 64, 64), np.float32))


def test_what_is_no_weights_is_a_weights_error(
    variant: Variant, built: dict[str, Path], tmp_path: Path
) -> None:
    """Garbage, nothing, half a file: said in one line, with the path."""
    path = tmp_path / f"w{SUFFIXES[variant.format]}"
    path.with_suffix(".bin").write_bytes(b"x" * 100)
    whole = built[variant.format].read_bytes()
    for content in (b"garbage" * 100, b"", b"PK\x03\x04" + bytes(100), whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=str(path)) as caught:
            load_runtime(path, variant.format, options(variant))
        assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(variant: Variant, tmp_path: Path) -> None:
    """One of ours, with the path."""
    path = tmp_path / f"gone{SUFFIXES[variant.format]}"
    with pytest.raises(EdgeAgentError, match=str(path)):
        load_runtime(path, variant.format, options(variant))


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cpu:1", "cuda:99"])
def test_a_device_that_can_not_be_had(variant: Variant, device: str, built: dict[str, Path]) -> None:
    """Unknown, or not in this machine: the operator's mistake, and what would do."""
    with pytest.raises(UsageError, match="auto"):
        load_runtime(
            built[variant.format], variant.format, EngineOptions(backend=variant.backend, device=device)
        )


def test_a_precision_that_can_not_be_had(variant: Variant, built: dict[str, Path]) -> None:
    """Refused rather than calculated in another one under a wrong name."""
    if variant.backend == "openvino":
        pytest.skip("the processor decides: tests/integration/test_openvino.py")
    with pytest.raises(UsageError, match="fp32"):
        load_runtime(
            built[variant.format],
            variant.format,
            EngineOptions(backend=variant.backend, device="cpu", precision="fp16"),
        )


@pytest.mark.parametrize("fmt", SUFFIXES)
def test_auto_takes_a_device_that_is_there(fmt: str, built: dict[str, Path]) -> None:
    """The default works everywhere."""
    runtime = load_runtime(built[fmt], fmt, EngineOptions())
    assert runtime.run(picture()).shape == (1, 7, 84)
    runtime.close()


def test_a_batch_is_its_pictures(variant: Variant, built: dict[str, Path], tmp_path: Path) -> None:
    """Where the weights take several at once, each comes out as it does alone, in any number up to the most."""
    if variant.format in ("torchscript", "openvino"):
        pytest.skip(
            "traced for one picture" if variant.format == "torchscript" else "exported for one picture"
        )
    path = built[variant.format]
    if variant.format == "onnx":
        path = convert(built["pt"], "pt", variant, tmp_path, options(variant, 3))
    several = load_runtime(path, variant.format, options(variant, 3))
    assert several.metadata.batches
    assert not several.streams()
    assert several.max_batch == 3
    pictures = [picture(seed) for seed in range(3)]
    alone = [several.run(p).copy() for p in pictures]
    for count in (3, 2, 3):
        together = several.run(np.concatenate(pictures[:count]))
        assert together.shape == (count, 7, 84)
        for mine, other in zip(together, alone, strict=False):
            assert_close(mine, other[0], variant.precision)


def test_weights_for_one_picture_take_no_batch(variant: Variant, built: dict[str, Path]) -> None:
    """Whatever the node would allow."""
    if variant.format == "pt":
        pytest.skip("a checkpoint takes batches")
    assert load_runtime(built[variant.format], variant.format, options(variant, 4)).max_batch == 1


def test_streams_infer_side_by_side_what_the_runtime_infers(
    variant: Variant, built: dict[str, Path], tmp_path: Path
) -> None:
    """Each picture in the stream that it was given to, whatever the others do; also from what is compiled already."""
    wanted = EngineOptions(variant.backend, "cpu", 2, variant.precision, compiled=tmp_path / "compiled")
    for _ in range(2):
        runtime = load_runtime(built[variant.format], variant.format, wanted)
        streams = runtime.streams()
        most = {"onnxruntime": 2, "openvino": 2 if (os.cpu_count() or 1) > 1 else 0}
        assert len(streams) == most.get(variant.backend, 0)
        pictures = [picture(seed) for seed in range(len(streams))]
        with ThreadPoolExecutor(max(len(streams), 1)) as threads:
            for _ in range(20):
                raw = list(threads.map(lambda stream, p: stream.run(p).copy(), streams, pictures))
                for mine, p in zip(raw, pictures, strict=True):
                    assert_close(mine, runtime.run(p), variant.precision)


def test_one_thread_has_no_streams(variant: Variant, load: Callable[[Variant], Runtime]) -> None:
    """Nor have batches: test_a_batch_is_its_pictures."""
    assert not load(variant).streams()


def test_openvino_s_files_may_lie_anywhere(built: dict[str, Path], tmp_path: Path) -> None:
    """In the cache a file is called by its hash, and stands alone."""
    graph, weights_file = tmp_path / "a" / "1", tmp_path / "b" / "2"
    for source, target in ((built["openvino"], graph), (built["openvino"].with_suffix(".bin"), weights_file)):
        target.parent.mkdir()
        shutil.copy(source, target)
    runtime = load_runtime(graph, "openvino", EngineOptions(), {"openvino-bin": weights_file})
    assert runtime.metadata == read_metadata(graph, "openvino", {"openvino-bin": weights_file})
    assert runtime.run(picture()).shape == (1, 7, 84)
    with pytest.raises(EdgeAgentError, match=r"\.bin file is missing"):
        load_runtime(graph, "openvino", EngineOptions())
