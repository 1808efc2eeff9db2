# SPDX-License-Identifier: AGPL-3.0-or-later
"""The manifest: what is refused and under which name, what the digest depends on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.model import (
    MAX_CLASSES,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    Contract,
    Manifest,
    WeightFile,
    check_name,
    parse_manifest,
)
from edgeagent.errors import IntegrityError, UsageError

WEIGHTS = {"path": "best.onnx", "sha256": "a" * 64, "size": 12, "format": "onnx"}
IMAGE = {"path": "golden/1.png", "sha256": "b" * 64, "size": 5, "format": "png"}
GOOD: dict[str, Any] = {
    "schema": 1,
    "model": "yolo",
    "version": "v2",
    "sequence": 7,
    "created": "2026-01-01T00:00:00Z",
    "task": "detect",
    "imgsz": [320, 640],
    "names": ["scratch", "dent"],
    "stride": 32,
    "files": [WEIGHTS, IMAGE],
    "golden": ["golden/1.png"],
    "metrics": {"mAP50": 0.9, "epochs": 3},
    "source": {"commit": "abc"},
    "note": "ground",
}


def parse(doc: object) -> Manifest:
    """As if `doc` stood at yolo/v2."""
    return parse_manifest(json.dumps(doc).encode(), "yolo", "v2")


def with_file(**changes: Any) -> dict[str, Any]:
    """GOOD, with other values in its first file."""
    return {**GOOD, "files": [{**WEIGHTS, **changes}, IMAGE]}


def test_a_good_one() -> None:
    """Every field arrives."""
    m = parse(GOOD)
    assert m.contract == Contract("detect", ("scratch", "dent"), (320, 640), 32)
    assert m.weights == WeightFile("best.onnx", "a" * 64, 12, "onnx")
    assert (m.sequence, m.created, m.golden, m.note) == (
        7,
        "2026-01-01T00:00:00Z",
        ("golden/1.png",),
        "ground",
    )
    assert (m.metrics, m.source) == ({"mAP50": 0.9, "epochs": 3.0}, {"commit": "abc"})


@pytest.mark.parametrize("key", ["golden", "metrics", "source", "note"])
def test_what_may_be_left_out(key: str) -> None:
    """These have a default."""
    assert parse({k: v for k, v in GOOD.items() if k != key}).model == "yolo"


@pytest.mark.parametrize(
    "key",
    ["schema", "model", "version", "sequence", "created", "task", "imgsz", "names", "stride", "files"],
)
def test_what_may_not_be_left_out(key: str) -> None:
    """The missing field is named."""
    with pytest.raises(IntegrityError, match=rf"{key} is missing"):
        parse({k: v for k, v in GOOD.items() if k != key})


def test_unknown_keys_are_left_alone() -> None:
    """A newer publisher may add some within the same schema."""
    assert parse({**GOOD, "licence": "AGPL-3.0-or-later"}) == parse(GOOD)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("schema", 2),
        ("schema", True),
        ("schema", 1.0),
        ("model", "other"),
        ("version", "v3"),
        ("sequence", -1),
        ("sequence", True),
        ("sequence", "7"),
        ("sequence", 10**300),
        ("created", 5),
        ("task", "pose"),
        ("task", ["detect"]),
        ("imgsz", 640),
        ("imgsz", [640]),
        ("imgsz", [640, 640, 3]),
        ("imgsz", [640, 0]),
        ("imgsz", [640, 1 << 20]),
        ("imgsz", [640, 640.0]),
        ("imgsz", [640, True]),
        ("names", {"0": "scratch"}),
        ("names", []),
        ("names", ["scratch", ""]),
        ("names", ["scratch", 3]),
        ("names", ["x" * 201]),
        ("names", ["x"] * (MAX_CLASSES + 1)),
        ("names", ["\u7f3a" * 100] * 150),
        ("stride", 0),
        ("stride", 257),
        ("stride", "32"),
        ("files", []),
        ("files", {}),
        ("files", ["best.onnx"]),
        ("files", [WEIGHTS] * 2),
        ("files", [IMAGE]),
        ("files", [{**IMAGE, "path": f"{n}.png"} for n in range(MAX_FILES + 1)]),
        ("golden", "golden/1.png"),
        ("golden", ["golden/2.png"]),
        ("golden", [1]),
        ("metrics", {"mAP50": "high"}),
        ("metrics", {"mAP50": True}),
        ("metrics", {"mAP50": 10**400}),
        ("metrics", []),
        ("source", ["abc"]),
        ("source", {"commit": ["abc"]}),
        ("note", None),
    ],
)
def test_a_bad_field_is_refused_by_name(key: str, value: object) -> None:
    """Wrong type, out of range, or at odds with the folder it lies in."""
    with pytest.raises(IntegrityError) as caught:
        parse({**GOOD, key: value})
    named = "names" if key in ("model", "version") else key
    assert caught.value.why.startswith(named)
    assert caught.value.what == "manifest of yolo/v2"
    assert caught.value.todo


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", None),
        ("sha256", "A" * 64),
        ("sha256", "a" * 63),
        ("sha256", "a" * 64 + "\n"),
        ("size", 0),
        ("size", -1),
        ("size", True),
        ("size", 12.0),
        ("size", 10**300),
        ("size", MAX_FILE_BYTES + 1),
        ("size", 2**53),
        ("format", ""),
        ("format", None),
        ("format", "x" * 33),
        ("path", None),
    ],
)
def test_a_bad_file_is_refused_by_its_place_and_field(field: str, value: object) -> None:
    """files[0].field."""
    with pytest.raises(IntegrityError, match=rf"files\[0\]\.{field}"):
        parse(with_file(**{field: value}))


@pytest.mark.parametrize(
    "path",
    [
        "../best.onnx",
        "golden/../../best.onnx",
        "/etc/passwd",
        "//host/share",
        "./best.onnx",
        "golden//1.png",
        "golden/",
        "..",
        ".",
        "",
    ],
)
def test_a_path_that_leaves_the_folder_is_refused(path: str) -> None:
    """Up, away, or nowhere."""
    with pytest.raises(IntegrityError, match=r"files\[0\]\.path .* does not stay inside"):
        parse(with_file(path=path))


@pytest.mark.parametrize(
    ("path", "fault"),
    [
        ("..\\best.onnx", r"holds '\\\\'"),
        ("C:best.onnx", "holds ':'"),
        ("s3://bucket/best.onnx", "holds ':'"),
        ("memory::best.onnx", "holds ':'"),
        ("best\x00.onnx", "can't be shown"),
        ("best\n.onnx", "can't be shown"),
        ("best\u202e.onnx", "can't be shown"),
        ("manifest.json", "is the manifest itself"),
        ("x" * 513, "more than 512 characters"),
    ],
)
def test_a_path_that_means_something_else_is_refused(path: str, fault: str) -> None:
    """To a store or another system, or shows as what it isn't; for what it is."""
    with pytest.raises(IntegrityError, match=rf"files\[0\]\.path .* {fault}"):
        parse(with_file(path=path))


