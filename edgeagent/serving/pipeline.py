# SPDX-License-Identifier: AGPL-3.0-or-later
"""One pipeline, put together: its camera, its route to an engine, its sinks, its figures."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from itertools import islice

from edgeagent.config import PipelineConfig
from edgeagent.core.quantiles import quantile
from edgeagent.observe.bus import Bus, SinkFailed, SourceFailed, WorkerRestarted
from edgeagent.observe.metrics import Metrics
from edgeagent.serving.camera import Capture, CaptureObserver, CaptureSettings
from edgeagent.serving.frame import Frame
from edgeagent.serving.record import Timing
from edgeagent.serving.router import Route, Router
from edgeagent.serving.slot_lender import ring_slots
from edgeagent.serving.tap import Tap
from edgeagent.sinks.port import Record
from edgeagent.sinks.queue import SinkHost, Sinks

_LATENCIES = 512


class Pipeline:
    """Frames of one source, through the engine of its model, to its sinks."""

    def __init__(
        self,
        config: PipelineConfig,
        router: Router,
        metrics: Metrics,
        bus: Bus,
        on_ring_gone: Callable[[int], None],
        host: SinkHost,
        streams: int = 1,
    ) -> None:
        """host: of its sinks; streams: frames that its engine infers side by side, at most."""
        self.config = config
        self.results = 0
        self.last_result = 0.0  # monotonic seconds
        self.dropped: dict[str, int] = {}  # frames without a result, by reason
        self._metrics = metrics
        self._router = router
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self.capture = Capture(
            config,
            CaptureObserver(
                on_frame=self._captured,
                on_dropped=self._count_dropped,
                on_ring_gone=on_ring_gone,
                on_restart=lambda: bus.publish(WorkerRestarted("capture", config.name)),
                on_source_error=lambda state: bus.publish(SourceFailed(config.name, state)),
            ),
            CaptureSettings(slots=ring_slots(streams)),
        )
        self.route = Route(
            config.name,
            self.capture.live,
            config.confidence,
            config.iou,
            emit=self._emit,
            dropped=self._count_dropped,
            max_age_s=config.source.max_age_seconds,
            rate=lambda: self.capture.source.fps or config.source.fps or 0.0,
        )
        self.sinks = Sinks(
            config.name,
            config.sinks,
            on_pressure=self.capture.pause,
            on_error=lambda sink: bus.publish(SinkFailed(config.name, sink)),
            on_lost=lambda sink, records: metrics.sink_lost(config.name, sink, records),
            host=host,
        )

    @property
    def tap(self) -> Tap:
        """Where its frames can be looked at, with those of the other pipelines on its model."""
        return self._router.tap

    @property
    def source_state(self) -> str:
        """How its source is, in a word or some."""
        source = self.capture.source
        return f"{source.state}: {source.why}" if source.why else source.state

    def start(self) -> None:
        """Start the camera. To be called once, on the event loop."""
        self._router.add(self.route)
        self.capture.start()

    async def stop(self) -> None:
        """Stop the camera, give its frames back, write out what the sinks hold. Also when it was never started."""
        await self.capture.stop()
        if self.route in self._router.routes:
            self._router.remove(self.route)
        await self.sinks.close()

    def latency_quantiles(self, *shares: float, of: int = _LATENCIES) -> list[float | None]:
        """Seconds from capture to result that these shares of the last frames, `of` at most, didn't exceed; None
        before the first."""
        last = islice(reversed(self._latencies), of)
        ordered = sorted(last)
        return [quantile(ordered, share) if ordered else None for share in shares]

    def _captured(self, frame: Frame) -> None:
        self._router.captured(self.route, frame)

    def _emit(self, record: Record, timing: Timing) -> None:
        name, metrics = self.config.name, self._metrics
        self.results += 1
        self.last_result = time.monotonic()
        self._router.tally.result(name, self.last_result, len(record.boxes))
        self._latencies.append(timing.total)
        metrics.frame(name, record.version)
        if record.boxes:
            metrics.scores(record.model, record.version, record.names, record.boxes)
        metrics.latency(name, "wait", timing.wait)
        metrics.latency(name, "pre", timing.pre)
        metrics.latency(name, "infer", timing.infer)
        metrics.latency(name, "post", timing.post)
        metrics.latency(name, "total", timing.total)
        self.sinks.write(record)

    def _count_dropped(self, reason: str, count: int) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + count
        self._router.tally.drop(reason, count)
        self._metrics.dropped(self.config.name, reason, count)
