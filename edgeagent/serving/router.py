# SPDX-License-Identifier: AGPL-3.0-or-later
"""The frame path in the node: leases each frame to one engine, and lets results out in frame order.

A frame is leased at dispatch. After a swap the next frame goes to the new engine while those in flight finish on the
old one; what finishes early waits for its turn. A frame whose engine died is leased anew. Frames stay where the
capture worker wrote them: only slot numbers travel.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from edgeagent.core.form import FrameSizes
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.frame import Frame
from edgeagent.serving.record import Timing, boxes_of, record_of, timing_of
from edgeagent.serving.slot import Lease, Slot
from edgeagent.sinks.port import Box, Record
from edgeagent.workers.messages import Detected

DEPTH = 2
"""How often over an engine has what it is at work on: a batch, or a frame in each of its streams, and as much waiting
in its worker, so that it never idles. A live line has at most one frame waiting there, however large the batches: more
would only be older."""

BURST, BURST_S = 4, 0.15
"""Frames that may wait on a live line, and for how long (seconds). Enough for a hiccup of the machine, when frames
come late and together; an engine that is slower than its camera still sees frames that are nearly new."""

MAX_ATTEMPTS = 2
"""A frame that was with an engine when it died is tried once more; then the frame itself is suspected."""


MAX_SIZES = 64
"""A camera has one size of frames, or a few; a folder of pictures may have as many as there are files."""


@dataclass(slots=True, eq=False)
class _Job:
    line: Route
    frame: Frame
    lease: Lease | None = None  # None: to be leased (again)
    dispatched: float = 0.0
    result: Detected | None = None
    boxes: tuple[Box, ...] = ()
    failed: bool = False

    @property
    def done(self) -> bool:
        return self.failed or self.result is not None


@dataclass(eq=False)
class Route:
    """One pipeline, as the router sees it.

    emit: called with each record in frame order, and its timing. dropped: called with a reason and a number.
    recent: the last frame that gave a result, kept for the gates of a candidate. sizes: (height, width) of the frames
    that came until now, the first MAX_SIZES of them.
    """

    name: str
    live: bool
    confidence: float
    iou: float
    emit: Callable[[Record, Timing], None]
    dropped: Callable[[str, int], None]
    waiting: deque[Frame] = field(default_factory=deque)
    jobs: deque[_Job] = field(default_factory=deque)
    recent: Frame | None = None
    sizes: set[tuple[int, int]] = field(default_factory=set)


class Router:
    """Routes the frames of all lines on one model. Runs on the event loop's thread; never blocks."""

    def __init__(
        self,
        model: str,
        slot: Slot,
        clock: Callable[[], float] = time.monotonic,
        resized: Callable[[], None] = lambda: None,
    ) -> None:
        """resized: called when a line has a frame of a size that it didn't have before."""
        self._model = model
        self._resized = resized
        self._slot = slot
        self._clock = clock
        self._lines: deque[Route] = deque()
        self._jobs: dict[int, _Job] = {}
        self._tickets = count(1)

    @property
    def lines(self) -> list[Route]:
        """The lines on this model."""
        return list(self._lines)

    def frame_sizes(self) -> FrameSizes:
        """Of all frames that the lines have had."""
        sizes = [line.sizes for line in self._lines]
        return FrameSizes(frozenset().union(*sizes), all(sizes))

    def recent_frames(self) -> list[Frame]:
        """The newest frame of each line that has one, for a candidate to be tried on."""
        newest = (line.recent or (line.waiting[-1] if line.waiting else None) for line in self._lines)
        return [frame for frame in newest if frame]

    def add_line(self, line: Route) -> None:
        """Route this line's frames too."""
        self._lines.append(line)

    def remove_line(self, line: Route) -> None:
        """Give back all of the line's frames. Its capture must have stopped."""
        self._lines.remove(line)
        self._jobs = {ticket: job for ticket, job in self._jobs.items() if job.line is not line}
        for job in line.jobs:
            if job.lease:
                job.lease.release()
            job.frame.release()
        for frame in line.waiting:
            frame.release()
        if line.recent:
            line.recent.release()
        line.jobs.clear()
        line.waiting.clear()
        line.recent = None
        self.dispatch()  # one of its frames may have been on trial alone

    def frame(self, line: Route, frame: Frame) -> None:
        """A frame was captured. On a live line it takes the place of those that have waited too long."""
        size = frame.height, frame.width
        if size not in line.sizes and len(line.sizes) < MAX_SIZES:
            line.sizes.add(size)
            self._resized()
        while line.live and line.waiting and self._is_stale(line):
            line.waiting.popleft().release()
            engine = self._slot.engine
            line.dropped("busy" if engine and engine.ready else "no_engine", 1)
        line.waiting.append(frame)
        self.dispatch()

    def dispatch(self) -> None:
        """Give the engine that serves as many frames as it should have; to each line its turn."""
        engine = self._slot.engine
        while engine and engine.ready and engine.in_flight < self._room(engine):
            job = self._next_job()
            if job is None:
                return
            job.lease = self._slot.lease()
            job.dispatched = self._clock()
            ticket = next(self._tickets)
            self._jobs[ticket] = job
            engine.infer(ticket, job.frame, job.line.confidence, job.line.iou)

    def detected(self, engine: Engine, result: Detected) -> None:
        """An engine's answer. One that nobody waits for any more is left alone."""
        try:
            boxes = boxes_of(result, engine.artifact.contract.names)
        except ValueError as e:
            self.fault(engine, result.ticket, str(e))
            return
        job = self._take(engine, result.ticket)
        if job:
            job.result, job.boxes = result, boxes
            self._flush(job.line)
        self.dispatch()

    def fault(self, engine: Engine, ticket: int, why: str) -> None:
        """An engine can't infer this frame: it is counted, and the line goes on."""
        job = self._take(engine, ticket)
        if job:
            job.failed = True
            self._flush(job.line)
        self.dispatch()

    def lost(self, engine: Engine) -> None:
        """An engine's worker died: what it had is leased anew, in order, or given up after MAX_ATTEMPTS.

        Only frames that may have been in work are suspected: those behind were not looked at yet. When there are
        several, each is tried alone, so that it shows which one it is.
        """
        had = [ticket for ticket, job in self._jobs.items() if job.lease and job.lease.engine is engine]
        in_work = 1 if self._suspects() else engine.at_once
        for place, ticket in enumerate(had):
            job = self._jobs.pop(ticket)
            assert job.lease is not None
            job.lease.release()
            job.lease = None
            if place < in_work:
                job.frame.attempts += 1
                job.failed = job.frame.attempts >= MAX_ATTEMPTS
        for line in self._lines:
            self._flush(line)
        self.dispatch()

    def _room(self, engine: Engine) -> int:
        """How many frames it should have."""
        return 1 if engine.at_once > 1 and self._suspects() else DEPTH * engine.at_once

    def _suspects(self) -> bool:
        """Whether a frame that was with an engine when it died is yet to be tried again."""
        return any(job.frame.attempts and not job.done for line in self._lines for job in line.jobs)

    def _is_stale(self, line: Route) -> bool:
        """Whether the oldest frame that waits on a live line is to make way for a newer one."""
        return len(line.waiting) >= BURST or self._clock() - line.waiting[0].mono > BURST_S

    def _take(self, engine: Engine, ticket: int) -> _Job | None:
        """The job that this engine has under this ticket; None when its line was removed."""
        job = self._jobs.get(ticket)
        if job is None or job.lease is None or job.lease.engine is not engine:
            return None
        return self._jobs.pop(ticket)

    def _next_job(self) -> _Job | None:
        for _ in range(len(self._lines)):
            line = self._lines[0]
            self._lines.rotate(-1)
            for job in line.jobs:
                if job.lease is None and not job.done:
                    return job
            if line.waiting and not (line.live and self._is_served(line)):
                job = _Job(line, line.waiting.popleft())
                line.jobs.append(job)
                return job
        return None

    def _is_served(self, line: Route) -> bool:
        """Whether the engine that serves has a frame of the line for each of its streams, and one that waits."""
        engine = self._slot.engine
        assert engine is not None
        has = sum(1 for job in line.jobs if not job.done and job.lease and job.lease.engine is engine)
        return has > engine.streams

    def _flush(self, line: Route) -> None:
        """Let out what is done, as far as it is next in frame order."""
        while line.jobs and line.jobs[0].done:
            job = line.jobs.popleft()
            if job.result is None:
                line.dropped("failed", 1)
                if job.lease:
                    job.lease.release()
                job.frame.release()
                continue
            self._emit(line, job, job.result)

    def _emit(self, line: Route, job: _Job, result: Detected) -> None:
        lease, frame = job.lease, job.frame
        assert lease is not None
        now = self._clock()
        record = record_of(frame, self._model, lease, job.boxes, now)
        timing = timing_of(frame, job.dispatched, result, now)
        lease.release()
        if line.recent:
            line.recent.release()
        line.recent = frame
        line.emit(record, timing)
