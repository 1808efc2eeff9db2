# SPDX-License-Identifier: AGPL-3.0-or-later
"""Use and memory of NVIDIA GPUs, read from the driver when Prometheus asks. No GPU, no metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edgeagent.observe.worker_use import LABELS, WorkerLabels

_OF_WORKER = ("gpu", *LABELS)
_DRIVER = Path("/dev/nvidiactl")
_log = structlog.get_logger(__name__)


class GpuCollector(Collector):
    """Asks NVML. A driver that hangs holds up one reading, in the thread that it was asked in; no second is begun.

    workers: those of the node, by process id. In a container of its own the driver knows them by other ids, and then
    nothing is told of them.
    """

    def __init__(
        self, driver: Path = _DRIVER, workers: Callable[[], Mapping[int, WorkerLabels]] = dict
    ) -> None:
        self._driver = driver
        self._workers = workers
        self._reading = threading.Lock()
        self._failed = False
        self._asked_us: dict[int, int] = {}  # by GPU: until when the use of it by each process was told

    def collect(self) -> Iterator[Metric]:
        """The gauges of each GPU, by its number; nothing where there is none, or where the driver fails."""
        if not self._driver.exists() or not self._reading.acquire(blocking=False):
            return
        try:
            yield from self._read()
        finally:
            self._reading.release()

    def _read(self) -> list[Metric]:
        try:
            import pynvml  # type: ignore[import-untyped]  # comes with ultralytics (nvidia-ml-py)
        except ImportError:
            return []
        found = _Gauges()
        try:
            pynvml.nvmlInit()
            for number in range(pynvml.nvmlDeviceGetCount()):
                handle: Any = pynvml.nvmlDeviceGetHandleByIndex(number)
                self._read_gpu(pynvml, handle, str(number), found)
                self._read_workers(pynvml, handle, number, found)
        except pynvml.NVMLError as e:
            if not self._failed:
                _log.warning("gpu.read_failed", why=str(e))
            self._failed = True
            return []
        self._failed = False
        return [*found]

    def _read_gpu(self, pynvml: Any, handle: Any, number: str, found: _Gauges) -> None:
        # A GPU that is divided (MIG) has no use of its own to tell, one with the host's memory no memory.
        with suppress(pynvml.NVMLError_NotSupported):
            found.use.add_metric([number], pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
        with suppress(pynvml.NVMLError_NotSupported):
            memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
            found.used.add_metric([number], float(memory.used))
            found.total.add_metric([number], float(memory.total))

    def _read_workers(self, pynvml: Any, handle: Any, number: int, found: _Gauges) -> None:
        """What each worker has of a GPU; left out where its driver doesn't tell."""
        workers = self._workers()
        with suppress(pynvml.NVMLError):
            for process in pynvml.nvmlDeviceGetComputeRunningProcesses(handle):
                if (labels := workers.get(process.pid)) and process.usedGpuMemory is not None:
                    found.add_memory((str(number), *labels), float(process.usedGpuMemory))
        with suppress(pynvml.NVMLError):  # also where nothing computed since
            samples = pynvml.nvmlDeviceGetProcessUtilization(handle, self._asked_us.get(number, 0))
            self._asked_us[number] = max(
                (s.timeStamp for s in samples), default=self._asked_us.get(number, 0)
            )
            by_pid: dict[int, list[float]] = {}
            for sample in samples:
                by_pid.setdefault(sample.pid, []).append(sample.smUtil / 100)
            for pid, shares in by_pid.items():
                if labels := workers.get(pid):
                    found.add_use((str(number), *labels), sum(shares) / len(shares))


class _Gauges:
    """What one reading found. Workers of the same labels are summed up."""

    def __init__(self) -> None:
        self.use = GaugeMetricFamily(
            "edgeagent_gpu_utilization_ratio", "Share of time that it computed.", labels=["gpu"]
        )
        self.used = GaugeMetricFamily(
            "edgeagent_gpu_memory_used_bytes", "Memory in use, by anyone.", labels=["gpu"]
        )
        self.total = GaugeMetricFamily("edgeagent_gpu_memory_total_bytes", "Memory it has.", labels=["gpu"])
        self._worker_memory = GaugeMetricFamily(
            "edgeagent_worker_gpu_memory_bytes", "Memory of a GPU that workers have.", labels=_OF_WORKER
        )
        self._worker_use = GaugeMetricFamily(
            "edgeagent_worker_gpu_utilization_ratio",
            "Share of time that a GPU computed for workers, since the scrape before.",
            labels=_OF_WORKER,
        )
        self._memory: dict[tuple[str, ...], float] = {}
        self._shares: dict[tuple[str, ...], float] = {}

    def add_memory(self, labels: tuple[str, ...], count: float) -> None:
        """Of one worker, in bytes."""
        self._memory[labels] = self._memory.get(labels, 0.0) + count

    def add_use(self, labels: tuple[str, ...], share: float) -> None:
        """Of one worker, 0 to 1."""
        self._shares[labels] = self._shares.get(labels, 0.0) + share

    def __iter__(self) -> Iterator[Metric]:
        for labels, count in self._memory.items():
            self._worker_memory.add_metric(labels, count)
        for labels, share in self._shares.items():
            self._worker_use.add_metric(labels, share)
        yield from (self.use, self.used, self.total, self._worker_memory, self._worker_use)
