# SPDX-License-Identifier: AGPL-3.0-or-later
"""A candidate is tried on what the cameras saw, before it serves a frame."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from edgeagent.testing import PIPELINE, wait_for
from tests.support.line import NodeHarness, assert_seamless


def test_recent_frames_judge_what_comes(tmp_path: Path) -> None:
    """A version that calls everything something else is refused with figures, whatever its weights claim; one that
    finds the same comes in, and so does the other where the directive says how much may change. The worker that writes
    is killed meanwhile: no frame is lost."""
    recent = {"keep": True, "every_seconds": 0.1, "min_free_bytes": 0}
    thresholds = {"replay": {"min_frames": 20, "min_objects": 20}}
    with NodeHarness(tmp_path, recent_frames=recent, gates=thresholds) as node:
        box = (32.0, 32.0, 16.0, 16.0, 0.9, 0)
        node.publish("v1")
        node.publish("v2")
        node.publish("same", boxes=[box])
        node.promote("v1")
        node.start("v1")
        folder = tmp_path / "state" / "replay" / PIPELINE
        wait_for(lambda: len(list(folder.glob("*.jpg"))) >= 5, "first pictures")
        (writer,) = node.workers("pictures")
        os.kill(writer["pid"], signal.SIGKILL)
        node.promote("v2")  # before there are enough frames: it waits for them
        record = node.wait_history("rejected", "v2")
        assert "calls" in record["why"]
        assert "something else" in record["why"]
        found = next(gate for gate in record["gates"] if gate["name"] == "replay")
        assert not found["passed"]
        assert found["figures"]["renamed"] == found["figures"]["objects"] >= 20
        node.promote("same")
        node.wait_served("same")
        (passed,) = (gate for gate in node.model()["active"]["gates"] if gate["name"] == "replay")
        assert passed["figures"]["agreement"] == 1
        limits = {"replay": {"renamed": 0.999}}
        node.promote(json.dumps({"version": "v2", "gates": limits, "reason": "another paint"}))
        assert_seamless(node.wait_served("v2"))


def test_what_two_versions_differ_on_is_kept(tmp_path: Path) -> None:
    """A version that calls everything something else, in shadow beside the one that serves: frames that show it are
    there, with labels of the one that serves, ready to be corrected. No frame is lost for them."""
    with NodeHarness(tmp_path, disagreements={"min_free_bytes": 0}) as node:
        node.publish("v1")
        node.publish("v2")
        node.promote("v1")
        node.start("v1")
        node.promote(json.dumps({"version": "v2", "shadow": {"seconds": 600}}))
        folder = tmp_path / "state" / "disagreements" / "yolo" / "v2"
        wait_for(lambda: (folder / "data.yaml").exists(), "the first of them")
        (first, *_) = sorted((folder / "images").glob("*.jpg"))
        assert first.name.endswith(f"-{PIPELINE}-d2.jpg")
        assert (folder / "drawn" / first.name).exists()
        label = (folder / "labels" / f"{first.stem}.txt").read_text().split()
        assert (label[0], len(label)) == ("0", 5)
        assert_seamless(node.wait_more(3))
