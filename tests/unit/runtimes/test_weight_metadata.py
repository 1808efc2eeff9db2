# SPDX-License-Identifier: AGPL-3.0-or-later
"""Metadata of exporters, made into facts or refused."""

from __future__ import annotations

import pytest

from edgeagent.core.model import Contract
from edgeagent.errors import WeightsError
from edgeagent.runtimes.metadata import MAX_METADATA_CHARS, parse_metadata

META = {"task": "detect", "names": "{0: 'a', 1: 'b'}", "imgsz": "[640, 320]", "stride": "32"}
INPUT = (1, 3, 640, 320)
OUTPUT = (1, 6, 4200)


def test_ultralytics_metadata() -> None:
    """Everything that the contract needs, and the head."""
    metadata = parse_metadata(META, INPUT, OUTPUT, "onnx")
    assert metadata.contract == Contract("detect", ("a", "b"), (640, 320), 32)
    assert (metadata.format, metadata.layout) == ("onnx", "v8")


def test_yolov5_metadata() -> None:
    """Its own repository writes stride and names only, the names as a list or as a dict."""
    for names in ("['a', 'b']", "{0: 'a', 1: 'b'}"):
        metadata = parse_metadata({"stride": "32", "names": names}, (1, 3, 64, 64), (1, 252, 7), "onnx")
        assert metadata.contract == Contract("detect", ("a", "b"), (64, 64), 32)
        assert metadata.layout == "v5"


def test_an_open_shape_takes_the_size_from_the_metadata_and_leaves_the_head_open() -> None:
    """Exported with dynamic=True."""
    metadata = parse_metadata(META, (None, 3, None, None), (None, 6, None), "onnx")
    assert metadata.contract.imgsz == (640, 320)
    assert metadata.layout is None


def test_the_graph_wins_over_the_metadata() -> None:
    """What the network takes is what it is fed."""
    metadata = parse_metadata(META, (1, 3, 64, 64), (1, 6, 84), "onnx")
    assert metadata.contract.imgsz == (64, 64)


def test_another_task_is_a_fact_not_an_error() -> None:
    """The contract gate refuses it, by name."""
    assert (
        parse_metadata({**META, "task": "segment"}, INPUT, (1, 38, 4200), "onnx").contract.task == "segment"
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"names": None}, "names is missing"),
        ({"names": "{0: 'a'"}, "names can't be read"),
        ({"names": "__import__('os').system('true')"}, "names can't be read"),
        ({"names": "(" * 5000}, "names can't be read"),
        ({"names": " " * (MAX_METADATA_CHARS + 1)}, "characters"),
        ({"names": "{0: 'a', 2: 'b'}"}, "numbered"),
        ({"names": "{'x': 'a', 'y': 'b'}"}, "numbered"),
        ({"names": "[]"}, "class names"),
        ({"names": "['a', 7]"}, "class 1 is 7, no text.*put it in quotes in data.yaml"),
        ({"names": "{0: False, 1: True}"}, "class 0 is False, no text.*put it in quotes in data.yaml"),
        ({"names": "['a', ['b']]"}, "class names"),
        ({"names": "7"}, "class names"),
        ({"stride": "None"}, "stride"),
        ({"stride": "0"}, "stride"),
        ({"stride": "'x'"}, "stride"),
        ({"stride": "True"}, "stride"),
        ({"stride": "32.5"}, "stride is 32.5, not a whole number"),
        ({"stride": None}, "stride is missing"),
        ({"head": "RTDETRDecoder"}, "RTDETRDecoder"),
    ],
)
def test_metadata_that_is_refused(change: dict[str, str | None], reason: str) -> None:
    """Each with the field and what is wrong with it."""
    meta = {k: v for k, v in {**META, **change}.items() if v is not None}
    with pytest.raises(WeightsError, match=reason):
        parse_metadata(meta, INPUT, OUTPUT, "onnx")


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((4, 3, 640, 320), "one picture"),
        ((1, 1, 640, 320), "pictures of 1 channel; three channels are needed"),
        ((None, 4, None, None), "three channels are needed"),
        ((1, 640), "one picture"),
        ((1, 3, 16, 640), "16×640"),
        ((1, 3, 64, 100_000), "64×100000"),
    ],
)
def test_inputs_that_are_refused(shape: tuple[int, ...], reason: str) -> None:
    """One colour picture of a bearable size is what the line has."""
    with pytest.raises(WeightsError, match=reason):
        parse_metadata(META, shape, OUTPUT, "onnx")


def test_whole_numbers_may_be_written_as_fractions() -> None:
    """Some exporters write 32.0; it is no other number."""
    meta = {**META, "stride": "32.0", "imgsz": "[640.0, 320.0]"}
    contract = parse_metadata(meta, (1, 3, None, None), OUTPUT, "onnx").contract
    assert (contract.stride, contract.imgsz) == (32, (640, 320))
    assert type(contract.stride) is int


@pytest.mark.parametrize("imgsz", ["[640]", "'640'", "[640, 640, 3]", "None"])
def test_an_input_size_that_is_none(imgsz: str) -> None:
    """Needed only where the graph leaves it open."""
    with pytest.raises(WeightsError, match="imgsz"):
        parse_metadata({**META, "imgsz": imgsz}, (1, 3, None, None), OUTPUT, "onnx")


def test_an_open_batch_takes_several_pictures() -> None:
    """Unless NMS is built in: it would look at the first only, and say nothing."""
    assert parse_metadata(META, (None, 3, 640, 320), OUTPUT, "onnx").batches
    assert not parse_metadata(META, INPUT, OUTPUT, "onnx").batches
    built_in = {**META, "args": "{'dynamic': True, 'nms': True}"}
    assert not parse_metadata(built_in, (None, 3, 640, 320), (None, 300, 6), "onnx").batches
    for args in ("{'nms': None}", "{'nms': False}", "{}"):
        assert parse_metadata({**META, "args": args}, (None, 3, 640, 320), OUTPUT, "onnx").batches


def test_shapes_that_are_not_known_at_all() -> None:
    """TorchScript: the size is in the metadata, the head shows when it runs."""
    metadata = parse_metadata(META, (), (), "torchscript")
    assert metadata.contract.imgsz == (640, 320)
    assert (metadata.layout, metadata.batches) == (None, False)
