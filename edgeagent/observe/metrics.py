# SPDX-License-Identifier: AGPL-3.0-or-later
"""Prometheus metrics: counted from the events of the bus, and by direct calls on the path of every frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from typing import TypeVar

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from edgeagent import __version__
from edgeagent.observe.bus import AuditAppended, Bus, SinkFailed, SourceFailed, WorkerRestarted
from edgeagent.observe.scores import Box, ScoreHistograms

LATENCY_BUCKETS = (
    0.001,
    0.002,
    0.005,
    0.01,
    0.015,
    0.02,
    0.03,
    0.04,
    0.05,
    0.075,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    1.0,
    2.0,
)

T = TypeVar("T", Counter, Gauge, Histogram)


def _children(metric: T) -> Callable[..., T]:
    """`metric.labels`, remembering the children: the lookup of prometheus-client takes a lock each time."""
    return cache(metric.labels)


class Metrics:
    """The node's metrics, on a registry of their own, so that two nodes fit in one process."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = r = CollectorRegistry()
        ProcessCollector(registry=r)
        self._scores = ScoreHistograms()
        r.register(self._scores)
        Gauge("edgeagent_build_info", "This release.", ["version"], registry=r).labels(__version__).set(1)
        self._frames = _children(
            Counter(
                "edgeagent_frames",
                "Frames with a result, by model version.",
                ["pipeline", "version"],
                registry=r,
            )
        )
        self._dropped = _children(
            Counter(
                "edgeagent_frames_dropped", "Frames without a result.", ["pipeline", "reason"], registry=r
            )
        )
        self._latency = _children(
            Histogram(
                "edgeagent_frame_latency_seconds",
                "Time that a frame took, by stage.",
                ["pipeline", "stage"],
                buckets=LATENCY_BUCKETS,
                registry=r,
            )
        )
        self._swaps = Counter(
            "edgeagent_swaps", "Updates and roll-backs, by result.", ["model", "result"], registry=r
        )
        self._update_stage = Gauge(
            "edgeagent_update_stage_seconds", "Duration of the latest stage.", ["model", "stage"], registry=r
        )
        self._waiting = Gauge(
            "edgeagent_updates_waiting", "Updates that wait for their turn on this node.", registry=r
        )
        self._model_info = Gauge(
            "edgeagent_model_info",
            "Versions that are loaded, and as what.",
            ["model", "version", "digest", "engine", "role"],
            registry=r,
        )
        self._connected = Gauge("edgeagent_config_store_connected", "1 while it can be reached.", registry=r)
        self._source_connected = Gauge(
            "edgeagent_intent_source_connected", "1 while it can be reached.", ["source"], registry=r
        )
        self._invalid = Counter(
            "edgeagent_intent_invalid",
            "Values of intent keys that could not be decoded.",
            ["model"],
            registry=r,
        )
        self._hooks = Counter(
            "edgeagent_hook_deliveries",
            "Deliveries to webhooks, by what became of them.",
            ["hook", "result"],
            registry=r,
        )
        self._restarts = Counter("edgeagent_worker_restarts", "Workers started again.", ["kind"], registry=r)
        self._memory = Gauge(
            "edgeagent_worker_memory_bytes", "Resident memory of workers.", ["kind"], registry=r
        )
        self._up = Gauge("edgeagent_pipeline_up", "1 while frames come.", ["pipeline"], registry=r)
        self._source_errors = Counter(
            "edgeagent_source_errors",
            "Sources lost, stalled, not opened.",
            ["pipeline", "reason"],
            registry=r,
        )
        self._sink_errors = Counter(
            "edgeagent_sink_errors", "Batches that a sink could not take.", ["pipeline", "sink"], registry=r
        )
        self._sink_lost = Counter(
            "edgeagent_sink_lost_records",
            "Records that a sink could not take, or found no room for.",
            ["pipeline", "sink"],
            registry=r,
        )

        self._drift = Gauge(
            "edgeagent_sentinel_differing",
            "Share of the golden pictures on which what serves finds something else than when it was proved.",
            ["model"],
            registry=r,
        )

    def render(self) -> bytes:
        """The text that Prometheus scrapes (`content_type`). Thread-safe; it asks the GPU's driver, which may wait."""
        return generate_latest(self.registry)

    def follow(self, bus: Bus) -> None:
        """Count what the bus tells. What happens with every frame is counted by the methods below instead."""
        bus.subscribe(AuditAppended, self._audited)
        bus.subscribe(WorkerRestarted, lambda event: self._restarts.labels(event.kind).inc())
        bus.subscribe(
            SourceFailed, lambda event: self._source_errors.labels(event.pipeline, event.state).inc()
        )
        bus.subscribe(SinkFailed, lambda event: self._sink_errors.labels(event.pipeline, event.sink).inc())

    def _audited(self, event: AuditAppended) -> None:
        """Swaps by their result, and how long each stage took."""
        record = event.record
        if record.event == "intent":
            self._invalid.labels(record.model).inc()
        # Not about another version, or the log's own.
        if record.event in (
            "intent",
            "rebuild",
            "preload",
            "approval",
            "audit",
            "alarm",
            "config",
        ) or record.result in (
            "drifted",
            "agrees",
            "reported",
            "cleared",
        ):
            return
        self._swaps.labels(record.model, record.result).inc()
        for stage, seconds in record.stages.items():
            self._update_stage.labels(record.model, stage).set(seconds)

    def frame(self, pipeline: str, version: str) -> None:
        """A frame has its result, from this version."""
        self._frames(pipeline, version).inc()

    def scores(self, model: str, version: str, names: Sequence[str], boxes: Sequence[Box]) -> None:
        """What was found in a frame, by this version; names: of the classes, by their ids in `boxes`."""
        self._scores.count(model, version, names, boxes)

    def dropped(self, pipeline: str, reason: str, count: int = 1) -> None:
        """Frames that get no result: `busy` (the engine was), `unreadable`, `failed`, ..."""
        self._dropped(pipeline, reason).inc(count)

    def latency(self, pipeline: str, stage: str, seconds: float) -> None:
        """How long one stage of one frame took; the stage `total` is from capture to result."""
        self._latency(pipeline, stage).observe(seconds)

    def model_info(self, model: str, version: str, digest: str, engine: str, role: str) -> None:
        """A version is loaded, as `active`, `standby` or `candidate`."""
        self._model_info.labels(model, version, digest, engine, role).set(1)

    def remove_model_info(self, model: str, version: str, digest: str, engine: str, role: str) -> None:
        """It isn't any more (or not as that). Unknown labels are fine."""
        self._model_info.remove(model, version, digest, engine, role)

    def updates_waiting(self, count: int) -> None:
        """So many updates wait for others to be done, over all models."""
        self._waiting.set(count)

    def config_store_connected(self, connected: bool) -> None:
        """Whether the config store can be reached now."""
        self._connected.set(connected)

    def intent_source_connected(self, url: str, connected: bool) -> None:
        """Whether one of the sources of intent can be reached now."""
        self._source_connected.labels(url).set(connected)

    def sentinel_replayed(self, model: str, differing: float) -> None:
        """The golden pictures went through the engine that serves; `differing`: share of them that differ."""
        self._drift.labels(model).set(differing)

    def hook_delivery(self, hook: str, result: str) -> None:
        """A configured webhook was called; `result` is that of web/hooks.py."""
        self._hooks.labels(hook, result).inc()

    def worker_memory(self, kind: str, count: float) -> None:
        """Resident memory of all workers of a kind, in bytes."""
        self._memory.labels(kind).set(count)

    def pipeline_up(self, pipeline: str, up: bool) -> None:
        """Whether frames come from the pipeline's source."""
        self._up.labels(pipeline).set(up)

    def forget_pipeline(self, pipeline: str) -> None:
        """It is gone: what it counted stays, for it may come back; that it is up or down makes no sense any more."""
        with suppress(KeyError):
            self._up.remove(pipeline)

    def forget_model(self, model: str) -> None:
        """It is gone: what its pictures showed last says nothing of it any more."""
        with suppress(KeyError):
            self._drift.remove(model)

    def sink_lost(self, pipeline: str, sink: str, records: int) -> None:
        """So many records are lost to a sink that could not take them, or had no room for them."""
        self._sink_lost.labels(pipeline, sink).inc(records)
