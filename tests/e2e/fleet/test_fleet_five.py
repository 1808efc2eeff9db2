# SPDX-License-Identifier: AGPL-3.0-or-later
"""Five real nodes on one real etcd, with a real coordinator and the demo's models: everything that a roll-out meets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.fault_versions import GOOD, find_fault
from edgeagent.core.fleet_report import Phase
from edgeagent.core.model import Contract
from edgeagent.core.rollout import Status
from edgeagent.demo.bad_versions import copy_with_note
from edgeagent.runtimes.port import ModelMetadata
from edgeagent.scenes.conveyor import CLASSES
from edgeagent.testing import wait_for
from tests.support.line import assert_seamless
from tests.support.real_fleet import PATIENCE_S, FleetNode, RealFleet

METADATA = ModelMetadata(Contract("detect", CLASSES, (320, 320), 32), "onnx")
LINE = {"url": "synthetic://conveyor?seed=7&fps=3", "live": False}
WAVES = ("--waves", "1,60%,100%")
LONG = json.dumps({"probation": {"seconds": 3600}})
_BAD = "lab-light"

pytestmark = pytest.mark.soak


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RealFleet]:
    """Five nodes of which four run and serve the demo's v1, here day-1, and a coordinator."""
    probation = {"seconds": 2}
    with RealFleet(tmp_path, 5, LINE, probation=probation) as made:
        publish(made, "day-1", GOOD.with_name("v1.onnx"))
        publish(made, "day-2", GOOD)
        made.promote("day-1")
        made.coordinate()
        for node in list(made.nodes.values())[:4]:
            node.start()
        for _, node in made.running():
            node.wait_active("day-1")
            node.wait_more(2)
        made.wait_reported(4)
        yield made
        made.show_logs()


def publish(fleet: RealFleet, version: str, weights: Path) -> None:
    """Put a version into the fleet's store."""
    fleet.one.publish(version, weights, claims=METADATA)


def publish_copy(fleet: RealFleet, version: str) -> None:
    """The same network as the good one, with another content."""
    weights = fleet.one.folder / f"{version}.onnx"
    copy_with_note(GOOD, weights, version)
    publish(fleet, version, weights)


def wait_aborted(fleet: RealFleet, version: str) -> str:
    """Until the last roll-out, of `version`, is aborted; why it was."""
    ended = fleet.wait_status(Status.ABORTED)
    assert ended.plan.version == version
    return ended.why


def wait_all_serve(fleet: RealFleet, version: str) -> None:
    """Until all five serve it, and the coordinator can know that."""
    fleet.wait_reported(len(fleet.nodes))
    wait_for(lambda: fleet.serving(version) == set(fleet.nodes), f"{version} on all nodes", PATIENCE_S)


def ever_served(fleet: RealFleet, version: str) -> list[FleetNode]:
    """The nodes that have a result of this version."""
    return [node for node in fleet.nodes.values() if version in node.served()]


def test_what_five_nodes_meet(fleet: RealFleet) -> None:
    """A good version goes through three waves; who was off joins later; one that sees badly is taken back from the
    canary and serves nowhere else; a node that is killed with a new version stops the roll-out; and an abort in the
    second wave takes all back. No line loses a frame."""
    fleet.rollout("start", "day-2", *WAVES, "--bake", "2", "--wait")
    assert fleet.archived().status is Status.DONE
    there = [node for node in fleet.in_order() if node.process]
    swaps = [(node.wait_versions("day-2"), node.last_swap())[1] for node in there]
    assert swaps[0] < min(swaps[1:])
    assert max(swaps[1:3]) < swaps[3]  # 60 % of four are three

    late = fleet.nodes["press-5"]
    late.start()
    assert late.wait_versions("day-2") == ["day-2"]
    wait_all_serve(fleet, "day-2")

    weights = fleet.one.folder / "bad.onnx"
    find_fault(_BAD).make(GOOD, weights)
    publish(fleet, "bad", weights)
    fleet.rollout("start", "bad", *WAVES, "--bake", "3600", "--deadline", "7200", "--terms", LONG)
    why = wait_aborted(fleet, "bad")
    assert "press-" in why
    (canary,) = ever_served(fleet, "bad")
    assert canary.wait_versions("day-2")[-3:] == ["day-2", "bad", "day-2"]
    assert fleet.serving("day-2") == set(fleet.nodes)

    publish_copy(fleet, "day-4")
    fleet.rollout("start", "day-4", *WAVES, "--bake", "3600")
    fleet.wait_serving("day-4", 1)
    (victim,) = ever_served(fleet, "day-4")
    assert_seamless(victim.records())
    victim.kill()
    assert victim.name in wait_aborted(fleet, "day-4")
    assert ever_served(fleet, "day-4") == [victim]
    victim.start()
    assert victim.wait_versions("day-2")[-1] == "day-2"
    wait_all_serve(fleet, "day-2")

    publish_copy(fleet, "day-5")
    fleet.rollout("start", "day-5", *WAVES, "--bake", "3600", "--terms", LONG)
    wait_for(lambda: len(ever_served(fleet, "day-5")) == 1, "the canary serves day-5", PATIENCE_S)
    fleet.rollout("advance")
    wait_for(lambda: len(ever_served(fleet, "day-5")) == 3, "the second wave serves day-5", PATIENCE_S)
    fleet.rollout("abort", "--reason", "a test says so")
    wait_aborted(fleet, "day-5")
    assert fleet.serving("day-2") == set(fleet.nodes)
    assert len(ever_served(fleet, "day-5")) == 3
    for node in fleet.nodes.values():
        node.wait_versions("day-2")
        assert_seamless(node.records())
        assert fleet.report(node.name).phase is not Phase.SWAPPED
