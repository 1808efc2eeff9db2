# SPDX-License-Identifier: AGPL-3.0-or-later
"""engine.backend auto: every way to run a version is tried beside the line, proved, and remembered."""

from __future__ import annotations

import json
import os
import signal
from importlib.util import find_spec
from itertools import groupby
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeagent.core.model import Contract
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.store.publish import publish as publish_files
from edgeagent.testing import children, wait_for
from edgeagent.update.trial_runner import MEASURED
from tests.e2e.tuning.test_torch import publish
from tests.support import films
from tests.support.line import NodeHarness, assert_seamless
from tests.support.weights import NAMES, SIZE, STRIDE, checkpoint_pt, detection_onnx, openvino_ir

CONVERSION_S = 400.0  # imports torch in several processes, on a machine that may be busy with other things

pytestmark = pytest.mark.skipif(find_spec("openvino") is None, reason="one runtime is no choice")


@pytest.fixture(autouse=True)
def auto(harness: NodeHarness) -> None:
    """The default, which other tests of a node don't use."""
    harness.config["engine"] = {"backend": "auto", "device": "cpu"}
    harness.config["update"]["settle_seconds"] = 86_400  # but for the test of just that


def said(harness: NodeHarness, event: str) -> list[dict[str, Any]]:
    """The entries of the node's log, over all its starts, that say this."""
    entries = [json.loads(line) for line in harness.log.read_text().splitlines() if line[:1] == "{"]
    return [entry for entry in entries if entry["event"] == event]


def prepared(harness: NodeHarness) -> Path:
    """Where the node keeps what it has made."""
    return Path(harness.config["node"]["state_dir"]) / "cache" / "prepared"


def half_made(harness: NodeHarness) -> list[Path]:
    """Folders that a preparation is at work on, or left."""
    return [path for path in prepared(harness).glob(".*") if path.name != MEASURED]


def made(harness: NodeHarness) -> list[Path]:
    """Folders of what was prepared, whole."""
    return list(prepared(harness).glob("[!.]*"))


def serves_what_fits(engine: dict[str, Any]) -> bool:
    """Whether what serves was tried, and nothing spoke against it. Which of them is fastest is the machine's to say;
    that the fastest is taken is shown in tests/unit/update/test_autotune.py, by figures of our own."""
    return engine["engine"] in [t["variant"] for t in engine["tried"] if t["ms"] and not t["why"]]


def test_tried_proved_and_remembered(harness: NodeHarness) -> None:
    """Every picture of this film moves the boxes: only the same pictures prove anything."""
    film = films.video(harness.folder / "film.mkv", 90)
    harness.config["pipelines"][0]["source"] = {"url": str(film), "fps": 20, "loop": True, "live": False}
    for version in ("v1", "v2"):
        harness.publish(version, brightness_moves=20.0)
    harness.promote("v1")
    node = harness.start("v1")
    harness.wait_more(5)
    active = node.wait_tuned(timeout_s=CONVERSION_S)["active"]
    reference, *others = active["tried"]
    assert (reference["variant"], reference["why"], reference["parity"]) == ("onnxruntime-cpu", "", None)
    assert "openvino-cpu" in [t["variant"] for t in others]
    for trial in active["tried"]:
        assert trial["ms"] > 0, trial
    for trial in (t for t in others if t["variant"] == "openvino-cpu"):
        assert trial["why"] == ""
        assert (trial["parity"]["frames"], trial["parity"]["missing"], trial["parity"]["extra"]) == (1, 0, 0)
        assert trial["parity"]["objects"] > 0
    assert serves_what_fits(active)
    assert len(said(harness, "variant.tried")) == len(active["tried"])

    # The next version is shaped like this one: tried in what is fastest for it, in one worker, gates and all.
    harness.swap_to("v2")
    like = node.model()["active"]
    similar = list(dict.fromkeys(["onnxruntime-cpu", active["engine"]]))
    trials = [t["variant"] for t in said(harness, "variant.tried")[len(active["tried"]) :]]
    assert trials[: len(similar)] == similar
    # On a busy machine it may be slower than the reference this time.
    assert len(trials) == len(similar) or said(harness, "tuning.not_similar")
    assert serves_what_fits(like)
    active = like
    tried = len(said(harness, "variant.tried"))

    # Back, to and fro, and at another start: from memory.
    assert node.post("/rollback")[0] == 200
    harness.wait_served("v1")
    harness.swap_to("v2")
    assert node.model()["active"]["tried"] == active["tried"]
    assert_seamless(harness.wait_more(5))
    node.stop()
    node = harness.start("v2")
    assert node.model()["active"]["engine"] == active["engine"]
    harness.swap_to("v1")
    harness.wait_more(5)
    assert len(said(harness, "variant.tried")) == tried
    assert not half_made(harness)


