# SPDX-License-Identifier: AGPL-3.0-or-later
"""OpenVINO's own format, read without OpenVINO."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeagent.core.model import Contract
from edgeagent.errors import NotFoundError, WeightsError
from edgeagent.runtimes.inspect import format_of, read_metadata
from edgeagent.runtimes.openvino.ir import companions_beside

META = """task: detect
names:
  0: a
  1: b
imgsz: [64, 96]
stride: 32
head: Detect
args: {dynamic: false, nms: null}
"""
KEPT = """<framework><names value="{0: 'c'}" /><imgsz value="[64, 96]" /><stride value="32" />
<task value="detect" /></framework>"""


def graph(picture: str = "1 3 64 96", output: str = "1 6 126", info: str = "", inputs: int = 1) -> str:
    """An OpenVINO graph with nothing but its ends."""

    def layer(kind: str, sizes: str) -> str:
        dims = "".join(f"<dim>{n}</dim>" for n in sizes.split())
        return f'<layer type="{kind}"><output><port>{dims}</port></output></layer>'

    layers = layer("Parameter", picture) * inputs + layer("Result", output)
    return f'<?xml version="1.0"?><net><layers>{layers}</layers><rt_info>{info}</rt_info></net>'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What ultralytics exports."""
    (tmp_path / "w.xml").write_text(graph())
    (tmp_path / "w.bin").write_bytes(b"x")
    (tmp_path / "metadata.yaml").write_text(META)
    return tmp_path


def test_the_metadata_are_those_of_the_metadata_beside_it(folder: Path) -> None:
    """As ultralytics exports it; by suffix and by format."""
    metadata = read_metadata(folder / "w.xml")
    assert metadata.contract == Contract("detect", ("a", "b"), (64, 96), 32)
    assert (metadata.format, metadata.layout, metadata.batches) == ("openvino", "v8", False)
    assert format_of(Path("a/W.XML")) == "openvino"


def test_what_the_graph_says_itself_comes_first(folder: Path) -> None:
    """A conversion of ONNX keeps its metadata."""
    (folder / "w.xml").write_text(graph(output="1 5 126", info=KEPT))
    assert read_metadata(folder / "w.xml").contract.names == ("c",)


def test_open_sizes_are_open(folder: Path) -> None:
    """OpenVINO writes -1."""
    (folder / "w.xml").write_text(graph("-1 3 -1 -1", "-1 6 -1"))
    metadata = read_metadata(folder / "w.xml")
    assert metadata.contract.imgsz == (64, 96)
    assert metadata.batches
    (folder / "metadata.yaml").write_text(META.replace("nms: null", "nms: true"))
    assert not read_metadata(folder / "w.xml").batches


def test_the_parts_may_lie_elsewhere(folder: Path, tmp_path: Path) -> None:
    """As in the cache."""
    (tmp_path / "1").write_text(graph())
    companions = companions_beside(folder / "w.xml")
    assert set(companions) == {"openvino-bin", "metadata"}
    assert read_metadata(tmp_path / "1", "openvino", companions) == read_metadata(folder / "w.xml")


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("w.bin", None, r"\.bin file is missing"),
        ("metadata.yaml", None, r"no metadata\.yaml"),
        ("metadata.yaml", "a: [", "can't be read"),
        ("metadata.yaml", "- a", "holds a list"),
        (
            "metadata.yaml",
            META.replace("stride: 32", "stride: !!python/object:os.system {}"),
            "can't be read",
        ),
        ("w.xml", "<net>", "not an OpenVINO graph"),
        ("w.xml", "", "not an OpenVINO graph"),
        ("w.xml", graph(inputs=2), "2 inputs"),
        ("w.xml", graph(output="1 17 9"), "no known detection head"),
    ],
)
def test_what_is_refused(folder: Path, file: str, content: str | None, reason: str) -> None:
    """Each with its reason."""
    (folder / file).unlink() if content is None else (folder / file).write_text(content)
    with pytest.raises((WeightsError, NotFoundError), match=reason):
        read_metadata(folder / "w.xml")


def test_a_graph_that_unfolds_is_refused(folder: Path) -> None:
    """A few lines of entities that would be gigabytes."""
    entities = '<!ENTITY e0 "' + "x" * 100 + '">'
    entities += "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    (folder / "w.xml").write_text(f"<!DOCTYPE net [{entities}]><net>&e11;</net>")
    with pytest.raises(WeightsError, match="not an OpenVINO graph"):
        read_metadata(folder / "w.xml")
