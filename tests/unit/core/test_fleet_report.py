# SPDX-License-Identifier: AGPL-3.0-or-later
"""What nodes say of their models: small, seldom different, and untrusted."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.fleet_report import (
    MAX_REPORT_BYTES,
    Phase,
    Report,
    coarse,
    decode_report,
    encode_report,
    node_and_model,
    report_key,
)
from edgeagent.errors import RolloutError

KEY = report_key("press-07", "yolo")
FULL = Report(
    version="v2",
    digest="sha256:" + "0" * 64,
    before="v1",
    state="stable",
    labels={"line": "a"},
    rollout="r1",
    phase=Phase.STABLE,
    why="",
    preloaded="v3",
    preload_refused="no room",
    frames=4096,
    objects=96,
    evidence=1.5,
    latency_ms=12.5,
    boxes=3.25,
    golden=0.975,
)


def test_the_key_says_whose_and_of_what() -> None:
    """And nobody else's key is taken for one."""
    assert KEY == "/edgeagent/reports/press-07/yolo"
    assert node_and_model(KEY) == ("press-07", "yolo")


@pytest.mark.parametrize(
    "key",
    [
        "/edgeagent/reports/press-07",
        "/edgeagent/reports/press-07/yolo/x",
        "/edgeagent/reports//yolo",
        "/edgeagent/reports/../yolo",
        "/edgeagent/nodes/press-07",
        "press-07/yolo",
        "",
    ],
)
def test_a_key_of_another_form(key: str) -> None:
    """It is nobody's."""
    assert node_and_model(key) is None


@pytest.mark.parametrize(
    "report", [Report(), Report(version="v1"), FULL, replace(FULL, golden=0.0, evidence=0.0)]
)
def test_what_is_written_can_be_read(report: Report) -> None:
    """Every field; what says nothing takes no room."""
    assert decode_report(KEY, encode_report(report)) == report
    assert encode_report(Report()) == b"{}"


def test_a_report_is_small() -> None:
    """Each writing stays in the store's history."""
    assert len(encode_report(FULL)) < 400


@pytest.mark.parametrize("letter", ["x", "ä", "錆", "🔩", "\x00", '"', "\udcff"])
def test_long_texts_leave_room_for_the_rest(letter: str) -> None:
    """A failure that can't be told would be no failure to the fleet; nor may labels get lost by which a node is in."""
    labels = {f"label-{n}": "north" for n in range(8)}
    report = replace(
        FULL, phase=Phase.ROLLED_BACK, labels=labels, why=letter * 5000, preload_refused=letter * 5000
    )
    value = encode_report(report)
    assert len(value) <= MAX_REPORT_BYTES
    told = decode_report(KEY, value)
    assert told.why
    assert replace(told, why="", preload_refused="") == replace(report, why="", preload_refused="")


def test_labels_without_end_are_left_out() -> None:
    """The rest still is told."""
    report = replace(FULL, labels={f"label-{n}": "north" * 20 for n in range(100)})
    told = decode_report(KEY, encode_report(report))
    assert (told.phase, told.version, told.labels) == (Phase.STABLE, "v2", {})


def test_reasons_are_without_secrets() -> None:
    """All nodes' reasons are read by everybody."""
    told = decode_report(KEY, encode_report(Report(why="GET s3://ada:pw@store/ failed")))
    assert told.why == "GET s3://***@store/ failed"


def test_what_a_newer_release_adds_is_left_aside() -> None:
    """Nodes of two releases are one fleet."""
    assert decode_report(KEY, b'{"version": "v1", "mood": "good"}') == Report(version="v1")


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "Expecting value"),
        (b"[]", "no object"),
        (b"\xff", "invalid start byte"),
        (b'{"a":' * 400, "not a report of a node"),
        (b" " * (MAX_REPORT_BYTES + 1), "of 2049 bytes"),
        (b'{"version": 2}', "version is not text"),
        (b'{"labels": ["a"]}', "labels are no texts by name"),
        (b'{"labels": {"line": 1}}', "labels are no texts by name"),
        (b'{"phase": "asleep"}', "'asleep' is not a valid Phase"),
        (b'{"phase": []}', "[] is not a valid Phase"),
        (b'{"frames": "many"}', "frames is not a number"),
        (b'{"frames": true}', "frames is not a number"),
        (b'{"frames": 1e300}', "frames is not a number"),
        (b'{"evidence": NaN}', "Out of range float"),
    ],
)
def test_what_is_no_report(value: bytes, why: str) -> None:
    """It says under which key, and what to do."""
    with pytest.raises(RolloutError, match=re.escape(why)) as caught:
        decode_report(KEY, value)
    assert KEY in caught.value.what
    assert caught.value.todo


@given(
    st.binary(max_size=100)
    | st.dictionaries(st.text(max_size=9), st.integers() | st.text()).map(
        lambda doc: json.dumps(doc).encode()
    )
)
def test_any_bytes(value: bytes) -> None:
    """Nothing but the error that callers know."""
    with suppress(RolloutError):
        decode_report(KEY, value)


def test_a_count_that_grows_changes_seldom() -> None:
    """Half of it would be a lie, and each writing costs: at most a third less, and twice a doubling."""
    assert [coarse(n) for n in (-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 16)] == [
        0,
        0,
        1,
        2,
        3,
        4,
        4,
        6,
        6,
        8,
        8,
        12,
        16,
    ]
    assert all(2 * n / 3 < coarse(n) <= n for n in range(1, 5000))
    assert len({coarse(n) for n in range(1_000_000)}) < 42
