# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Prometheus reads of a coordinator."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from prometheus_client import CollectorRegistry, generate_latest

from edgeagent.core.coordination import Coordination
from edgeagent.core.rollout import Plan, Rollout, Status
from edgeagent.fleet.coordination_metrics import CoordinationCollector


def test_a_roll_out_has_one_status() -> None:
    """As it is when it is asked for; and none once the node doesn't lead it any more."""
    plan = Plan("v2", "v1", "7", "salt")
    states = [
        Coordination(True, rollouts={"yolo": Rollout("r1", plan, status=Status.BAKING, wave=0)}),
        Coordination(True, rollouts={"yolo": Rollout("r1", plan, status=Status.PAUSED, wave=0)}),
        Coordination(),
    ]
    registry = CollectorRegistry(auto_describe=False)
    coordinator = SimpleNamespace(state=states[0])
    registry.register(CoordinationCollector(cast("Any", coordinator)))

    def scraped(state: Coordination) -> str:
        coordinator.state = state
        return generate_latest(registry).decode()

    baking, paused, none = map(scraped, states)
    assert 'edgeagent_coordinator_rollouts{model="yolo",status="baking"} 1.0' in baking
    assert "edgeagent_coordinator_leads 1.0" in baking
    assert 'status="paused"' in paused
    assert "baking" not in paused
    assert "edgeagent_coordinator_leads 0.0" in none
    assert "yolo" not in none
