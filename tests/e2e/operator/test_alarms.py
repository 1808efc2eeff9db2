# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alarms of a real node: raised by what is seen, acknowledged, remembered over a restart, and cleared."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing import wait_for
from tests.support.line import NodeHarness
from tests.support.mjpeg import MjpegCamera
from tests.support.weights import nan_onnx

RULES = [
    {
        "name": "scratched",
        "classes": ["scratch"],
        "severity": "critical",
        "off_delay_seconds": 1,
        "clip": {"before": 1, "after": 1},
    },
    {"name": "forklift", "classes": ["forklift"]},
]


def alarms(node: NodeHarness) -> dict[str, dict[str, Any]]:
    """The last of each rule."""
    return {alarm["rule"]: alarm for alarm in reversed(node.get("/api/alarms")["alarms"])}


def wait_alarm(node: NodeHarness, rule: str, **fields: Any) -> dict[str, Any]:
    """Until the last alarm of a rule is so."""

    def look() -> dict[str, Any] | None:
        alarm = alarms(node).get(rule)
        return alarm if alarm and fields.items() <= alarm.items() else None

    return wait_for(look, f"{rule}: {fields}")


def fetch(node: NodeHarness, path: str, part: str = "") -> tuple[int, str, bytes]:
    """Status, type and content of what lies below the address of the API. part: a range of it."""
    request = urllib.request.Request(f"{node.url}/{path}", headers={"Range": part} if part else {})
    with urllib.request.urlopen(request) as answer:
        return answer.status, answer.headers["Content-Type"], answer.read()


def test_an_alarm_from_its_beginning_to_its_end(harness: NodeHarness) -> None:
    """v1 finds scratches and v2 doesn't; no version has forklifts."""
    node = harness
    node.config["pipelines"][0]["alarms"] = RULES
    node.publish("v1")
    node.publish("v2")
    node.promote("v1")
    node.start("v1")
    raised = wait_alarm(node, "scratched", state="raised")
    assert (raised["severity"], raised["text"], raised["figures"]["version"]) == (
        "critical",
        "line-1: scratch seen",
        "v1",
    )
    unusable = wait_alarm(node, "rule_unusable", state="raised", pipeline="line-1")
    assert "v1 has no class forklift; it has scratch, dent, label" in unusable["text"]
    errors = {rule["name"]: rule["error"] for rule in node.get("/api/alarms")["rules"]}
    assert errors["scratched"] is None
    assert "no class forklift" in errors["forklift"]

    filmed = wait_for(lambda: (a := alarms(node)["scratched"])["clip"] and a, "a clip")
    picture, clip = fetch(node, filmed["picture"]), fetch(node, filmed["clip"], "bytes=4-7")
    assert (picture[:2], picture[2][:2]) == ((200, "image/jpeg"), b"\xff\xd8")
    assert clip == (206, "video/mp4", b"ftyp")

    code, seen = node.post(f"/api/alarms/{raised['id']}/ack", {"by": "Kim"})
    assert (code, seen["state"], seen["acknowledged_by"]) == (200, "acknowledged", "Kim from 127.0.0.1")
    assert node.post(f"/api/alarms/{raised['id']}/ack")[0] == 409
    assert node.post("/api/alarms/nobody/ack")[0] == 404
    assert node.post(f"/api/alarms/{unusable['id']}/shelve", {"by": "Kim", "minutes": 10**6})[0] == 422
    code, shelved = node.post(
        f"/api/alarms/{unusable['id']}/shelve",
        {"by": "Kim", "minutes": 60, "reason": "forklifts come in May"},
    )
    assert (code, shelved["state"], shelved["shelved_reason"]) == (200, "shelved", "forklifts come in May")
    audited = wait_for(lambda: [r for r in node.history() if r["event"] == "alarm"][1:], "two records")
    assert [r["result"] for r in audited] == ["shelved"]

    node.kill()  # nothing can be written any more
    node.start("v1")
    again = alarms(node)
    assert {"id": raised["id"], "state": "acknowledged", "count": 1}.items() <= again["scratched"].items()
    assert (again["rule_unusable"]["id"], again["rule_unusable"]["state"]) == (unusable["id"], "shelved")

    node.promote("v2")
    over = wait_alarm(node, "scratched", state="cleared")
    assert (over["id"], over["active"], over["closed_why"]) == (raised["id"], False, "cleared")
    with urllib.request.urlopen(node.url + "/metrics") as answer:
        text = answer.read().decode()
    assert 'edgeagent_alarms{severity="warning",state="shelved"} 1.0' in text


@pytest.mark.soak
def test_a_camera_that_goes_and_comes_back_is_one_alarm(tmp_path: Path) -> None:
    """Lost, then frozen: each is said, and that nothing is found meanwhile isn't."""
    with (
        MjpegCamera() as camera,
        NodeHarness(tmp_path / "node", {"url": camera.url, "stall_seconds": 1}) as node,
    ):
        node.config["pipelines"][0]["alarms"] = [
            {"name": "no-dents", "when": "absent", "classes": ["dent"], "absent_seconds": 600},
            {"name": "scratched", "classes": ["scratch"], "off_delay_seconds": 1},
        ]
        node.config["alarms"] = {"camera_lost": {"after_seconds": 1}}
        node.publish("v1")
        node.promote("v1")
        node.start("v1")
        wait_alarm(node, "scratched", state="raised", active=True)
        camera.stop()
        lost = wait_alarm(node, "camera_lost", state="raised", active=True)
        assert (lost["severity"], lost["pipeline"]) == ("critical", "line-1")
        assert alarms(node)["scratched"]["active"]  # nothing is known of it now
        camera.start()
        wait_alarm(node, "camera_lost", state="raised", active=False)
        code, _ = node.post(f"/api/alarms/{lost['id']}/ack", {"by": "Kim"})
        assert code == 200
        assert wait_alarm(node, "camera_lost", state="cleared")["closed_why"] == "acknowledged"
        camera.moving = False
        wait_alarm(node, "camera_frozen", state="raised", active=True)
        camera.moving = True
        wait_alarm(node, "camera_frozen", active=False)
        assert set(alarms(node)) == {"camera_lost", "camera_frozen", "scratched"}


@pytest.mark.soak
def test_a_version_that_was_refused(harness: NodeHarness) -> None:
    """With what was found; over when another one is asked for."""
    node = harness
    node.publish("v1")
    node.publish("v2")
    node.promote("v1")
    node.start("v1")
    node.publish("bad", nan_onnx(node.folder / "bad.onnx"))
    node.promote("bad")
    refused = wait_alarm(node, "version_refused", state="raised", active=True)
    assert refused["model"] == "yolo"
    why = refused["figures"].pop("why")
    assert why in refused["text"]
    assert refused["figures"] == {"version": "bad", "serves": "v1", "stage": "GATING"}
    assert "bad was refused" in refused["text"]
    node.promote("v2")
    wait_alarm(node, "version_refused", state="raised", active=False)
