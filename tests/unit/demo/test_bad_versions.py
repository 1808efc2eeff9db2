# SPDX-License-Identifier: AGPL-3.0-or-later
"""The versions that must be refused are broken in exactly one way."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.demo.bad_versions import copy_with_note, flip_bits, permute_names
from edgeagent.runtimes.inspect import read_metadata

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
