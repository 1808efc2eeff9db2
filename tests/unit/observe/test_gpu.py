# SPDX-License-Identifier: AGPL-3.0-or-later
"""GPU metrics, against a driver of the test's own."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from edgeagent.observe.gpu import GpuCollector


class NVMLError(Exception):
    """What pynvml raises."""


class NVMLError_NotSupported(NVMLError):
    """For what a GPU has no answer to."""


@pytest.fixture
def pynvml(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Two GPUs, the second half busy."""
    module = ModuleType("pynvml")
    content = {
        "NVMLError": NVMLError,
        "NVMLError_NotSupported": NVMLError_NotSupported,
        "nvmlInit": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda number: number,
        "nvmlDeviceGetMemoryInfo": lambda handle: SimpleNamespace(used=handle * 10, total=100),
        "nvmlDeviceGetUtilizationRates": lambda handle: SimpleNamespace(gpu=handle * 50),
        "nvmlDeviceGetComputeRunningProcesses": lambda handle: [],
        "nvmlDeviceGetProcessUtilization": lambda handle, since: [],
    }
    for name, value in content.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "pynvml", module)
    return module


def test_each_gpu_has_its_values(pynvml: ModuleType, tmp_path: Path) -> None:
    """Use as a ratio, memory in bytes, by number."""
    found = {(s.name, s.labels["gpu"]): s.value for m in GpuCollector(tmp_path).collect() for s in m.samples}
    assert found == {
        ("edgeagent_gpu_utilization_ratio", "0"): 0,
        ("edgeagent_gpu_utilization_ratio", "1"): 0.5,
        ("edgeagent_gpu_memory_used_bytes", "0"): 0,
        ("edgeagent_gpu_memory_used_bytes", "1"): 10,
        ("edgeagent_gpu_memory_total_bytes", "0"): 100,
        ("edgeagent_gpu_memory_total_bytes", "1"): 100,
    }


def test_what_a_gpu_can_not_tell_is_left_out(
    pynvml: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with one that is divided: the rest is there, and so is the other GPU."""

    def use(handle: int) -> SimpleNamespace:
        if handle == 0:
            raise NVMLError_NotSupported("Not Supported")
        return SimpleNamespace(gpu=50)

    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", use)
    found = [
        (s.name.split("_")[2], s.labels["gpu"]) for m in GpuCollector(tmp_path).collect() for s in m.samples
    ]
    assert found == [("utilization", "1"), ("memory", "0"), ("memory", "1"), ("memory", "0"), ("memory", "1")]


def test_no_gpu_or_a_failing_one_has_none(
    pynvml: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a driver it isn't even asked; one that fails takes no other metric with it."""

    def lost() -> None:
        raise NVMLError("GPU is lost")

    monkeypatch.setattr(pynvml, "nvmlInit", lost)
    assert list(GpuCollector(tmp_path / "absent").collect()) == []
    assert list(GpuCollector(tmp_path).collect()) == []


def test_a_hanging_driver_is_asked_once(
    pynvml: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a reading is under way, the next one answers nothing at once."""
    collector = GpuCollector(tmp_path)
    inner: list[object] = []

    def reading() -> None:
        inner.extend(collector.collect())

    monkeypatch.setattr(pynvml, "nvmlInit", reading)
    assert len(list(collector.collect())) == 5
    assert inner == []


def test_what_each_worker_has_of_a_gpu(
    pynvml: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two workers of one version are one series; processes of others, and what isn't told, are left out."""
    engine = ("engine", "", "yolo", "v2")
    asked: list[tuple[int, int]] = []

    def use(handle: int, since: int) -> list[SimpleNamespace]:
        asked.append((handle, since))
        if handle == 0:
            raise NVMLError("nothing computed")
        shares = ((11, 20, 5), (11, 40, 7), (12, 10, 6), (99, 50, 9))
        return [SimpleNamespace(pid=pid, smUtil=share, timeStamp=at) for pid, share, at in shares]

    def processes(handle: int) -> list[SimpleNamespace]:
        memory = {11: 100, 12: 50, 13: None, 99: 7} if handle else {}
        return [SimpleNamespace(pid=pid, usedGpuMemory=count) for pid, count in memory.items()]

    monkeypatch.setattr(pynvml, "nvmlDeviceGetProcessUtilization", use)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", processes)
    workers = {11: engine, 12: engine, 13: ("prepare", "", "yolo", "v3")}
    collector = GpuCollector(tmp_path, lambda: workers)
    found = {
        s.name: (tuple(s.labels.values()), s.value)
        for m in collector.collect()
        for s in m.samples
        if s.name.startswith("edgeagent_worker_gpu")
    }
    assert found == {
        "edgeagent_worker_gpu_memory_bytes": (("1", *engine), 150),
        "edgeagent_worker_gpu_utilization_ratio": (("1", *engine), pytest.approx(0.4)),
    }
    list(collector.collect())
    assert asked == [(0, 0), (1, 0), (0, 0), (1, 9)]
