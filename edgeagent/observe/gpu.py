# SPDX-License-Identifier: AGPL-3.0-or-later
"""Use and memory of NVIDIA GPUs, read from the driver when Prometheus asks. No GPU, no metrics."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import structlog
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

_DRIVER = Path("/dev/nvidiactl")
_log = structlog.get_logger(__name__)


class GpuCollector(Collector):
    """Asks NVML. A driver that hangs holds up one reading, in the thread that it was asked in; no second is begun."""

    def __init__(self, driver: Path = _DRIVER) -> None:
        self._driver = driver
        self._reading = threading.Lock()
        self._failed = False

    def collect(self) -> Iterator[Metric]:
        """The gauges of each GPU, by its number; nothing where there is none, or where the driver fails."""
        if not self._driver.exists() or not self._reading.acquire(blocking=False):
            return
        try:
            yield from self._read()
        finally:
            self._reading.release()

    def _read(self) -> list[Metric]:
        use = GaugeMetricFamily(
            "edgeagent_gpu_utilization_ratio", "Share of time that it computed.", labels=["gpu"]
        )
        used = GaugeMetricFamily(
            "edgeagent_gpu_memory_used_bytes", "Memory in use, by anyone.", labels=["gpu"]
        )
        total = GaugeMetricFamily("edgeagent_gpu_memory_total_bytes", "Memory it has.", labels=["gpu"])
        try:
            import pynvml  # type: ignore[import-untyped]  # comes with ultralytics (nvidia-ml-py)
        except ImportError:
            return []
        try:
            pynvml.nvmlInit()
            for number in range(pynvml.nvmlDeviceGetCount()):
                handle: Any = pynvml.nvmlDeviceGetHandleByIndex(number)
                label = [str(number)]
                # A GPU that is divided (MIG) has no use of its own to tell, one with the host's memory no memory.
                with suppress(pynvml.NVMLError_NotSupported):
                    use.add_metric(label, pynvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
                with suppress(pynvml.NVMLError_NotSupported):
                    memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                    used.add_metric(label, float(memory.used))
                    total.add_metric(label, float(memory.total))
        except pynvml.NVMLError as e:
            if not self._failed:
                _log.warning("gpu.read_failed", why=str(e))
            self._failed = True
            return []
        self._failed = False
        return [use, used, total]
