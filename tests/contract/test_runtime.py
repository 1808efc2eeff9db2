# SPDX-License-Identifier: AGPL-3.0-or-later
"""One suite over every runtime: the same tiny network, in the format that each reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeagent.core.model import Contract
from edgeagent.engines.detector import Detector
from edgeagent.engines.inspect import read_facts
from edgeagent.engines.load import load_runtime
from edgeagent.engines.port import EngineOptions, Runtime, Tensor
from edgeagent.errors import EdgeAgentError, UsageError, WeightsError
from tests.support import weights

CPU = EngineOptions(device="cpu")
SUFFIXES = {"onnx": ".onnx", "pt": ".pt"}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The network of every format, by format."""
    folder = tmp_path_factory.mktemp("weights")
    return {
        "onnx": weights.exported_onnx(folder / "w.onnx"),
        "pt": weights.checkpoint_pt(folder / "w.pt"),
    }


@pytest.fixture(params=SUFFIXES)
def fmt(request: pytest.FixtureRequest) -> str:
    """Each format in turn."""
    return str(request.param)


@pytest.fixture
def load(built: dict[str, Path]) -> Callable[[str], Runtime]:
    """Load the network in one format."""
    return lambda fmt: load_runtime(built[fmt], fmt, CPU)


def picture(seed: int = 0) -> Tensor:
    """An input full of noise."""
    return np.random.default_rng(seed).random((1, 3, weights.SIZE, weights.SIZE), np.float32)


def test_the_facts_are_those_of_the_file(
    fmt: str, built: dict[str, Path], load: Callable[[str], Runtime]
) -> None:
    """What the loaded runtime says is what reading the file said."""
    runtime = load(fmt)
    assert runtime.facts == read_facts(built[fmt])
    assert runtime.facts.contract == Contract("detect", weights.NAMES, (64, 64), 32)
    assert (runtime.facts.format, runtime.facts.head) == (fmt, "v8")
    assert runtime.name == {"onnx": "onnxruntime-cpu", "pt": "torch-cpu"}[fmt]


def test_the_output_is_finite_float32_of_the_head_s_shape(fmt: str, load: Callable[[str], Runtime]) -> None:
    """One picture, 84 cells, a box and a score for each class."""
    raw = load(fmt).run(picture())
    assert raw.shape == (1, 4 + len(weights.NAMES), 84)
    assert raw.dtype == np.float32
    assert np.isfinite(raw).all()


def test_a_runtime_keeps_nothing_between_calls(fmt: str, load: Callable[[str], Runtime]) -> None:
    """The same picture gives the same numbers, whatever came between; another gives others."""
    runtime = load(fmt)
    first = runtime.run(picture(1)).copy()
    other = runtime.run(picture(2)).copy()
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(runtime.run(picture(1)), first)


def test_the_input_is_left_as_it_was(fmt: str, load: Callable[[str], Runtime]) -> None:
    """The detector fills the same buffer again and relies on its padding."""
    batch = picture()
    before = batch.copy()
    load(fmt).run(batch)
    np.testing.assert_array_equal(batch, before)


def test_runtimes_agree(load: Callable[[str], Runtime]) -> None:
    """The same network in another format is the same network."""
    reference = load("onnx").run(picture())
    for fmt in SUFFIXES:
        np.testing.assert_allclose(load(fmt).run(picture()), reference, rtol=1e-3, atol=1e-4)


def test_a_detector_finds_boxes_inside_the_frame(fmt: str, load: Callable[[str], Runtime]) -> None:
    """With a threshold that lets an untrained network see something."""
    image = np.random.default_rng(0).integers(0, 255, (90, 200, 3), np.uint8)
    detector = Detector(load(fmt))
    detector.warm()
    x1, y1, x2, y2, conf, cls = detector.detect(image, 0.0, 0.45).boxes.T
    assert len(conf) > 0
    assert (np.diff(conf) <= 0).all()
    assert x1.min() >= 0
    assert y1.min() >= 0
    assert x2.max() <= 200
    assert y2.max() <= 90
    assert set(cls) <= {0, 1, 2}


def test_an_input_of_another_shape_is_a_weights_error(fmt: str, load: Callable[[str], Runtime]) -> None:
    """The runtime's own error does not get out."""
    with pytest.raises(WeightsError, match="can't run"):
        load(fmt).run(np.zeros((1, 4, 64, 64), np.float32))


def test_what_is_no_weights_is_a_weights_error(fmt: str, tmp_path: Path) -> None:
    """Garbage, nothing, half a file: said in one line, with the path."""
    path = tmp_path / f"w{SUFFIXES[fmt]}"
    for content in (b"garbage" * 100, b"", b"PK\x03\x04" + bytes(100)):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=str(path)) as caught:
            load_runtime(path, fmt, CPU)
        assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(fmt: str, tmp_path: Path) -> None:
    """One of ours, with the path."""
    path = tmp_path / f"gone{SUFFIXES[fmt]}"
    with pytest.raises(EdgeAgentError, match=str(path)):
        load_runtime(path, fmt, CPU)


@pytest.mark.parametrize("device", ["tpu", "cuda:x", "cpu:1", "cuda:99"])
def test_a_device_that_can_not_be_had(fmt: str, device: str, built: dict[str, Path]) -> None:
    """Unknown, or not in this machine: the operator's mistake, and what would do."""
    with pytest.raises(UsageError, match="auto"):
        load_runtime(built[fmt], fmt, EngineOptions(device=device))


def test_auto_takes_a_device_that_is_there(fmt: str, built: dict[str, Path]) -> None:
    """The default works everywhere."""
    runtime = load_runtime(built[fmt], fmt, EngineOptions())
    assert runtime.run(picture()).shape == (1, 7, 84)
    runtime.close()
