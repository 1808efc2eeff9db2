# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gives sinks that want pictures their frames: from the tap into a worker that writes, at no frame's expense."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping
from functools import partial

import structlog

from edgeagent.serving.frame import Frame
from edgeagent.serving.pipeline import Pipeline
from edgeagent.serving.tap import Subscription, Tap
from edgeagent.sinks.port import PictureRequest, PictureSink, Record
from edgeagent.update.picture_writer import SWEEP_S, PictureWriter
from edgeagent.workers.process import WorkerProcess
from edgeagent.workers.tasks.pictures import ArchiveAccess, PictureDone, PictureFindings, PictureOrder

_log = structlog.get_logger(__name__)
AGAIN_S = 5.0
_FRAMES = 1
"""Of each pipeline: the one that is being written."""
_EACH_FPS = math.inf
"""All of them are looked at: what is sought is on few, and one that isn't wanted is given back at once."""


class Snapshots:
    """Of a node. A tap is listened to only while one of its pipelines has such a sink. On the event loop's thread.

    pipelines: by name, as they are now. It has a worker of its own: a folder on a share that hangs is to cost no other
    picture.
    """

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        writer: Callable[[], PictureWriter] = lambda: PictureWriter(()),
    ) -> None:
        """writer: makes it, when there is something to write for."""
        self._pipelines, self._make_writer = pipelines, writer
        self._writer: PictureWriter | None = None
        self._subscriptions: dict[str, tuple[Tap, Subscription]] = {}  # by model
        self._again: asyncio.TimerHandle | None = None
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def worker(self) -> WorkerProcess | None:
        """The process, while there is one."""
        return self._writer.worker if self._writer else None

    def follow(self, taps: Mapping[str, Tap]) -> None:
        """Look at what the sinks that there are now want. taps: by model."""
        self._forget_again()
        wanted = {p.config.model for p in self._pipelines.values() if p.sinks.picturing}
        for model, (tap, subscription) in list(self._subscriptions.items()):
            if model not in wanted or taps.get(model) is not tap:
                subscription.close()
                del self._subscriptions[model]
        for model in wanted - self._subscriptions.keys():
            self._writer = self._writer or self._make_writer()
            tap = taps[model]
            try:
                subscription = tap.subscribe(self._offer, fps=_EACH_FPS, frames=_FRAMES)
            except ValueError as e:  # a sink that was taken away just now has its frame still
                _log.warning("snapshots.not_begun", model=model, why=str(e), note="tried again")
                self._forget_again()
                self._again = asyncio.get_running_loop().call_later(AGAIN_S, self.follow, taps)
            else:
                self._subscriptions[model] = tap, subscription
        if self._writer and not self._sweep:
            self._sweep_later(self._writer)

    async def close(self) -> None:
        """Return when the worker is gone, and its frame given back. Idempotent."""
        self._forget_again()
        if self._sweep:
            self._sweep.cancel()
        for _, subscription in self._subscriptions.values():
            subscription.close()
        self._subscriptions.clear()
        if self._writer:
            await self._writer.close()

    def _forget_again(self) -> None:
        if self._again:
            self._again.cancel()
            self._again = None

    def _sweep_later(self, writer: PictureWriter) -> None:
        """Again and again, so that nothing outstays its time while no picture comes."""

        def sweep() -> None:
            self._sweep_later(writer)
            folders = [sink.folder() for p in self._pipelines.values() for sink in p.sinks.picturing]
            if folders:
                writer.sweep(tuple(ArchiveAccess(root, quota) for root, quota in folders))

        self._sweep = asyncio.get_running_loop().call_later(SWEEP_S, sweep)

    def _offer(self, frame: Frame, record: Record) -> None:
        pipeline = self._pipelines.get(frame.pipeline)
        writer = self._writer
        if pipeline and writer and writer.idle:
            for sink in pipeline.sinks.picturing:
                request = sink.picture(record)
                if request and writer.offer(frame, _order(request, record), partial(_done, sink)):
                    sink.begun()
                    return  # the frame is the writer's now; another sink gets a later one
        frame.release()


def _order(request: PictureRequest, record: Record) -> PictureOrder:
    boxes = tuple((x1, y1, x2, y2, conf, int(cls)) for x1, y1, x2, y2, conf, cls in record.boxes)
    found = PictureFindings(
        record.pipeline, record.version, record.ts, boxes, record.names, request.about, request.boxes
    )
    return PictureOrder(request.root, request.path, request.quality, quota=request.quota, findings=found)


def _done(sink: PictureSink, done: PictureDone) -> None:
    no_space = "the disk is short, or the picture is larger than all that may be kept"
    sink.done("" if done.outcome == "kept" else done.why or no_space)
