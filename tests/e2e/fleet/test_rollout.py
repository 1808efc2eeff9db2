# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real node in roll-outs: the test is the coordinator, and writes documents and the leader's key into a real etcd."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeagent.core.fleet_report import report_key
from edgeagent.core.rollout import COORDINATOR_KEY, PLACES, Plan, Rollout, Status, rollout_key
from edgeagent.core.rollout_document import encode_rollout
from edgeagent.testing import wait_for
from tests.support.etcd import EtcdServer
from tests.support.line import NodeHarness, assert_seamless

CURRENT = "/models/yolo/current"


class Coordinator:
    """Rolls out v2 to every node."""

    def __init__(self, etcd: EtcdServer) -> None:
        self.etcd = etcd

    def put(self, key: str, value: str | bytes) -> int:
        """Write a key; the revision of that."""
        value = value.encode() if isinstance(value, str) else value
        self.etcd.etcdctl("put", key, stdin=value)
        return int(self._found(key)["mod_revision"])

    def leads(self, leads: bool) -> None:
        """Be there from now on, or not."""
        if leads:
            self.put(COORDINATOR_KEY, "{}")
        else:
            self.etcd.etcdctl("del", COORDINATOR_KEY)

    def plans(self, id: str, based_on: int, **terms: Any) -> None:
        """The document of a roll-out of which no wave is open, and all nodes make the version ready."""
        rollout = self._rollout(id, based_on, terms)
        self.put(rollout_key("yolo"), encode_rollout(replace(rollout, wave=-1, open_below=0)))

    def says(self, id: str, status: Status, based_on: int, **terms: Any) -> None:
        """The document of a roll-out that is open for everybody."""
        rollout = self._rollout(id, based_on, terms)
        self.put(rollout_key("yolo"), encode_rollout(replace(rollout, status=status, why="somebody said so")))

    def _rollout(self, id: str, based_on: int, terms: dict[str, Any]) -> Rollout:
        plan = Plan("v2", "v1", str(based_on), "salt", waves=("100%",), by="CI", reason=id, terms=terms)
        return Rollout(id, replace(plan, preload=True), wave=0, open_below=PLACES)

    def report(self) -> dict[str, Any]:
        """What the node says."""
        found = self.etcd.etcdctl("get", "--print-value-only", report_key("node-under-test", "yolo"))
        return dict(json.loads(found or "{}"))

    def _found(self, key: str) -> dict[str, Any]:
        return dict(json.loads(self.etcd.etcdctl("get", "--write-out=json", key))["kvs"][0])


def phase(node: NodeHarness) -> tuple[str, str]:
    """Which roll-out the node knows, and what it has done in it."""
    rollout = node.model()["rollout"] or {"id": "", "phase": ""}
    return rollout["id"], rollout["phase"]


def test_a_node_in_roll_outs(harness: NodeHarness, tmp_path: Path) -> None:
    """Made ready ahead; begun only while somebody leads; gone on with over a kill; taken back from the standby, and by
    a load, without gates; a broken document changes nothing; `current` written by hand wins."""
    for version in ("v1", "v2"):
        harness.publish(version)
    with EtcdServer(tmp_path / "etcd") as etcd:
        harness.config["config_store"]["url"] = etcd.url
        harness.config["node"]["labels"] = {"line": "a"}
        fleet = Coordinator(etcd)
        current = fleet.put(CURRENT, "v1")
        node = harness.start("v1")
        node.wait_state("STABLE")

        fleet.plans("r1", current, probation={"seconds": 600})
        # On a busy machine the work on it, which gives way to all else, takes its time.
        wait_for(lambda: fleet.report().get("preloaded") == "v2", "a version that is made ready ahead", 300.0)
        assert node.active() == "v1"
        fleet.says("r1", Status.ROLLING, current, probation={"seconds": 600})
        wait_for(lambda: phase(node) == ("r1", "waiting"), "a node that waits")
        told = wait_for(lambda: fleet.report().get("phase") == "waiting" and fleet.report(), "its report")
        assert (told["rollout"], told["version"], told["labels"]) == ("r1", "v1", {"line": "a"})
        assert told["why"] == "no coordinator leads it"
        assert node.active() == "v1"
        fleet.leads(True)
        harness.wait_served("v2")
        wait_for(lambda: fleet.report().get("phase") == "swapped", "the report of a swap")
        assert fleet.report()["before"] == "v1"
        fleet.leads(False)
        fleet.says("r1", Status.ABORTING, current, probation={"seconds": 600})
        harness.wait_served("v1")
        back = harness.wait_history("swapped", "v1", after=1)
        assert (back["event"], back["who"], back["gates"]) == ("rollback", "roll-out r1", [])
        assert back["why"] == "it was aborted: somebody said so"
        assert back["stages"].keys() <= {"ready", "probation"}
        assert (node.model()["state"], node.model()["held"]) == ("STABLE", None)

        fleet.leads(True)
        fleet.says("r2", Status.ROLLING, current, probation={"seconds": 3})
        harness.wait_served("v2")
        fleet.leads(False)
        found = node.records()
        node.kill()
        node.start()
        harness.wait_served("v2")
        wait_for(lambda: phase(node) == ("r2", "stable"), "a version that is stable")
        etcd.kill()
        wait_for(lambda: not node.status()["config_store"]["connected"], "etcd missed")
        harness.wait_more(5)
        etcd.start()
        fleet.put(rollout_key("yolo"), b'{"id": "r2"')
        wait_for(
            lambda: rollout_key("yolo") in (node.model()["last_error"] or ""), "the broken document named"
        )
        assert (node.active(), phase(node)) == ("v2", ("r2", "stable"))
        fleet.says("r2", Status.ABORTED, current, probation={"seconds": 3})
        harness.wait_served("v1")
        back = harness.wait_history("swapped", "v1", after=2)
        assert back["event"] == "rollback"
        assert "gating" not in back["stages"]
        assert "fetching" in back["stages"]

        fleet.leads(True)
        fleet.says("r3", Status.ROLLING, current, probation={"seconds": 600})
        harness.wait_served("v2")
        fleet.put(CURRENT, "v1")
        harness.wait_served("v1")
        wait_for(lambda: phase(node) == ("r3", ""), "a roll-out that has been superseded")
        assert harness.wait_history("swapped", "v1", after=3)["event"] == "update"
        assert_seamless(found)
        assert_seamless(harness.records(), first=0)
