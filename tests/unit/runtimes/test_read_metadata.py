# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reading ONNX files without running them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgeagent.core.model import Contract
from edgeagent.errors import MissingExtraError, NotFoundError, WeightsError
from edgeagent.runtimes.detection.layouts import LAYOUTS
from edgeagent.runtimes.inspect import read_metadata
from edgeagent.runtimes.port import ModelMetadata
from tests.support import weights


@pytest.mark.parametrize("head", LAYOUTS)
def test_an_onnx_says_what_it_is(tmp_path: Path, head: str) -> None:
    """Contract out of the metadata, head out of the graph's output."""
    path = weights.detection_onnx(tmp_path / "w.onnx", head=head)
    assert read_metadata(path) == ModelMetadata(Contract("detect", weights.NAMES, (64, 64), 32), "onnx", head)


def test_the_format_may_be_said(tmp_path: Path) -> None:
    """The manifest's format counts, not the name of the file."""
    path = weights.detection_onnx(tmp_path / "weights.bin")
    assert read_metadata(path, "onnx").contract.names == weights.NAMES
    with pytest.raises(WeightsError, match="format 'bin'"):
        read_metadata(path)


def test_without_its_package_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lean install has no torch."""
    (tmp_path / "w.pt").write_bytes(b"weights")

    def load_object(reference: str) -> object:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr("edgeagent.runtimes.inspect.load_object", load_object)
    with pytest.raises(
        MissingExtraError, match=r"w\.pt: package torch .* pip install torch torchvision ultralytics"
    ):
        read_metadata(tmp_path / "w.pt")


def test_external_data_is_refused(tmp_path: Path) -> None:
    """It can name any file of the machine."""
    with pytest.raises(WeightsError, match="external data"):
        read_metadata(weights.external_data_onnx(tmp_path / "w.onnx"))


def test_external_data_inside_a_branch_is_refused(tmp_path: Path) -> None:
    """Graphs inside nodes hold tensors too."""
    model = onnx.load(weights.detection_onnx(tmp_path / "w.onnx"))
    hidden = numpy_helper.from_array(np.zeros(4, np.float32), "hidden")
    hidden.data_location = onnx.TensorProto.EXTERNAL
    branch = helper.make_graph([helper.make_node("Constant", [], ["c"], value=hidden)], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["mean"], [], then_branch=branch, else_branch=branch))
    (tmp_path / "w.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(WeightsError, match="'hidden' lies in another file"):
        read_metadata(tmp_path / "w.onnx")


def test_sparse_tensors_are_refused(tmp_path: Path) -> None:
    """A few bytes can unfold to any size."""
    model = onnx.load(weights.detection_onnx(tmp_path / "w.onnx"))
    values = numpy_helper.from_array(np.ones(1, np.float32), "s")
    where = numpy_helper.from_array(np.zeros(1, np.int64), "where")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, where, [1 << 40]))
    onnx.save_model(model, tmp_path / "w.onnx")
    with pytest.raises(WeightsError, match="sparse"):
        read_metadata(tmp_path / "w.onnx")


def test_bytes_that_are_no_model(tmp_path: Path) -> None:
    """Garbage, nothing, and half a file."""
    path = weights.garbage(tmp_path / "w.onnx")
    with pytest.raises(WeightsError):
        read_metadata(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="hold no network"):
        read_metadata(path)
    whole = weights.detection_onnx(path).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WeightsError):
        read_metadata(path)


def test_an_unknown_head_is_refused(tmp_path: Path) -> None:
    """With the shape, and what would do."""
    with pytest.raises(WeightsError, match="1×17×9"):
        read_metadata(weights.headless_onnx(tmp_path / "w.onnx"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Says which."""
    with pytest.raises(NotFoundError, match=r"gone\.onnx"):
        read_metadata(tmp_path / "gone.onnx")
