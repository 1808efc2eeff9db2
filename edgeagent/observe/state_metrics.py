# SPDX-License-Identifier: AGPL-3.0-or-later
"""Metrics of what state the cameras, the models and the disk of a node are in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class StateMetrics:
    """`edgeagent_pipeline_state` and `edgeagent_model_failing`, on the registry of the node's metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._state = Gauge(
            "edgeagent_pipeline_state",
            "The state that a pipeline's source is in: 1.",
            ["pipeline", "state"],
            registry=registry,
        )
        self._failing = Gauge(
            "edgeagent_model_failing",
            "1 while the version that serves keeps failing.",
            ["model"],
            registry=registry,
        )
        self._shown: set[tuple[str, str]] = set()
        self._models: set[str] = set()

    def show(self, states: Mapping[str, str], failing: Mapping[str, bool]) -> None:
        """As it is now. states: by pipeline, as the status has them; failing: by model."""
        now = set(states.items())
        for labels in self._shown - now:
            self._state.remove(*labels)
        for labels in now - self._shown:
            self._state.labels(*labels).set(1)
        self._shown = now
        for model in self._models - failing.keys():
            self._failing.remove(model)
        self._models = set(failing)
        for model in self._models - failing.keys():
            self._failing.remove(model)
        self._models = set(failing)
        for model, fails in failing.items():
            self._failing.labels(model).set(fails)


class DiskCollector(Collector):
    """Asks the disk when it is asked, in the thread of the scrape: a disk that hangs holds up nothing else.

    error: why state or audit log are not on it, "" when they are.
    """

    def __init__(self, folder: Path, error: Callable[[], str]) -> None:
        self._folder = folder
        self._error = error

    def collect(self) -> Iterator[Metric]:
        """Room on the disk, and whether it took what was written last."""
        failed = GaugeMetricFamily(
            "edgeagent_state_not_written", "1 while state or audit log could not be written to the disk."
        )
        failed.add_metric([], bool(self._error()))
        yield failed
        try:
            found = os.statvfs(self._folder)
        except OSError:
            return
        free = GaugeMetricFamily(
            "edgeagent_state_disk_free_bytes", "Room for this user on the disk of node.state_dir."
        )
        free.add_metric([], found.f_bavail * found.f_frsize)
        size = GaugeMetricFamily("edgeagent_state_disk_size_bytes", "Size of the disk of node.state_dir.")
        size.add_metric([], found.f_blocks * found.f_frsize)
        yield free
        yield size