@pytest.mark.soak
def test_published_checkpoint_is_served_without_torch(harness: NodeHarness) -> None:
    """It is converted once, for the frames; what serves needs torch only if torch was the fastest."""
    larger = ModelMetadata(Contract("detect", NAMES, (128, 128), STRIDE), "pt")
    harness.publish("pt", checkpoint_pt(harness.folder / "best.pt", size=128), claims=larger)
    harness.promote("pt")
    node = harness.start()
    node.wait_active("pt", timeout_s=CONVERSION_S)
    first = node.model()["active"]
    assert (first["engine"], first["tuning"], first["tried"]) == ("torch-cpu", "unconverted", [])
    assert all(gate["passed"] for gate in first["gates"])
    active = node.wait_tuned(timeout_s=CONVERSION_S)["active"]
    assert active["epoch"] == first["epoch"]
    assert [t["variant"] for t in active["tried"]][:3] == ["torch-cpu", "onnxruntime-cpu", "openvino-cpu"]
    assert serves_what_fits(active)
    wait_for(lambda: len(node.workers("engine")) == 1, "the engine before is gone")
    pid = harness.engine_pid("pt")
    assert pid is not None
    in_torch = active["engine"] == "torch-cpu"
    assert ("libtorch" in Path(f"/proc/{pid}/maps").read_text()) == in_torch
    harness.wait_more(5)
    trials = len(said(harness, "variant.tried"))
    (folder,) = made(harness)
    assert len([p for p in folder.iterdir() if p.suffix == ".onnx"]) == (0 if in_torch else 1)
    assert active["input"] == [96, 128]  # the conveyor is 16:9
    node.stop()
    node = harness.start("pt")
    assert_seamless(harness.wait_more(5))
    assert len(said(harness, "variant.tried")) == trials

    # Another camera: what is there serves it at once, and is made anew for its frames meanwhile.
    node.stop()
    harness.config["pipelines"][0]["source"]["url"] = "synthetic://conveyor?fps=30&width=192&height=320"
    node = harness.start("pt")
    epoch = node.model()["active"]["epoch"]
    wait_for(lambda: node.model()["active"]["input"] == [128, 96], "made for tall frames", CONVERSION_S)
    assert len(said(harness, "variant.tried")) > trials
    now = node.model()["active"]
    assert (now["version"], now["epoch"]) == ("pt", epoch)
    assert serves_what_fits(now)
    assert_seamless(harness.wait_more(5))
    assert len(made(harness)) == 2


@pytest.mark.soak
def test_a_node_whose_tuning_results_hold_no_more_serves_at_once(harness: NodeHarness) -> None:
    """Another version of a runtime, say, or another setting: what is fastest now is found out beside the line, and
    confirmed there on many pictures."""
    weights, golden = harness.folder / "v1.onnx", harness.folder / "golden"
    detection_onnx(weights)
    golden.mkdir()
    for i in range(63):  # as many as a version can have; the rest comes from the line
        cv2.imwrite(str(golden / f"{i}.png"), np.full((SIZE, SIZE, 3), i, np.uint8))
    claims = ModelMetadata(Contract("detect", tuple(NAMES), (SIZE, SIZE), STRIDE), "onnx")
    publish_files(weights, "yolo", "v1", str(harness.store), metadata=claims, golden=golden)
    harness.promote("v1")
    node = harness.start("v1")
    assert len(node.wait_tuned()["active"]["tried"]) > 1
    harness.wait_state("STABLE")
    node.stop()
    harness.config["engine"]["threads"] = 2
    trials = len(said(harness, "variant.tried"))
    node = harness.start("v1")
    epoch = node.model()["active"]["epoch"]
    wait_for(lambda: len(node.model()["active"]["tried"]) > 1, "tried again", CONVERSION_S)
    active = node.model()["active"]
    assert len(said(harness, "variant.tried")) > trials
    assert (active["version"], active["epoch"]) == ("v1", epoch)
    assert serves_what_fits(active)
    assert_seamless(harness.wait_more(5))
    wait_for(lambda: len(node.workers("engine")) == 1, "the engine before is gone")

    assert active["tuning"] == "provisional"
    node.stop()
    harness.config["update"]["settle_seconds"] = 0
    node = harness.start("v1")
    wait_for(lambda: said(harness, "tuning.confirmed"), "confirmed", CONVERSION_S)
    wait_for(lambda: [r for r in node.history() if r["event"] == "rebuild"][-1:], "told")
    active = node.model()["active"]
    assert (active["version"], active["epoch"]) == ("v1", epoch + 1)
    (trial,) = [t for t in active["tried"] if t["variant"] == active["engine"]]
    if trial["parity"]:  # else it is the source itself that serves
        assert (trial["parity"]["frames"], trial["parity"]["differing_at_most"]) == (100, 0.0295)
    assert_seamless(harness.wait_more(5))


