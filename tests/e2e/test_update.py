# SPDX-License-Identifier: AGPL-3.0-or-later
"""Updates under a running line: what is promoted serves, and no frame notices."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from edgeagent.testing import wait_for
from tests.support.etcd import EtcdServer
from tests.support.http_store import http_store
from tests.support.line import CONVEYOR, NodeHarness, assert_seamless
from tests.support.weights import NAMES

PIN = "/models/yolo/pins/node-under-test"


@pytest.fixture(scope="module")
def three(line: NodeHarness) -> NodeHarness:
    """The shared node, with three versions in its store."""
    for version in ("v2", "v3"):
        line.publish(version)
    return line


def test_swap_under_load_loses_nothing(three: NodeHarness) -> None:
    """v1 → v2 → v3 under 30 frames a second: every frame once, in order, of one version an epoch."""
    three.wait_more(20)
    three.promote(json.dumps({"version": "v2", "by": "Kim", "reason": "tiny defects"}))
    three.wait_active("v2")
    three.wait_more(20)
    three.promote("v3")
    three.wait_active("v3")
    found = three.wait_more(20)
    assert_seamless(found)
    assert list(dict.fromkeys((r["version"], r["epoch"]) for r in found)) == [("v1", 1), ("v2", 2), ("v3", 3)]
    swap = three.wait_history("swapped", "v2")
    assert (swap["who"], swap["why"], swap["from_version"]) == ("Kim", "tiny defects", "v1")
    assert swap["digest"] == next(r["digest"] for r in found if r["version"] == "v2")
    assert {"fetching", "gating", "warming"} <= swap["stages"].keys()
    facts = swap["facts"]
    assert (swap["epoch"], facts["lost"]) == (2, sum(facts["dropped"].values()))
    assert min(facts["frames"], facts["longest_gap_ms"], facts["memory_before"]) > 0
    check = three.get(f"/api/history/check?anchor={three.status()['audit_head']}")
    assert check["intact"]
    assert check["logs"]["audit.jsonl"]["records"] >= swap["seq"] > 0
    three.swap_to("v1")


def test_roll_back_is_a_swap_and_holds(harness: NodeHarness) -> None:
    """While the version before is warm, roll-back loads nothing; it holds until the key is written again."""
    node = harness.serve_with_standby()
    warm = harness.engine_pid("v1")
    harness.wait_more(5)
    code, answer = node.post("/rollback", {"by": "Robin"})
    assert (code, answer["from"], answer["active"]) == (200, "v2", "v1")
    found = harness.wait_more(5)
    assert harness.engine_pid("v1") == warm
    wait_for(lambda: harness.engine_pid("v2") is None, "v2 retired")
    model = node.model()
    assert (model["aspired"], model["held"]["kind"], model["state"]) == ("v1", "rollback", "STABLE")
    assert model["held"]["by"].startswith("Robin")
    assert_seamless(found)
    node.stop()

    # It holds over a restart, and ends when the key is written again, be it with the value that it has.
    node = harness.start("v1")
    harness.wait_more(20)
    assert node.model()["held"]["version"] == "v1"
    harness.promote("v2")
    node.wait_active("v2")
    assert node.model()["held"] is None
    assert_seamless(harness.wait_more(5))


def test_promote_through_api_holds_until_the_intent_changes(three: NodeHarness) -> None:
    """POST promote serves on this node; the next writing of the key wins over it."""
    code, answer = three.post("/api/models/yolo/promote", {"version": "v2", "by": "Kim", "reason": "try it"})
    assert (code, answer["to"], answer["held"]["kind"]) == (202, "v2", "promote")
    three.wait_served("v2")
    three.promote("v3")
    three.wait_served("v3")
    assert three.model()["held"] is None
    code, answer = three.post("/api/models/yolo/promote", {"version": "../v2"})
    assert code == 422, answer
    assert three.post("/api/models/other/promote", {"version": "v2"})[0] == 404
    three.swap_to("v1")
    assert_seamless(three.wait_more(5))


def test_pin_wins_over_current(three: NodeHarness) -> None:
    """A pin of this node wins; when it is deleted, what stands in `current` serves."""
    three.swap_to("v2")
    before = len(three.records())
    three.write(PIN, "v1")
    three.wait_served("v1")
    three.promote("v3")
    three.wait_more(30)
    assert three.model()["aspired"] == "v1"
    (three.intent / PIN.lstrip("/")).unlink()
    three.wait_active("v3")
    found = three.wait_more(5)
    assert_seamless(found)
    assert list(dict.fromkeys(r["version"] for r in found[before:])) == ["v2", "v1", "v3"]
    three.swap_to("v1")


def test_pinned_node_keeps_its_hold_over_a_restart(harness: NodeHarness) -> None:
    """After a restart `current`, which the pin outweighs, neither ends the hold nor serves for a moment."""
    for version in ("v1", "v2", "v3"):
        harness.publish(version)
    harness.promote("v3")
    harness.write(PIN, "v1")
    node = harness.start("v1")
    harness.wait_state("STABLE")
    harness.write(PIN, "v2")
    node.wait_active("v2")
    harness.wait_state("STABLE")
    assert node.post("/rollback")[0] == 200
    node.wait_active("v1")
    node.stop()
    node = harness.start("v1")
    wait_for(lambda: node.status()["config_store"]["connected"], "config store read")
    harness.wait_more(40)
    model = node.model()
    assert (model["aspired"], model["held"] and model["held"]["kind"]) == ("v1", "rollback")
    assert not harness.history("superseded")


def test_deleted_key_changes_nothing(harness: NodeHarness) -> None:
    """Deleting `current` leaves what serves, also over a restart."""
    harness.publish("v1")
    harness.promote("v1")
    harness.start("v1")
    harness.wait_state("STABLE")
    (harness.intent / "models/yolo/current").unlink()
    harness.wait_more(20)
    assert harness.model()["aspired"] == "v1"
    harness.stop()
    node = harness.start("v1")
    harness.wait_more(10)
    assert (node.active(), node.model()["last_error"]) == ("v1", None)


def test_real_etcd(harness: NodeHarness, tmp_path: Path) -> None:
    """put, roll back, put the same again, pin, unpin; etcd away and back: all through etcdctl."""
    for version in ("v1", "v2"):
        harness.publish(version)
    with EtcdServer(tmp_path / "etcd") as etcd:
        harness.config["config_store"]["url"] = etcd.url
        etcd.etcdctl("put", "/models/yolo/current", "v1")
        node = harness.start("v1")
        harness.wait_state("STABLE")
        etcd.etcdctl("put", "/models/yolo/current", "v2")
        node.wait_active("v2")
        harness.wait_state("STABLE")
        assert node.post("/rollback")[0] == 200
        node.wait_active("v1")
        harness.wait_more(10)
        assert node.model()["held"]
        etcd.etcdctl("put", "/models/yolo/current", "v2")
        harness.wait_served("v2")
        etcd.etcdctl("put", PIN, "v1")
        harness.wait_served("v1")
        etcd.etcdctl("del", PIN)
        node.wait_active("v2")
        presence = json.loads(etcd.etcdctl("get", "--print-value-only", "/edgeagent/nodes/node-under-test"))
        assert presence["node"] == "node-under-test"
        harness.wait_state("STABLE")
        etcd.kill()
        wait_for(lambda: not node.status()["config_store"]["connected"], "etcd missed")
        harness.wait_more(30)
        etcd.start()
        etcd.etcdctl("put", "/models/yolo/current", "v1")
        node.wait_active("v1")
        wait_for(lambda: node.status()["config_store"]["connected"], "etcd back")
        assert_seamless(harness.wait_more(5))


def test_superseded_candidate_never_serves(harness: NodeHarness) -> None:
    """While v2 is still being fetched, v3 is promoted: v2's workers go, v3 serves, v2 never does."""
    harness.publish("v1")
    harness.publish("v2", metadata={"padding": "x" * 3_000_000})
    harness.publish("v3")
    with http_store(harness.store) as store:
        store.only, store.hang_after = "/v2/v2", 1_000_000
        store.only = "yolo-v2"
        harness.config["model_store"]["url"] = store.url
        harness.promote("v1")
        node = harness.start("v1")
        harness.promote("v2")
        wait_for(lambda: (node.model()["candidate"] or {}).get("fetch"), "v2 being fetched")

        def one_fetches_and_one_waits_to_try_it() -> list[dict[str, Any]] | None:
            found = node.workers("prepare")
            return found if [w["version"] for w in found] == ["v2", "v2"] else None

        preparing = wait_for(one_fetches_and_one_waits_to_try_it, "two workers of v2")
        harness.promote("v3")
        node.wait_active("v3")
        wait_for(lambda: not any(os.path.exists(f"/proc/{w['pid']}") for w in preparing), "v2's workers gone")
        store.hang_after = None
        harness.wait_state("STABLE")
    assert_seamless(harness.records())
    assert {r["version"] for r in harness.records()} == {"v1", "v3"}
    harness.wait_history("superseded", "v2")


