# SPDX-License-Identifier: AGPL-3.0-or-later
"""The machine that figures are from, in general words, and how quiet it was meanwhile."""

from __future__ import annotations

import os
import platform
import statistics
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_PACKAGES = ("onnxruntime", "openvino", "torch", "ultralytics", "opencv-python", "numpy", "tensorrt")
_PROBES = 60


@dataclass(frozen=True)
class Noise:
    """stolen: percent of the time that the hypervisor gave to others; jitter: how much longer the slowest tenth of a
    fixed calculation took than its median, in percent, before and after the comparison."""

    stolen: float
    jitter_before: float
    jitter_after: float

    def __str__(self) -> str:
        return (
            f"noise: {self.stolen:.1f} % of the time stolen by other guests, a fixed calculation up to "
            f"{max(self.jitter_before, self.jitter_after):.0f} % slower than its median in a tenth of its runs"
        )


class NoiseMeter:
    """Started before a comparison, read after it."""

    def __init__(self) -> None:
        self._before = _jitter()
        self._stat = _cpu_times()

    def read(self) -> Noise:
        """The noise since the start."""
        total, stolen = (now - then for now, then in zip(_cpu_times(), self._stat, strict=True))
        return Noise(100 * stolen / max(total, 1), self._before, _jitter())


def describe() -> dict[str, str]:
    """Processor, cores, memory, system and versions; nothing that names a host or a path."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    versions = [f"{name} {version}" for name in _PACKAGES if (version := _version(name))]
    return {
        "processor": _cpu_model(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{pages * size / 2**30:.0f} GB",
        "system": f"{platform.system()} {platform.release().split('-')[0]}, Python {platform.python_version()}",
        "packages": ", ".join(versions),
    }


def _jitter() -> float:
    times = []
    for _ in range(_PROBES):
        begin = time.perf_counter()
        sum(range(200_000))
        times.append(time.perf_counter() - begin)
    middle = statistics.median(times)
    return 100 * (sorted(times)[int(_PROBES * 0.9)] / middle - 1)


def _cpu_times() -> tuple[int, int]:
    """Ticks of all cores since boot: in total, and stolen."""
    fields = [int(n) for n in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return sum(fields), fields[7]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