@pytest.mark.soak
def test_published_graph_with_its_numbers_in_a_file_of_their_own(harness: NodeHarness) -> None:
    """OpenVINO's own format is two files: both are published, fetched, gated and loaded from the cache."""
    harness.publish("v1")
    graph = openvino_ir(harness.folder / "best.xml", harness.folder / "yolo-v1.onnx")
    assert publish(graph, "ir", harness.store).returncode == 0
    manifest = json.loads((harness.store / "yolo" / "ir" / "manifest.json").read_text())
    assert [f["format"] for f in manifest["files"]] == ["openvino", "openvino-bin"]
    harness.promote("v1")
    node = harness.start("v1")
    node.wait_tuned()
    harness.promote("ir")
    node.wait_active("ir", timeout_s=CONVERSION_S)
    assert node.model()["active"]["engine"].startswith("openvino-cpu")
    found = harness.wait_more(20)
    assert {r["version"] for r in found} == {"v1", "ir"}
    assert all(r["detections"] for r in found)
    assert_seamless(found)


@pytest.mark.soak
def test_node_killed_while_it_prepares(harness: NodeHarness) -> None:
    """Whatever it was making is gone and made anew; what it had made before is whole, and serves. Then there and back:
    from ONNX to the checkpoint, and to ONNX again."""
    harness.publish("v1")
    harness.publish("pt", checkpoint_pt(harness.folder / "best.pt"))
    harness.promote("v1")
    node = harness.start("v1")
    node.wait_tuned()
    harness.promote("pt")
    wait_for(lambda: (node.model()["candidate"] or {}).get("trial") == "onnxruntime-cpu", "it converts")
    (unfinished,) = half_made(harness)
    workers = children(node.pid)
    node.kill()
    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in workers), "all workers gone")
    whole = [p.name for p in made(harness)]
    assert len(whole) == 1, "that of v1"
    before = len(said(harness, "variant.tried"))

    node = harness.start("v1")
    first = harness.wait_more(5)
    assert {r["version"] for r in first[:5]} == {"v1"}
    node.wait_active("pt", timeout_s=CONVERSION_S)
    assert not unfinished.exists()
    assert not half_made(harness)
    now = [p.name for p in made(harness)]
    assert len(now) == 2
    assert set(whole) < set(now)
    tried = node.model()["active"]["tried"]
    assert len(said(harness, "variant.tried")) == before + len([t for t in tried if t["ms"]])
    harness.wait_served("pt")
    assert node.post("/rollback")[0] == 200
    found = harness.wait_served("v1")
    assert_seamless(found)
    assert [version for version, _ in groupby(r["version"] for r in found)] == ["v1", "pt", "v1"]


@pytest.mark.soak
def test_measuring_worker_killed(harness: NodeHarness) -> None:
    """Somebody else's kill says nothing of its variant: it is measured again, and the version serves."""
    harness.publish("v1")
    larger = ModelMetadata(Contract("detect", tuple(NAMES), (96, 96), STRIDE), "onnx")
    harness.publish("v2", size=96, claims=larger)  # not shaped like v1, so that all is tried
    harness.promote("v1")
    node = harness.start("v1")
    node.wait_tuned()
    harness.promote("v2")

    def measuring() -> int | None:
        status = node.status()
        candidate = status["models"]["yolo"]["candidate"] or {}
        found = [w["pid"] for w in status["workers"] if w["kind"] == "prepare"]
        return found[0] if candidate.get("trial") == "openvino-cpu" and found else None

    os.kill(wait_for(measuring, "openvino on trial"), signal.SIGKILL)
    node.wait_active("v2")
    active = node.model()["active"]
    (killed,) = [t for t in active["tried"] if t["variant"] == "openvino-cpu"]
    assert killed["ms"] > 0
    assert said(harness, "worker.killed")
    assert serves_what_fits(active)
    assert not half_made(harness)
    assert_seamless(harness.wait_more(5))
