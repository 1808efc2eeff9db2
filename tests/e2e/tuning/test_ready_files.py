# SPDX-License-Identifier: AGPL-3.0-or-later
"""Versions with files that are ready: a node takes the best that fits, and trusts none unseen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeagent.core.model import Contract
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.store.publish import publish
from tests.support.line import NodeHarness, assert_seamless
from tests.support.weights import NAMES, SIZE, STRIDE, checkpoint_pt, detection_onnx, exported_onnx

CONTRACT = Contract("detect", tuple(NAMES), (SIZE, SIZE), STRIDE)
CONVERSION_S = 400.0  # imports torch in several processes, on a machine that may be busy with other things


@pytest.fixture(autouse=True)
def auto(harness: NodeHarness) -> None:
    """The default, which other tests of a node don't use."""
    harness.config["engine"] = {"backend": "auto", "device": "cpu"}
    harness.config["update"]["settle_seconds"] = 86_400


def tried(engine: dict[str, Any]) -> dict[str, str]:
    """Each way that was tried, and what spoke against it."""
    return {trial["variant"]: trial["why"] for trial in engine["tried"]}


@pytest.mark.soak
def test_a_ready_file_spares_the_conversion(harness: NodeHarness) -> None:
    """The checkpoint is what it is compared with; what serves is the published file, or what was compiled from it."""
    checkpoint = checkpoint_pt(harness.folder / "best.pt")
    exported = exported_onnx(harness.folder / "best.onnx")
    done = subprocess.run(
        [
            *(sys.executable, "-m", "edgeagent", "publish", str(checkpoint), "--ready", str(exported)),
            *("--model", "yolo", "--version", "ready", "--store", str(harness.store)),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    harness.promote("ready")
    node = harness.start()
    node.wait_active("ready", timeout_s=CONVERSION_S)
    active = node.wait_tuned(timeout_s=CONVERSION_S)["active"]
    ways = tried(active)
    assert next(iter(ways)) == "torch-cpu"
    assert ways["onnxruntime-cpu"] == ""
    made = Path(harness.config["node"]["state_dir"]) / "cache" / "prepared"
    assert not list(made.rglob("*.onnx")), "nothing was converted"
    assert active["input"] == [SIZE, SIZE]
    assert_seamless(harness.wait_more(5))


@pytest.mark.soak
@pytest.mark.parametrize(
    "fault",
    [
        "sees something else",
        "other classes",
        "no weights at all",
    ],
)
def test_a_ready_file_that_is_not_the_same_network_does_not_serve(harness: NodeHarness, fault: str) -> None:
    """It is named with the reason; the source serves."""
    checkpoint = checkpoint_pt(harness.folder / "best.pt")
    wrong = harness.folder / "wrong.onnx"
    match fault:
        case "sees something else":
            detection_onnx(wrong)
        case "other classes":
            detection_onnx(wrong, names=("x", "y", "z"))
        case _:
            wrong.write_bytes(b"these are no weights")
    alternates = [(wrong, ModelMetadata(CONTRACT, "onnx"))]
    publish(
        checkpoint,
        "yolo",
        "ready",
        str(harness.store),
        metadata=ModelMetadata(CONTRACT, "pt"),
        alternates=alternates,
    )
    harness.promote("ready")
    node = harness.start()
    node.wait_active("ready", timeout_s=CONVERSION_S)
    active = node.wait_tuned(timeout_s=CONVERSION_S)["active"]
    assert active["engine"] == "torch-cpu"
    ways = tried(active)
    assert ways.pop("torch-cpu") == ""
    assert ways
    assert all(ways.values()), ways
    assert_seamless(harness.wait_more(5))