@pytest.mark.parametrize(
    "path", ["best.onnx", "golden/a b.png", "größe.onnx", "..best.onnx", "a/manifest.json"]
)
def test_a_path_inside_is_taken(path: str) -> None:
    """Odd, but inside."""
    assert parse(with_file(path=path)).weights.path == path


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b'"v2"',
        b"[" * 100_000,
        b"{}" + b" " * MAX_MANIFEST_BYTES,
        json.dumps({**GOOD, "note": "\ud800"}).encode(),  # a lone surrogate: no text at all
        json.dumps({**GOOD, "metrics": {"mAP50": float("nan")}}).encode(),
        json.dumps({**GOOD, "metrics": {"mAP50": 1}}).replace("1}", "1e999}").encode(),
        json.dumps({**GOOD, "sequence": 0}).replace('"sequence": 0', '"sequence": ' + "9" * 5000).encode(),
    ],
)
def test_what_is_no_manifest_at_all(data: bytes) -> None:
    """Empty, cut short, too deep, too large, or not to be written as JSON again."""
    with pytest.raises(IntegrityError, match="manifest of yolo/v2"):
        parse_manifest(data, "yolo", "v2")


@pytest.mark.parametrize("key", ["model", "task", "files", "version"])
def test_an_error_stays_short_however_large_the_value(key: str) -> None:
    """It goes into log, status and audit log."""
    value = [{**WEIGHTS, "path": "../" * 50_000}] if key == "files" else "x" * 500_000
    with pytest.raises(IntegrityError) as caught:
        parse({**GOOD, key: value})
    assert len(str(caught.value)) < 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(GOOD)), JSON))
def test_whatever_stands_in_the_fields_only_integrity_errors_come(changes: dict[str, Any]) -> None:
    """Never another exception; what is taken can be written and read again."""
    try:
        m = parse_manifest(json.dumps({**GOOD, **changes}).encode(), "yolo", "v2")
    except IntegrityError:
        return
    assert parse_manifest(m.to_json(), "yolo", "v2") == m


@given(st.dictionaries(st.sampled_from(sorted(WEIGHTS)), JSON))
def test_whatever_stands_in_a_file_only_integrity_errors_come(changes: dict[str, Any]) -> None:
    """Likewise one level down."""
    try:
        m = parse(with_file(**changes))
    except IntegrityError:
        return
    assert parse_manifest(m.to_json(), "yolo", "v2") == m


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_only_give_integrity_errors(data: bytes) -> None:
    """Nothing else gets out."""
    with pytest.raises(IntegrityError):
        parse_manifest(data, "yolo", "v2")


def network(fmt: str, path: str = "") -> dict[str, Any]:
    """An entry of `files`."""
    return {**WEIGHTS, "path": path or f"best.{fmt}", "format": fmt}