def test_two_pipelines_share_an_engine_and_models_are_independent(harness: NodeHarness) -> None:
    """Two lines on one model are served by one worker; a second model is updated without touching them."""
    harness.add_pipeline("line-2", "yolo", {"url": CONVEYOR + "&seed=2", "live": False})
    harness.add_pipeline("line-3", "labels", {"url": CONVEYOR + "&seed=3", "live": False})
    harness.publish("v1")
    harness.publish("v1", model="labels")
    harness.publish("v2", model="labels")
    harness.promote("v1")
    harness.promote("v1", "labels")
    node = harness.start("v1")
    node.wait_active("v1", "labels")
    engine = harness.engine_pid("v1")
    harness.promote("v2", "labels")
    node.wait_active("v2", "labels")
    found = harness.wait_more(20, "line-3")
    assert (harness.engine_pid("v1"), node.model()["active"]["epoch"]) == (engine, 1)
    assert {r["version"] for r in found} == {"v1", "v2"}
    assert_seamless(found)
    for line in ("line-1", "line-2"):
        found = harness.wait_more(5, line)
        assert_seamless(found)
        assert {(r["pipeline"], r["model"], r["version"]) for r in found} == {(line, "yolo", "v1")}
    code, answer = node.post("/rollback")
    assert (code, "labels" in json.dumps(answer)) == (409, True)


