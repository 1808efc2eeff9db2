# SPDX-License-Identifier: AGPL-3.0-or-later
"""One pipeline, put together: its camera, its route to an engine, its sinks, its figures."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
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
DRAIN_S = 2.0
"""How long the frames of a camera that is taken away may take to their results, seconds."""


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
        self._left = asyncio.Event()  # a frame has left the pipeline
        self._observer = CaptureObserver(
            on_frame=self._captured,
            on_dropped=self._count_dropped,
            on_ring_gone=on_ring_gone,
            on_restart=lambda: bus.publish(WorkerRestarted("capture", config.name)),
            on_source_error=lambda state: bus.publish(SourceFailed(config.name, state)),
        )
        self._capture_settings = CaptureSettings(slots=ring_slots(streams))
        self.capture = Capture(config, self._observer, self._capture_settings)
        self.route = Route(
            config.name,
            self.capture.live,
            config.confidence,
            config.iou,
            emit=self._emit,
            dropped=self._count_dropped,
            max_age_s=config.source.max_age_seconds,
            rate=lambda: self.capture.source.fps or self.config.source.fps or 0.0,
        )
        self.sinks = Sinks(
            config.name,
            config.sinks,
            on_pressure=lambda behind: self.capture.pause(behind),
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

    async def change(self, config: PipelineConfig) -> None:
        """Go on with other settings; name and model stay. Only for another source the camera is stopped, and the next
        one started; its frames are numbered on. Sinks are another matter (`sinks.leave`, `sinks.begin`)."""
        before, self.config = self.config, config
        self.route.confidence, self.route.iou = config.confidence, config.iou
        if config.source == before.source:
            return
        await self.capture.stop()
        await self._drained()
        self._router.begin_anew(self.route)
        capture = Capture(config, self._observer, self._capture_settings)
        capture.source.go_on_from(self.capture.source)
        self.capture = capture
        self.route.live, self.route.max_age_s = capture.live, config.source.max_age_seconds
        capture.pause(self.sinks.pressed)
        capture.start()

    async def end(self) -> None:
        """As `stop`, but let the frames that were captured have their results first, if they come soon."""
        await self.capture.stop()
        await self._drained()
        await self.stop()

    async def stop(self) -> None:
        """Stop the camera, give its frames back, write out what the sinks hold. Also when it was never started."""
        await self.capture.stop()
        if self.route in self._router.routes:
            self._router.remove(self.route)
        await self.sinks.close()

    async def _drained(self) -> None:
        """Return when no frame is on its way any more, or nothing comes of them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                while self.route.waiting or self.route.jobs:
                    self._left.clear()
                    await self._left.wait()

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
        self._left.set()
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
        self._left.set()
        self.dropped[reason] = self.dropped.get(reason, 0) + count
        self._router.tally.drop(reason, count)
        self._metrics.dropped(self.config.name, reason, count)
