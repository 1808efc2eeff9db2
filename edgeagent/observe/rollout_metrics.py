# SPDX-License-Identifier: AGPL-3.0-or-later
"""Metrics of the roll-outs in force, as a node sees them."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Gauge

from edgeagent.core.fleet_phase import RolloutView


class RolloutMetrics:
    """`edgeagent_rollout_*`, on the registry of the node's metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._info = Gauge(
            "edgeagent_rollout_info",
            "Roll-outs in force, and what this node has done in them.",
            ["model", "rollout", "version", "status", "phase"],
            registry=registry,
        )
        self._orphaned = Gauge(
            "edgeagent_rollout_orphaned",
            "1 while a roll-out should go on, and no coordinator leads it.",
            ["model"],
            registry=registry,
        )
        self._shown: set[tuple[str, ...]] = set()
        self._models: set[str] = set()

    def show(self, rollouts: Mapping[str, RolloutView | None]) -> None:
        """As it is now, by model; None: there is none."""
        now: set[tuple[str, ...]] = set()
        for model in self._models - rollouts.keys():
            self._orphaned.remove(model)
        self._models = set(rollouts)
        for model, seen in rollouts.items():
            self._orphaned.labels(model).set(seen is not None and seen.orphaned)
            if seen:
                r = seen.rollout
                now.add((model, r.id, r.plan.version, r.status.value, seen.phase.value))
        for labels in self._shown - now:
            self._info.remove(*labels)
        for labels in now - self._shown:
            self._info.labels(*labels).set(1)
        self._shown = now