def test_ready_files_are_the_further_networks_in_their_order() -> None:
    """Not the source, not what belongs to a graph, not golden files, whatever their format."""
    files = [WEIGHTS, network("metadata"), network("torchscript"), network("pt"), network("openvino-bin")]
    golden = [network("onnx", "golden/1.onnx"), network("pt", "golden/2.pt"), IMAGE]
    m = parse({**GOOD, "files": files + golden, "golden": [f["path"] for f in golden]})
    assert m.weights.path == "best.onnx"
    assert [f.path for f in m.alternates] == ["best.torchscript", "best.pt"]
    assert parse(GOOD).alternates == ()


@pytest.mark.parametrize("formats", [["onnx", "onnx"], ["pt", "onnx", "onnx"], ["onnx", "png", "pt", "onnx"]])
def test_two_files_of_one_weight_format_are_refused(formats: list[str]) -> None:
    """Which of them would a node take?"""
    files = [network(fmt, f"{i}.bin") for i, fmt in enumerate(formats)]
    with pytest.raises(IntegrityError, match="files: more than one has the format onnx"):
        parse({**GOOD, "files": files, "golden": []})


def test_weights_that_are_golden_too_are_taken_as_ever() -> None:
    """As `publish` once wrote it for weights called `golden-….pt`."""
    m = parse({**GOOD, "files": [WEIGHTS], "golden": [WEIGHTS["path"]]})
    assert (m.weights.path, m.alternates) == ("best.onnx", ())


def test_round_trip_is_readable_and_ends_in_a_newline() -> None:
    """A person reads it too."""
    m = replace(parse(GOOD), note="größer")
    text = m.to_json().decode()
    assert text.endswith("}\n")
    assert "größer" in text
    assert parse_manifest(m.to_json(), "yolo", "v2") == m


def test_the_digest_is_of_what_decides_behaviour() -> None:
    """Not of notes, dates, names of the release, measured figures, nor the order of the files."""
    m = parse(GOOD)
    same = replace(
        m,
        version="v9",
        sequence=8,
        created="later",
        note="other",
        metrics={},
        source={},
        files=m.files[::-1],
    )
    assert same.digest == m.digest
    assert m.digest.startswith("sha256:")
    assert len(m.digest) == 71


@pytest.mark.parametrize(
    "change",
    [
        {"names": ["dent", "scratch"]},
        {"names": ["scratch", "dent", "tear"]},
        {"imgsz": [640, 320]},
        {"stride": 16},
        {"files": [{**WEIGHTS, "sha256": "c" * 64}, IMAGE]},
        {"files": [{**WEIGHTS, "size": 13}, IMAGE]},
        {"files": [{**WEIGHTS, "path": "other.onnx"}, IMAGE]},
        {"files": [{**WEIGHTS, "format": "pt"}, IMAGE]},
        {"files": [WEIGHTS], "golden": []},
    ],
)
def test_the_digest_changes_with_behaviour(change: dict[str, Any]) -> None:
    """The order of the class names included: a permuted list is another model."""
    assert parse({**GOOD, **change}).digest != parse(GOOD).digest


def test_the_digest_stays_the_same_in_later_releases() -> None:
    """It stands in state files, caches and records: changing it loses every last known good."""
    assert parse(GOOD).digest == ("sha256:4fb830ed5bc436bdbf8c25d3b139447ce6495fc28598a684ceaf67e9ef3bed3c")


def test_contract_comes_back_from_json() -> None:
    """Lists become tuples again."""
    m = parse(GOOD)
    values = json.loads(
        json.dumps({"task": "detect", "names": m.contract.names, "imgsz": [320, 640], "stride": 32})
    )
    assert Contract.from_values(values) == m.contract


@pytest.mark.parametrize("name", ["v2", "2026.01", "a-b_c.d", "V" * 128, "0"])
def test_good_names(name: str) -> None:
    """Safe as a folder name everywhere."""
    assert check_name("version", name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        "/a",
        "a/b",
        "a\\b",
        "-a",
        ".a",
        "_a",
        "a b",
        "ä",
        "a\n",
        "a\x00",
        "V" * 129,
        None,
        2,
        ["v2"],
    ],
)
def test_bad_names(name: object) -> None:
    """Refused with what is allowed."""
    with pytest.raises(UsageError, match="use letters, digits"):
        check_name("version", name)


@pytest.mark.parametrize(
    ("frames", "fitted"),
    [
        ([], (640, 640)),
        ([(720, 1280)], (384, 640)),  # 360 scaled, and whole strides
        ([(1280, 720)], (640, 384)),
        ([(480, 640)], (480, 640)),
        ([(720, 1280), (360, 640), (480, 640)], (480, 640)),
        ([(720, 1280), (1280, 720)], (640, 640)),
        ([(10, 5000)], (32, 640)),
    ],
)
def test_an_input_that_fits_the_frames(frames: list[tuple[int, int]], fitted: tuple[int, int]) -> None:
    """As large as in the square, in whole strides, for all of them."""
    assert Contract("detect", ("scratch",), (640, 640), 32).fitted(frames) == fitted
