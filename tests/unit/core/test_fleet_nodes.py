# SPDX-License-Identifier: AGPL-3.0-or-later
"""The fleet as a table: from presence, which anybody may have written, and reports."""

from __future__ import annotations

import json

import pytest

from edgeagent.core.fleet_nodes import Node, Nodes, nodes_of, only
from edgeagent.core.fleet_report import Report

REPORT = Report("v2", "sha256:2", state="STABLE", labels={"line": "a"})


def presence(**models: object) -> bytes:
    """As a node writes it."""
    return json.dumps({"node": "n", "models": models, "pipelines": {}}).encode()


SERVES = {"state": "PROBATION", "active": {"version": "v1", "epoch": 3, "digest": "sha256:1"}}


def test_a_node_that_is_there_and_reports() -> None:
    """What the report says counts; what keeps it from following the fleet stands in the presence."""
    held = SERVES | {"held": {"kind": "rollback", "version": "v1"}}
    found = nodes_of({"n1": presence(yolo=held)}, {"yolo": {"n1": REPORT}})
    assert found.rows == (
        Node("n1", "yolo", True, "v2", "sha256:2", "STABLE", "rollback to v1", False, REPORT),
    )


def test_a_report_without_presence_is_that_of_a_silent_node() -> None:
    """It served that when it was last heard of."""
    assert nodes_of({}, {"yolo": {"n1": REPORT}}).rows == (
        Node("n1", "yolo", False, "v2", "sha256:2", "STABLE", "", False, REPORT),
    )


def test_a_node_of_an_earlier_release_has_no_report() -> None:
    """Its presence says what serves."""
    assert nodes_of({"n1": presence(yolo=SERVES)}, {}).rows == (
        Node("n1", "yolo", True, "v1", "sha256:1", "PROBATION"),
    )


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        b'{"models": []}',
        b'{"models": {"../x": {}}}',
        b"[" * 10_000,
        b"x" * 100_000,
    ],
)
def test_a_presence_that_cant_be_understood_is_a_node_even_so(value: bytes) -> None:
    """It is there, whatever it serves."""
    assert nodes_of({"n1": value}, {}) == Nodes((), ("n1",))
    assert nodes_of({"n1": value}, {"yolo": {"n1": REPORT}}).rows[0].present


def test_fields_of_another_kind_are_left_aside() -> None:
    """Of a node of another release."""
    odd = {"state": 7, "active": "v1", "held": [1]}
    assert nodes_of({"n1": presence(yolo=odd)}, {}).rows == (Node("n1", "yolo", True),)


def test_a_node_id_that_is_used_twice() -> None:
    """Said by the presence of either."""
    said = json.dumps({"models": {"yolo": SERVES}, "conflict": True}).encode()
    assert nodes_of({"n1": said, "n2": presence(yolo=SERVES)}, {}).rows[0].conflict
    assert not nodes_of({"n1": said, "n2": presence(yolo=SERVES)}, {}).rows[1].conflict


def test_one_model_only() -> None:
    """In the order of models and nodes."""
    found = nodes_of({}, {"b": {"n2": REPORT, "n1": REPORT}, "a": {"n1": REPORT}})
    assert [(row.model, row.node) for row in found.rows] == [("a", "n1"), ("b", "n1"), ("b", "n2")]
    assert [row.node for row in only(found, "b").rows] == ["n1", "n2"]
    assert only(found, "") == found