def test_classes_in_another_order_keep_their_ids_downstream(harness: NodeHarness) -> None:
    """With `remap` a dent stays class 1, over the swap and back; a class that comes gets the next id."""
    own = {"usual": NAMES, "reversed": NAMES[::-1], "extended": ("hole", *NAMES)}
    for version, names in own.items():
        dent = (32.0, 32.0, 16.0, 16.0, 0.9, names.index("dent"))
        hole = (32.0, 12.0, 8.0, 8.0, 0.8, names.index("hole")) if "hole" in names else None
        harness.publish(version, names=names, boxes=[dent, hole] if hole else [dent])
    harness.promote("usual")
    harness.start("usual")
    harness.wait_more(3)
    harness.promote(json.dumps({"version": "reversed", "classes": "remap"}))
    harness.wait_served("reversed")
    harness.wait_state("STABLE")
    extend = {
        "version": "extended",
        "classes": "extend",
        "add_classes": ["hole"],
        "probation": {"seconds": 600},
    }
    harness.promote(json.dumps(extend))
    harness.wait_served("extended")
    code, answer = harness.post("/rollback", {"by": "Robin"})
    assert (code, answer["active"]) == (200, "reversed")
    found = harness.wait_more(5)
    assert_seamless(found)
    seen = {(r["version"], d["cls"], d["name"]) for r in found for d in r["detections"]}
    dents = {(version, 1, "dent") for version in own}
    assert seen == {*dents, ("extended", 3, "hole")}
    swap = harness.wait_history("swapped", "extended")
    contract = next(gate for gate in swap["gates"] if gate["name"] == "contract")
    assert (contract["figures"]["mapped"], contract["figures"]["added"]) == (4, "hole")
