# SPDX-License-Identifier: AGPL-3.0-or-later
"""Metrics: the names and labels that dashboards rely on."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from edgeagent.observe.audit import AuditRecord
from edgeagent.observe.bus import AuditAppended, Bus, SinkFailed, SourceFailed, WorkerRestarted
from edgeagent.observe.metrics import Metrics


def scraped(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What Prometheus reads: value by name and labels."""
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def test_the_names_of_the_interface() -> None:
    """Each metric of the interface appears under its name with its labels."""
    bus, metrics = Bus(), Metrics()
    metrics.follow(bus)
    metrics.frame("line-1", "v1")
    metrics.frame("line-1", "v1")
    metrics.dropped("line-1", "busy", 3)
    metrics.latency("line-1", "total", 0.02)
    bus.publish(AuditAppended(AuditRecord("update", "yolo", result="swapped", stages={"fetching": 1.5})))
    bus.publish(AuditAppended(AuditRecord("intent", "yolo", result="invalid")))
    bus.publish(AuditAppended(AuditRecord("rebuild", "yolo", result="swapped", stages={"fetching": 9.0})))
    metrics.model_info("yolo", "v1", "sha256:1", "onnxruntime-cpu", "active")
    metrics.config_store_connected(True)
    bus.publish(WorkerRestarted("engine", "yolo"))
    metrics.worker_memory("engine", 1e8)
    metrics.pipeline_up("line-1", True)
    bus.publish(SourceFailed("line-1", "lost"))
    bus.publish(SinkFailed("line-1", "jsonl"))
    metrics.sink_lost("line-1", "jsonl", 3)
    metrics.scores("yolo", "v1", ("scratch", "dent"), [(0.0, 0.0, 1.0, 1.0, 0.5, 1.0)])
    found = scraped(metrics)
    line, yolo = ("pipeline", "line-1"), ("model", "yolo")
    expected = {
        ("edgeagent_frames_total", (line, ("version", "v1"))): 2,
        ("edgeagent_frames_dropped_total", (line, ("reason", "busy"))): 3,
        ("edgeagent_frame_latency_seconds_count", (line, ("stage", "total"))): 1,
        ("edgeagent_swaps_total", (yolo, ("result", "swapped"))): 1,
        ("edgeagent_update_stage_seconds", (yolo, ("stage", "fetching"))): 1.5,
        (
            "edgeagent_model_info",
            (
                ("digest", "sha256:1"),
                ("engine", "onnxruntime-cpu"),
                yolo,
                ("role", "active"),
                ("version", "v1"),
            ),
        ): 1,
        ("edgeagent_config_store_connected", ()): 1,
        ("edgeagent_worker_restarts_total", (("kind", "engine"),)): 1,
        ("edgeagent_worker_memory_bytes", (("kind", "engine"),)): 1e8,
        ("edgeagent_intent_invalid_total", (yolo,)): 1,
        ("edgeagent_pipeline_up", (line,)): 1,
        ("edgeagent_source_errors_total", (line, ("reason", "lost"))): 1,
        ("edgeagent_sink_errors_total", (line, ("sink", "jsonl"))): 1,
        ("edgeagent_sink_lost_records_total", (line, ("sink", "jsonl"))): 3,
        ("edgeagent_detection_score_count", (("class", "dent"), yolo, ("version", "v1"))): 1,
    }
    assert {k: found.get(k) for k in expected} == expected
    assert not [name for name, _ in found if name.endswith("_created")]
    assert ("edgeagent_swaps_total", (yolo, ("result", "invalid"))) not in found


def test_a_model_that_is_gone_is_gone() -> None:
    """With what the golden pictures showed of it; one of which nothing was shown is no error."""
    metrics = Metrics()
    metrics.sentinel_replayed("yolo", 0.5)
    for model in ("yolo", "labels"):
        metrics.forget_model(model)
    assert not [name for name, _ in scraped(metrics) if name == "edgeagent_sentinel_differing"]


def test_a_version_that_is_gone_is_gone() -> None:
    """`remove_model_info` takes the series away, and one that never was is no error."""
    metrics = Metrics()
    version = ("yolo", "v1", "sha256:1", "onnxruntime-cpu", "active")
    metrics.model_info(*version)
    metrics.remove_model_info(*version)
    metrics.remove_model_info(*version)
    assert "sha256:1" not in metrics.render().decode()


def test_two_nodes_in_one_process_do_not_mix() -> None:
    """Each Metrics has a registry of its own."""
    one, two = Metrics(), Metrics()
    one.frame("line-1", "v1")
    assert ("edgeagent_frames_total", (("pipeline", "line-1"), ("version", "v1"))) not in scraped(two)
