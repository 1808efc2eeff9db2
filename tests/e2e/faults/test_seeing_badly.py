# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions that load well and judge wrongly, on the demo's line: what only live frames unmask is taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from bench.fault_versions import GOOD, find_fault
from edgeagent.core.model import Contract
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.scenes.conveyor import CLASSES
from edgeagent.testing import PIPELINE, wait_for
from tests.support.line import NodeHarness, assert_seamless

METADATA = ModelMetadata(Contract("detect", CLASSES, (320, 320), 32), "onnx")
LINE = {"url": "synthetic://conveyor?seed=7&fps=10", "live": False}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[NodeHarness]:
    """The demo's line with the good v2, and a long probation for what comes; not started."""
    with NodeHarness(tmp_path, LINE, probation={"seconds": 600}) as made:
        made.publish("v2-good", GOOD, claims=METADATA)
        made.promote("v2-good")
        yield made


def _ended(node: NodeHarness, refused: int) -> bool:
    return bool(node.history("rolled_back") or node.history("rejected")[refused:])


def pass_the_gates(node: NodeHarness, fault: str) -> None:
    """Promote it, again where the smoke gate happened to try it on a frame that unmasks it."""
    for refused in range(10):
        node.promote(json.dumps({"version": fault, "reason": f"attempt {refused + 1}"}))
        wait_for(partial(_ended, node, refused), "its end")
        if node.history("rolled_back"):
            return
        assert "gate smoke" in node.history("rejected")[-1]["why"]


def taken_back(node: NodeHarness, fault: str, silent: int = 0) -> str:
    """Promote a faulty version, wait until the good one serves again; why, as the history says. silent: 1, where its
    first frame may have been its last."""
    weights = node.folder / f"{fault}.onnx"
    find_fault(fault).make(GOOD, weights)
    node.publish(fault, weights, claims=METADATA)
    node.start("v2-good")
    node.wait_more(3)
    pass_the_gates(node, fault)
    why = str(node.wait_history("rolled_back", "v2-good")["why"])
    node.wait_active("v2-good")
    records = node.wait_more(10)
    assert_seamless(records, silent=silent)
    served = list(dict.fromkeys(r["version"] for r in records))
    assert served == ["v2-good", fault] or (silent and served == ["v2-good"])
    assert records[-1]["version"] == "v2-good"
    assert node.status()["pipelines"][PIPELINE]["dropped_by"].get("failed", 0) == 0
    return why


@pytest.mark.soak
def test_what_only_live_frames_unmask_is_taken_back(node: NodeHarness) -> None:
    """By the objects that the version before finds on the same frames; nothing is lost."""
    why = taken_back(node, "lab-light")
    assert "beside the version before it" in why


def test_a_frame_without_numbers_is_the_last_of_its_version(node: NodeHarness) -> None:
    """The version before, still warm, has that frame too: none is lost, and none comes out of order."""
    why = taken_back(node, "nan", silent=1)
    assert "NaN" in why
