# SPDX-License-Identifier: AGPL-3.0-or-later
"""The record of a frame: one value, one form on the outside."""

from __future__ import annotations

import dataclasses
import json

import pytest

from edgeagent.sinks.port import Record

RECORD = Record(
    pipeline="line-1",
    seq=7,
    ts=1767225600.123,
    model="yolo",
    version="v2",
    digest="sha256:a",
    epoch=3,
    latency_ms=21.4,
    names=("scratch", "Beule ü"),
    boxes=((254.6512, 125.2499, 335.7, 186.0, 0.912149, 1.0), (0.0, 0.0, 1.0, 1.0, 0.25, 0.0)),
)


def test_it_is_written_as_the_interface_says() -> None:
    """All fields, in this order; pixels to a tenth, confidence to four digits."""
    assert list(RECORD.as_dict().items()) == [
        ("pipeline", "line-1"),
        ("seq", 7),
        ("ts", 1767225600.123),
        ("model", "yolo"),
        ("version", "v2"),
        ("digest", "sha256:a"),
        ("epoch", 3),
        ("latency_ms", 21.4),
        (
            "detections",
            [
                {"cls": 1, "name": "Beule ü", "conf": 0.9121, "xyxy": [254.7, 125.2, 335.7, 186.0]},
                {"cls": 0, "name": "scratch", "conf": 0.25, "xyxy": [0.0, 0.0, 1.0, 1.0]},
            ],
        ),
    ]


def test_json_is_the_same_in_one_line() -> None:
    """As UTF-8, without a newline in it or behind it."""
    line = RECORD.to_json()
    assert b"\n" not in line
    assert "ü".encode() in line
    assert json.loads(line) == RECORD.as_dict()


def test_nobody_changes_a_record() -> None:
    """Several threads read it."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        RECORD.seq = 8  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        RECORD.note = "x"  # type: ignore[attr-defined]
