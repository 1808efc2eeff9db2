# SPDX-License-Identifier: AGPL-3.0-or-later
"""What Prometheus reads of a coordinator that runs in a node."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgeagent.fleet.coordinator import Coordinator


class CoordinationCollector(Collector):
    """Asks the coordinator when it is asked."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    def collect(self) -> Iterator[Metric]:
        """Whether it leads, and the status of each roll-out that it leads."""
        state = self._coordinator.state
        leads = GaugeMetricFamily("edgeagent_coordinator_leads", "1 on the node that leads roll-outs.")
        leads.add_metric([], state.leads)
        rollouts = GaugeMetricFamily(
            "edgeagent_coordinator_rollouts", "Roll-outs that it leads.", labels=["model", "status"]
        )
        for model, rollout in sorted(state.rollouts.items()):
            rollouts.add_metric([model, rollout.status], 1)
        yield leads
        yield rollouts
