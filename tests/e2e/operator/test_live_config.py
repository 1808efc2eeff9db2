# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras come, change and go while others run, and these lose no frame."""

from __future__ import annotations

import json
import os
import signal
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import yaml

from edgeagent.testing import MODEL, wait_for
from tests.support.line import CONVEYOR, PIPELINE, NodeHarness, assert_seamless

SLOW = CONVEYOR.replace("fps=30", "fps=15")


def reload(node: NodeHarness, change: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Change the file, send SIGHUP, and wait until the node says what came of it: its part of the status."""
    before = node.status()["config"]
    change(node.config)
    node.config_path.write_text(yaml.safe_dump(node.config, sort_keys=False), encoding="utf-8")
    os.kill(node.pid, signal.SIGHUP)

    def taken_over() -> dict[str, Any] | None:
        now: dict[str, Any] = node.status()["config"]
        return now if (now["loaded"], now["error"]) != (before["loaded"], before["error"]) else None

    return wait_for(taken_over, "the configuration taken over")


def changes(node: NodeHarness, count: int) -> list[dict[str, Any]]:
    """What the history says of the configuration, once there are so many. A thread writes it: it may be a moment
    behind."""

    def look() -> list[dict[str, Any]] | None:
        found = [r for r in node.history() if r["event"] == "config"]
        return found if len(found) >= count else None

    return wait_for(look, f"{count} records of changes")


def test_cameras_come_and_go_while_two_run(harness: NodeHarness) -> None:
    """A camera on the model that serves, and one on a new model: there, moved, gone again. Of the two that run not one
    frame is lost; what the other one's sink had is written out, and its model's memory is given back."""
    harness.add_pipeline("other", "yolo", {"url": SLOW, "live": False})
    for model in ("yolo", "labels"):
        harness.publish("v1", model=model)
        harness.promote("v1", model)
    node = harness.start("v1")
    harness.wait_more(5, "other")
    cameras = list(harness.config["pipelines"])
    harness.add_pipeline("third", "yolo", {"url": CONVEYOR, "live": False})
    harness.add_pipeline("fourth", "labels", {"url": SLOW})
    said = reload(harness, lambda config: config["engine"].update(hang_seconds=20))
    assert said["changed"] == [
        f"pipelines.third added: yolo on {CONVEYOR}",
        f"pipelines.fourth added: labels on {SLOW}",
    ]
    assert said["needs_restart"] == ["engine.hang_seconds"]
    assert_seamless(harness.wait_more(10, "third"))
    harness.wait_more(5, "fourth")
    assert node.active("labels") == "v1"

    third = harness.config["pipelines"][2]
    reload(harness, lambda config: third.update(source={"url": SLOW, "live": False}))
    seqs = [r["seq"] for r in harness.wait_more(10, "third")]
    assert seqs == list(range(seqs[0], seqs[-1] + 1))  # numbered on, also over the change

    pids = {w["pid"] for w in node.workers("engine") if w["model"] == "labels"}
    said = reload(harness, lambda config: config.update(pipelines=cameras))
    assert said["changed"] == ["pipelines.third removed", "pipelines.fourth removed"]
    assert set(node.status()["models"]) == {"yolo"}
    assert pids
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    assert {w["pipeline"] for w in node.workers("capture")} == {PIPELINE, "other"}
    ended = len(harness.records("third"))
    harness.wait_more(10, "other")
    assert len(harness.records("third")) == ended

    history = changes(node, 3)
    assert [r["result"] for r in history] == ["changed"] * 3
    assert "pipelines.fourth removed" in history[-1]["why"]
    assert {r["who"] for r in history} == {"SIGHUP"}
    for name in (PIPELINE, "other"):
        pipeline = node.status()["pipelines"][name]
        assert (pipeline["dropped"], pipeline["sinks"]["lost"]) == (0, 0)
        assert_seamless(harness.records(name))


@pytest.mark.soak
def test_live_cameras_drop_nothing_while_others_come_and_go(harness: NodeHarness) -> None:
    """Five times a camera on the model that serves, and one on a model that has to be fetched, gated and loaded beside
    it: of two live cameras, which drop what can't be inferred in time, no frame is dropped or missing."""
    live = CONVEYOR.replace("fps=30", "fps=10")
    harness.config["pipelines"][0]["source"] = {"url": live}
    harness.add_pipeline("other", "yolo", {"url": live})
    harness.publish("v1")
    harness.promote("v1")
    node = harness.start("v1")
    node.wait_tuned()
    names = (PIPELINE, "other")
    for name in names:
        harness.wait_more(10, name)
    before = {name: node.status()["pipelines"][name]["dropped_by"] for name in names}
    cameras = list(harness.config["pipelines"])
    for turn in range(5):
        model = f"labels-{turn}"
        harness.publish("v1", model=model)
        harness.promote("v1", model)
        harness.add_pipeline(f"third-{turn}", "yolo", {"url": live})
        harness.add_pipeline(f"fourth-{turn}", model, {"url": live})
        reload(harness, lambda config: None)
        harness.wait_more(10, f"third-{turn}")
        harness.wait_more(10, f"fourth-{turn}")
        reload(harness, lambda config: config.update(pipelines=list(cameras)))
    after = {name: node.status()["pipelines"][name]["dropped_by"] for name in names}
    assert after == before
    for name in names:
        seqs = [record["seq"] for record in harness.records(name)]
        assert seqs[-1] - seqs[-100] == 99, name


def ask(node: NodeHarness, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """Status code and JSON answer."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(node.url + path, data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except HTTPError as e:
        with e:
            return e.code, json.load(e)


def test_a_camera_comes_and_goes_through_the_api(harness: NodeHarness) -> None:
    """Written into the file, whose old content is kept, so that a restart finds the same; who did it stands in the
    history. What it may not name is refused, and so is what is based on another file."""
    harness.config["api"]["changes"] = {"allow": True}
    harness.publish("v1")
    harness.promote("v1")
    node = harness.start("v1")
    harness.wait_more(3)
    code, shown = ask(node, "GET", "/api/config")
    assert (code, shown["path"], shown["may_change"]) == (200, str(node.config_path), True)
    first = shown["revision"]
    extra = {"model": "yolo", "source": {"url": SLOW, "live": False}, "confidence": 0.3}
    wrong = {"model": "yolo", "source": {"url": "/etc/passwd"}, "confidence": 3}
    code, refused = ask(node, "PUT", "/api/pipelines/extra", {"pipeline": wrong})
    assert code == 422
    assert [p.partition(":")[0] for p in refused["error"]["problems"]] == [
        "pipelines[1].source.url",
        "pipelines[1].confidence",
    ]
    code, done = ask(
        node, "PUT", "/api/pipelines/extra", {"pipeline": extra, "if_revision": first, "by": "anna"}
    )
    assert (code, done["changed"]) == (200, [f"pipelines.extra added: yolo on {SLOW}"])
    wait_for(lambda: node.status()["pipelines"]["extra"]["frames"] > 3, "frames of the new camera")
    kept = Path(f"{node.config_path}.1").read_text(encoding="utf-8")
    assert [p["name"] for p in yaml.safe_load(kept)["pipelines"]] == [PIPELINE]
    code, _ = ask(node, "DELETE", f"/api/pipelines/extra?if_revision={first}")
    assert code == 409
    code, _ = ask(node, "PUT", f"/api/models/{MODEL}/settings", {"settings": {"min_size": 0.9}})
    assert code == 200
    wait_for(lambda: not harness.wait_more(1)[-1]["detections"], "nothing that is large enough")
    code, done = ask(node, "PUT", f"/api/models/{MODEL}/settings", {"settings": {"confidence": {"rust": 1}}})
    assert (code, node.model()["unknown_classes"]) == (200, ["rust"])
    wait_for(lambda: harness.wait_more(1)[-1]["detections"], "detections again")
    code, done = ask(node, "DELETE", f"/api/pipelines/extra?if_revision={done['revision']}&by=ben")
    assert (code, done["changed"]) == (200, ["pipelines.extra removed"])
    assert "extra" not in node.status()["pipelines"]
    history = changes(node, 4)
    assert [r["who"].partition(" ")[0] for r in history] == ["anna", "api", "api", "ben"]
    seqs = [record["seq"] for record in harness.records()]
    assert seqs == list(range(len(seqs)))
