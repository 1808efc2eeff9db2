# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Prometheus sees of roll-outs."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest

from edgeagent.core.fleet_phase import RolloutView
from edgeagent.core.fleet_report import Phase
from edgeagent.core.rollout import Status
from edgeagent.observe.rollout_metrics import RolloutMetrics
from tests.support.rollout_seen import a_rollout


def test_one_line_for_each_roll_out_and_none_that_is_out_of_date() -> None:
    """Another phase takes the place of the one before; where there is none, that nobody is missed is said; of a model
    that the node has no more, nothing."""
    registry = CollectorRegistry()
    metrics = RolloutMetrics(registry)
    seen = RolloutView(a_rollout(), True, Phase.BEGUN, "", True)

    def lines() -> list[str]:
        text = generate_latest(registry).decode()
        return [line for line in text.splitlines() if not line.startswith("#")]

    metrics.show({"yolo": seen, "labels": None})
    info = 'edgeagent_rollout_info{model="yolo",phase="%s",rollout="r1",status="%s",version="v2"} 1.0'
    none = 'edgeagent_rollout_orphaned{model="labels"} 0.0'
    assert set(lines()) == {info % ("begun", "rolling"), none, none.replace("labels", "yolo")}
    later = replace(seen, rollout=a_rollout(Status.BAKING), phase=Phase.STABLE, orphaned=True)
    metrics.show({"yolo": later, "labels": None})
    alone = 'edgeagent_rollout_orphaned{model="yolo"} 1.0'
    assert set(lines()) == {info % ("stable", "baking"), none, alone}
    metrics.show({"yolo": None, "labels": None})
    assert set(lines()) == {none, none.replace("labels", "yolo")}
    metrics.show({"labels": None})
    assert set(lines()) == {none}
