# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checkpoints (.pt): served by torch in its worker; one that runs a command never does."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from edgeagent.testing import wait_for
from tests.support.line import NodeHarness, assert_seamless
from tests.support.weights import checkpoint_pt, evil_pt


def publish(weights: Path, version: str, store: Path) -> subprocess.CompletedProcess[str]:
    """`edgeagent publish`, as an operator types it."""
    command = [sys.executable, "-m", "edgeagent", "publish", str(weights), "--model", "yolo"]
    return subprocess.run(
        [*command, "--version", version, "--store", str(store)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.soak
def test_checkpoint_is_published_and_served(harness: NodeHarness) -> None:
    """A checkpoint of the same names, run by torch; then an ONNX version, which this backend can't load."""
    harness.config["engine"] = {"backend": "torch"}
    done = publish(checkpoint_pt(harness.folder / "best.pt"), "pt1", harness.store)
    assert done.returncode == 0, done.stderr
    harness.promote("pt1")
    node = harness.start("pt1")
    assert "torch" in node.model()["active"]["engine"]
    harness.wait_more(10)
    harness.publish("v1")
    harness.promote("v1")
    record = harness.wait_history("rejected", "v1")
    assert "engine.backend" in record["why"]
    assert_seamless(harness.wait_more(5))
    assert node.active() == "pt1"


@pytest.mark.soak
def test_checkpoint_that_runs_a_command_is_refused(harness: NodeHarness) -> None:
    """Neither `publish` nor a node that finds it in its store unpickles it; both say why they refuse it."""
    marker = harness.folder / "it-ran"
    evil = evil_pt(harness.folder / "evil.pt", marker)
    done = publish(evil, "evil", harness.store)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert "system" in done.stderr, done.stderr  # names what it would have called
    assert not (harness.store / "yolo" / "evil").exists()

    # Somebody puts it into the store by hand, under a manifest that is right in itself.
    good = harness.publish("v1")
    folder = harness.store / "yolo" / "evil"
    folder.mkdir()
    (folder / "evil.pt").write_bytes(evil.read_bytes())
    doc = json.loads(good.to_json())
    digest = hashlib.sha256(evil.read_bytes()).hexdigest()
    file = {"path": "evil.pt", "sha256": digest, "size": evil.stat().st_size, "format": "pt"}
    (folder / "manifest.json").write_text(json.dumps({**doc, "version": "evil", "files": [file]}))
    harness.promote("v1")
    node = harness.start("v1")
    harness.promote("evil")
    record = harness.wait_history("rejected", "evil")
    assert "gate contract" in record["why"]
    assert "system" in record["why"]
    assert node.active() == "v1"
    wait_for(lambda: not node.workers("prepare"), "the worker that read it gone")
    assert not marker.exists()
    assert_seamless(harness.wait_more(5))
