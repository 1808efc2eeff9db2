# SPDX-License-Identifier: AGPL-3.0-or-later
"""Metrics of cameras, models and the disk."""

from __future__ import annotations

from pathlib import Path

from prometheus_client import CollectorRegistry

from edgeagent.observe.state_metrics import DiskCollector, StateMetrics


def test_one_state_each() -> None:
    """The state before is gone with it."""
    registry = CollectorRegistry()
    shown = StateMetrics(registry)
    shown.show({"line-1": "running", "line-2": "absent"}, {"yolo": True})
    shown.show({"line-1": "lost", "line-2": "absent"}, {"yolo": False})

    def state(pipeline: str, name: str) -> float | None:
        return registry.get_sample_value("edgeagent_pipeline_state", {"pipeline": pipeline, "state": name})

    assert (state("line-1", "running"), state("line-1", "lost"), state("line-2", "absent")) == (None, 1, 1)
    assert registry.get_sample_value("edgeagent_model_failing", {"model": "yolo"}) == 0


def test_what_is_gone_says_nothing() -> None:
    """Else an alert on it would never end."""
    registry = CollectorRegistry()
    shown = StateMetrics(registry)
    shown.show({"line-1": "lost"}, {"yolo": True, "labels": False})
    shown.show({}, {"labels": False})
    shown.show({}, {"labels": False})
    samples = [(s.name, *s.labels.values(), s.value) for m in registry.collect() for s in m.samples]
    assert samples == [("edgeagent_model_failing", "labels", 0.0)]


def test_the_disk(tmp_path: Path) -> None:
    """Its room, and whether it took what was written last; without the folder only the latter."""
    found = {m.name: m.samples[0].value for m in DiskCollector(tmp_path, lambda: "no space").collect()}
    assert 0 < found["edgeagent_state_disk_free_bytes"] <= found["edgeagent_state_disk_size_bytes"]
    assert found["edgeagent_state_not_written"] == 1
    gone = DiskCollector(tmp_path / "gone", lambda: "").collect()
    assert [(m.name, m.samples[0].value) for m in gone] == [("edgeagent_state_not_written", 0)]
