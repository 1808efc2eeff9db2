# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the workers of a node cost: processor time and memory, by their kind and by the version that they work for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

MAX_GONE = 8
"""Versions of a model whose processor time is still told when no worker of theirs runs any more: those seen last."""
LABELS = ("kind", "pipeline", "model", "version")

WorkerLabels = tuple[str, str, str, str]
"""The values of `LABELS`, "" where one doesn't apply."""


@dataclass(frozen=True)
class WorkerSeen:
    """A worker that lives. cpu_seconds: since it began; memory_bytes: resident."""

    pid: int
    labels: WorkerLabels
    cpu_seconds: float
    memory_bytes: int


class WorkerUse(Collector):
    """Sums over workers that come and go. Told on the event loop's thread, collected on any."""

    def __init__(self) -> None:
        self._cpu: dict[WorkerLabels, float] = {}  # the one that was seen last comes last
        self._seen: dict[int, WorkerSeen] = {}

    @property
    def workers(self) -> Mapping[int, WorkerLabels]:
        """Those that lived at the last look, by process id."""
        return {pid: worker.labels for pid, worker in self._seen.items()}

    def see(self, workers: Iterable[WorkerSeen]) -> None:
        """All that live now; to be called once a second or so. What one ran after its last look is not counted."""
        now = {worker.pid: worker for worker in workers}
        cpu = dict(self._cpu)
        for pid, worker in now.items():
            before = self._seen.get(pid)  # a spare worker may have become an engine's since
            ran = worker.cpu_seconds - (before.cpu_seconds if before else 0.0)
            if ran < 0:  # another process has this id now
                ran = worker.cpu_seconds
            cpu[worker.labels] = cpu.pop(worker.labels, 0.0) + ran
        self._cpu, self._seen = _without_old(cpu, {w.labels for w in now.values()}), now

    def collect(self) -> Iterator[Metric]:
        """What Prometheus scrapes."""
        cpu = CounterMetricFamily("edgeagent_worker_cpu_seconds", "Processor time of workers.", labels=LABELS)
        for labels, seconds in self._cpu.items():
            cpu.add_metric(labels, seconds)
        memory = GaugeMetricFamily(
            "edgeagent_version_memory_bytes",
            "Resident memory of the workers that work for a version.",
            labels=["kind", "model", "version"],
        )
        by_version: dict[tuple[str, str, str], int] = {}
        for worker in self._seen.values():
            kind, _, model, version = worker.labels
            if version:
                key = (kind, model, version)
                by_version[key] = by_version.get(key, 0) + worker.memory_bytes
        for key, count in by_version.items():
            memory.add_metric(key, count)
        yield cpu
        yield memory


def _without_old(cpu: Mapping[WorkerLabels, float], alive: set[WorkerLabels]) -> dict[WorkerLabels, float]:
    """Without the versions of which too many newer ones are gone, too."""
    kept: dict[WorkerLabels, float] = {}
    gone: dict[tuple[str, str], int] = {}
    for labels, seconds in reversed(list(cpu.items())):
        kind, _, model, version = labels
        if version and labels not in alive:
            gone[kind, model] = gone.get((kind, model), 0) + 1
            if gone[kind, model] > MAX_GONE:
                continue
        kept[labels] = seconds
    return dict(reversed(list(kept.items())))
