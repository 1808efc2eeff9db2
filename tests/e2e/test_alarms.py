# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alarms of a real node: raised by what is seen, acknowledged, remembered over a restart, and cleared."""

from __future__ import annotations

import urllib.request
from typing import Any

from edgeagent.testing import wait_for
from tests.support.line import NodeHarness

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
