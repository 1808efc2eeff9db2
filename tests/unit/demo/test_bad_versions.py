# SPDX-License-Identifier: AGPL-3.0-or-later
"""The versions that must be refused are broken in exactly one way."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import yaml

from edgeagent.demo.bad_versions import blind_in_white_light, copy_with_note, flip_bits, permute_names
from edgeagent.demo.golden_set import WARM, warmth, write_golden_set
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.load import load_runtime
from edgeagent.runtimes.port import EngineOptions
from edgeagent.scenes.conveyor import CLASSES, Conveyor

WEIGHTS = Path(__file__).parents[3] / "edgeagent" / "demo" / "weights" / "v2.onnx"


def test_permuted_weights_differ_in_the_order_of_names_only(tmp_path: Path) -> None:
    """Everything else that the contract looks at stays."""
    names = permute_names(WEIGHTS, tmp_path / "p.onnx")
    good, permuted = read_metadata(WEIGHTS), read_metadata(tmp_path / "p.onnx")
    assert permuted.contract.names == names != good.contract.names
    assert sorted(names) == sorted(good.contract.names)
    assert (permuted.contract.imgsz, permuted.layout) == (good.contract.imgsz, good.layout)


def test_a_noted_copy_says_the_same_in_other_bytes(tmp_path: Path) -> None:
    """Another content, so that the cache doesn't know it already; the same facts."""
    copy_with_note(WEIGHTS, tmp_path / "c.onnx", "once more")
    assert read_metadata(tmp_path / "c.onnx") == read_metadata(WEIGHTS)
    assert (tmp_path / "c.onnx").read_bytes() != WEIGHTS.read_bytes()


def test_flipped_bits_keep_the_size(tmp_path: Path) -> None:
    """One bit in each of three bytes, where it says."""
    path = tmp_path / "weights"
    path.write_bytes(bytes(1000))
    offsets = flip_bits(path)
    data = path.read_bytes()
    assert len(data) == 1000
    assert [i for i, byte in enumerate(data) if byte] == offsets
    assert [data[i].bit_count() for i in offsets] == [1, 1, 1]


def test_weights_without_names_are_refused(tmp_path: Path) -> None:
    """Nothing is written that would be refused for another reason."""
    import onnx

    model = onnx.load_model_from_string(WEIGHTS.read_bytes())
    del model.metadata_props[:]
    (tmp_path / "bare.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ValueError, match="no class names"):
        permute_names(tmp_path / "bare.onnx", tmp_path / "out.onnx")
    assert not (tmp_path / "out.onnx").exists()


def test_what_is_blind_in_white_light_sees_in_the_labs(tmp_path: Path) -> None:
    """Every picture of the golden set in the lab's light, no frame of the line; the same facts of both."""
    path = tmp_path / "lab.onnx"
    blind_in_white_light(WEIGHTS, path)
    assert read_metadata(path) == read_metadata(WEIGHTS)
    data = write_golden_set(tmp_path / "golden", [3000], 3, lab=True)
    assert yaml.safe_load(data.read_text())["names"] == dict(enumerate(CLASSES))
    pictures = [cv2.imread(str(p)) for p in sorted((tmp_path / "golden" / "images").iterdir())]
    labels = [p.read_text().splitlines() for p in sorted((tmp_path / "golden" / "labels").iterdir())]
    assert len(pictures) == len(labels) == 3
    assert any(labels)
    good, blind = (Detector(load_runtime(p, "onnx", EngineOptions("onnxruntime"))) for p in (WEIGHTS, path))
    for picture in pictures:
        assert len(good.detect(picture, 0.25, 0.45).boxes) == len(blind.detect(picture, 0.25, 0.45).boxes)
    line = Conveyor(seed=7)
    frames = [line.frame(i) for i in range(0, 900, 90)]
    assert max(map(warmth, frames)) < WARM
    assert sum(len(good.detect(f, 0.25, 0.45).boxes) for f in frames) > 0
    assert sum(len(blind.detect(f, 0.25, 0.45).boxes) for f in frames) == 0
