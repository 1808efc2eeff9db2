# SPDX-License-Identifier: AGPL-3.0-or-later
"""Golden pictures through the engine that serves, beside its line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.testing import wait_for
from tests.support.line import NodeHarness, assert_seamless
from tests.support.weights import SIZE


def golden_set(folder: Path) -> Path:
    """Six pictures, on each of which a version of the line finds one object, in the middle."""
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    for n in range(6):
        cv2.imwrite(str(folder / "images" / f"{n}.png"), np.full((SIZE, SIZE, 3), 40 * n, np.uint8))
        (folder / "labels" / f"{n}.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    return folder


@pytest.mark.soak
def test_results_that_drift_are_said(harness: NodeHarness) -> None:
    """The first replay is what later ones are held against; no frame of the line notices. What differs then is in the
    history, in the status and in the metrics."""
    harness.config["update"] |= {
        "golden": {"yolo": str(golden_set(harness.folder / "golden"))},
        "gates": {"golden": {"drop": 0.95}},  # six objects are few
        "sentinel": {"golden_hours": 0.0003},
    }
    harness.publish("v1")
    harness.promote("v1")
    node = harness.start("v1")

    def replayed() -> dict[str, Any] | None:
        seen = node.model()["sentinel"]
        return seen if seen and seen["figures"] else None

    seen = wait_for(replayed, "a second replay")
    assert (seen["figures"]["pictures"], seen["figures"]["objects"], seen["why"]) == (6, 6, None)
    assert seen["first_at"] < seen["at"]
    [first] = (harness.folder / "state" / "sentinel" / "yolo").glob("*.json")
    doc = json.loads(first.read_text())
    doc["boxes"]["2"] = []  # as if it had found nothing there then
    first.write_text(json.dumps(doc))
    record = wait_for(lambda: harness.history("drifted"), "drift in the history")[0]
    assert "on 1 of 6 golden pictures" in record["why"]
    assert record["gates"][0]["figures"]["extra"] == 1
    assert "on 1 of 6" in node.model()["sentinel"]["why"]
    wait_for(lambda: harness.metric('edgeagent_sentinel_differing{model="yolo"}') > 0, "a metric of it")
    assert len(harness.history("drifted")) == 1
    assert_seamless(harness.wait_more(5))
