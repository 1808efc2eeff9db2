# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine worker: one model version, loaded once; a frame's slot in, its detections out.

Its task is LoadEngine. Says EngineReady or LoadFailed then; answers each Infer with Detected, or with FrameFailed for a
frame that can't be inferred.
"""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field

import numpy as np

from edgeagent.errors import EdgeAgentError, WeightsError
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.detection.letterbox import InputBatch
from edgeagent.workers.bootstrap import raise_priority, worker_main
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.messages import Detected, Heartbeat, Infer, Message, Ring, UnmapRing
from edgeagent.workers.options import load_plan
from edgeagent.workers.ring import RingView
from edgeagent.workers.tasks.engine import EngineReady, FrameFailed, LoadEngine, LoadFailed, LoadPlan

_HEARTBEAT_S = 1.0
_LOOK_S = 0.001
"""How long a stream waits for the next frame: as long as the node takes to send one for the result that it has got."""


def serve(channel: WorkerChannel, task: LoadEngine) -> None:
    """Load, say so, then infer until the node is gone."""
    try:
        runtime = load_plan(task.plan)
        detector = Detector(runtime)
        detector.warm()
        frame_ms = _frame_ms(detector, task.plan)
        streams = [Detector(stream) for stream in runtime.streams()]
    except EdgeAgentError as e:
        channel.send(LoadFailed(str(e)))
        return
    # Loading competed with the version that serves; from now on it serves itself.
    if task.nice is not None:
        raise_priority(task.nice)
    channel.send(EngineReady(runtime.name, detector.max_batch, max(len(streams), 1), frame_ms))
    _infer_for_ever(channel, detector, streams)


def _frame_ms(detector: Detector, plan: LoadPlan) -> float:
    """Milliseconds that a frame takes at least; 0, which is held against nobody, where that can't be told: a GPU works
    for the line at the same time, and which part of the time that takes nobody says. Raises WeightsError."""
    return detector.measure(max(plan.threads, 1)) if plan.variant.device == "cpu" else 0.0


@dataclass
class _Batch:
    """Frames that go through the network together: what was asked, and their pixels, letterboxed."""

    pictures: InputBatch
    jobs: list[Infer] = field(default_factory=list)

    def clear(self) -> None:
        self.pictures.clear()
        self.jobs.clear()


class _Inbox:
    """What the node says: frames go into a batch, the rest is done. One thread at a time reads it."""

    def __init__(self, channel: WorkerChannel, max_batch: int) -> None:
        self._channel = channel
        self._max_batch = max_batch
        self._rings: dict[int, RingView] = {}
        self._helper = ThreadPoolExecutor(1)
        self._stop = os.eventfd(0)

    def fill(self, batch: _Batch, wait_s: float) -> None:
        """Add the frames that wait, until the batch is full; when it is empty, wait (seconds) for the first."""
        while len(batch.jobs) < self._max_batch:
            message = self._channel.receive(0 if batch.jobs else wait_s)
            if message is None:
                break
            self._handle(message, batch)

    def holds_more(self) -> bool:
        """Whether something waits to be read, most likely a frame."""
        return bool(select.select([self._channel.fileno()], [], [], 0)[0])

    @contextmanager
    def filling(self, batch: _Batch) -> Iterator[None]:
        """While in here, another thread adds frames as they come. What that raises is raised at the end."""
        ahead = self._helper.submit(self._fill_until_stopped, batch)
        try:
            yield
        finally:
            os.eventfd_write(self._stop, 1)
        ahead.result()
        os.eventfd_read(self._stop)

    def _fill_until_stopped(self, batch: _Batch) -> None:
        while len(batch.jobs) < self._max_batch:
            if self._stop in select.select([self._channel.fileno(), self._stop], [], [])[0]:
                break
            self._handle(self._channel.receive(), batch)

    def _handle(self, message: Message | None, batch: _Batch) -> None:
        match message:
            case Infer():
                image = self._rings[message.ring].image(message.slot, message.height, message.width)
                batch.pictures.add(image)
                batch.jobs.append(message)
            case Ring(ring, slots, slot_bytes):
                self._rings[ring] = RingView(self._channel.fds.popleft(), slots, slot_bytes)
            case UnmapRing(ring):
                if ring in self._rings:
                    self._rings.pop(ring).close()
            case _:
                raise SystemExit(f"an engine worker has no use for {message!r}")


class _Streams:
    """Inference streams, for frames that wait: each takes the next one, in a thread of its own."""

    def __init__(self, channel: WorkerChannel, inbox: _Inbox, detectors: Sequence[Detector]) -> None:
        self._channel = channel
        self._inbox = inbox
        self._streams = [(detector, _Batch(detector.pictures)) for detector in detectors]
        self._threads = ThreadPoolExecutor(len(detectors))
        self._reading = threading.Lock()
        self._over = False

    def infer(self, first: _Batch) -> None:
        """Answer `first`, and what waits, until a stream finds nothing to do: then frames don't queue any more, and the
        next one is sooner through with all threads on it. The others end what they have in hand."""
        self._over = False
        others = [self._threads.submit(self._work, detector, batch) for detector, batch in self._streams[1:]]
        self._work(self._streams[0][0], first)
        for other in others:
            other.result()

    def _work(self, detector: Detector, batch: _Batch) -> None:
        try:
            while batch.jobs or self._take(batch):
                _infer(self._channel, detector, batch.pictures, batch.jobs)
                batch.clear()
        finally:
            self._over = True  # also when this one has failed

    def _take(self, batch: _Batch) -> bool:
        with self._reading:
            if not self._over:
                self._inbox.fill(batch, _LOOK_S)
        return bool(batch.jobs)


def _infer_for_ever(channel: WorkerChannel, detector: Detector, streams: Sequence[Detector]) -> None:
    """The network runs in this thread alone, whichever fills the batches: runtimes keep things by thread. Those that
    have streams don't."""
    inbox = _Inbox(channel, detector.max_batch)
    side_by_side = _Streams(channel, inbox, streams) if streams else None
    batch, following = _Batch(detector.pictures), _Batch(detector.another_input())
    turn = 0
    while True:
        # Frames that wait already go together; none waits for company.
        inbox.fill(batch, 0)
        queued = bool(batch.jobs)
        while not batch.jobs:
            inbox.fill(batch, _HEARTBEAT_S)
            if not batch.jobs:
                turn += 1
                channel.send(Heartbeat(turn))
        if side_by_side and inbox.holds_more():
            side_by_side.infer(batch)
        else:
            # A frame that found the worker idle rarely has one behind it, and waking the other thread costs it 0.1 ms.
            with inbox.filling(following) if queued and not side_by_side else nullcontext():
                _infer(channel, detector, batch.pictures, batch.jobs)
        batch.clear()
        batch, following = following, batch


def _infer(
    channel: WorkerChannel, detector: Detector, pictures: InputBatch, jobs: Sequence[Infer], first: int = 0
) -> None:
    """Answer `jobs`, whose frames stand in `pictures` from `first` on."""
    try:
        found = detector.infer(pictures, [job.confidence for job in jobs], [job.iou for job in jobs], first)
    except WeightsError as e:
        if len(jobs) == 1:
            channel.send(FrameFailed(jobs[0].ticket, str(e)))
        else:  # one frame may be to blame: the others are to have their results
            for i, job in enumerate(jobs):
                _infer(channel, detector, pictures, [job], i)
        return
    for job, result in zip(jobs, found, strict=True):
        boxes = np.ascontiguousarray(result.boxes, dtype="<f4").tobytes()
        channel.send(Detected(job.ticket, *result.timings_ms, boxes))


if __name__ == "__main__":
    worker_main(serve, LoadEngine)
