# SPDX-License-Identifier: AGPL-3.0-or-later
"""The frame path in the node: leases each frame to one engine, and lets results out in frame order.

A frame is leased at dispatch. After a swap the next frame goes to the new engine while those in flight finish on the
old one; what finishes early waits for its turn. A frame whose engine died is leased anew. Frames stay where the
capture worker wrote them: only slot numbers travel.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from edgeagent.core.contract import Names
from edgeagent.core.detection_settings import AS_FOUND, DetectionSettings
from edgeagent.core.form import FrameSizes
from edgeagent.core.state import VersionRef
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.fault_level import FaultLevel
from edgeagent.serving.frame import Frame
from edgeagent.serving.frame_tally import FrameTally
from edgeagent.serving.record import Timing, boxes_of, record_of, timing_of
from edgeagent.serving.slot import Lease, Slot
from edgeagent.serving.tap import Tap
from edgeagent.sinks.port import Box, Record
from edgeagent.workers.messages import Detected

DEPTH = 2
"""How often over an engine has what it is at work on: a batch, or a frame in each of its streams, and as much waiting
in its worker, so that it never idles. A live pipeline has at most one frame waiting there, however large the batches:
more would only be older."""

BURST, BURST_S = 4, 0.15
"""Frames that may wait on a live pipeline, and for how long (seconds). Enough for a hiccup of the machine, when frames
come late and together; an engine that is slower than its camera still sees frames that are nearly new."""

MAX_ATTEMPTS = 2
"""A frame that was with an engine when it died is tried once more; then the frame itself is suspected."""


MAX_SIZES = 64
"""A camera has one size of frames, or a few; a folder of pictures may have as many as there are files."""


@dataclass(slots=True, eq=False)
class _Job:
    route: Route
    frame: Frame
    lease: Lease | None = None  # None: to be leased (again)
    dispatched: float = 0.0
    result: Detected | None = None
    boxes: tuple[Box, ...] = ()
    dropped: str = ""  # why it has no result

    @property
    def done(self) -> bool:
        return bool(self.dropped) or self.result is not None


@dataclass(eq=False)
class Route:
    """One pipeline, as the router sees it.

    live: a newer frame takes the place of those that have waited too long, and none is inferred that was captured more
    than max_age_s seconds ago; else none is lost. confidence, iou: limits for its detections. emit: called with each
    record in frame order, and its timing. dropped: called with a reason and a number of frames. rate: frames a second
    that its source sends, 0 while that isn't known. waiting: frames that no engine has yet; jobs: those that one has or
    had, in frame order. sizes: (height, width) of the frames that came until now, the first MAX_SIZES of them. faults:
    whether its frames keep failing.
    """

    name: str
    live: bool
    confidence: float
    iou: float
    emit: Callable[[Record, Timing], None]
    dropped: Callable[[str, int], None]
    rate: Callable[[], float] = lambda: 0.0
    waiting: deque[Frame] = field(default_factory=deque)
    jobs: deque[_Job] = field(default_factory=deque)
    sizes: set[tuple[int, int]] = field(default_factory=set)
    max_age_s: float = math.inf
    faults: FaultLevel = field(default_factory=FaultLevel)

    def limits(self, settings: DetectionSettings) -> tuple[float, float]:
        """Confidence and IoU that an engine is given for its frames: with those it finds all that may count. settings:
        of its model; the rest of them is `kept`'s."""
        iou = self.iou if settings.iou is None else settings.iou
        return settings.floor(self.confidence), iou

    def kept(
        self, settings: DetectionSettings, frame: Frame, boxes: tuple[Box, ...], names: Names
    ) -> tuple[Box, ...]:
        """What counts of what a version has found in one of its frames. names: of the classes, by their ids there."""
        if settings is AS_FOUND:
            return boxes
        return settings.kept(boxes, names, (frame.width, frame.height), self.confidence)


class Router:
    """Routes the frames of all pipelines on one model. Runs on the event loop's thread; never blocks."""

    def __init__(
        self,
        model: str,
        slot: Slot,
        clock: Callable[[], float] = time.monotonic,
        resized: Callable[[], None] = lambda: None,
        failing: Callable[[Engine, str], None] = lambda engine, why: None,
        at_fault: Callable[[VersionRef], None] = lambda ref: None,
    ) -> None:
        """resized: called when a pipeline has a frame of a size that it didn't have before. failing: called again and
        again while the frames of a pipeline keep failing on an engine. at_fault: called with a version when a frame
        that it failed on fails on another version, too: it was the frame."""
        self._model = model
        self._resized = resized
        self._failing = failing
        self._at_fault = at_fault
        self._slot = slot
        self._clock = clock
        self._routes: deque[Route] = deque()
        self._jobs: dict[int, _Job] = {}
        self._tickets = count(1)
        self.tap = Tap()
        self.tally = FrameTally()
        self.settings = AS_FOUND
        """What counts as a detection, on all pipelines."""

    @property
    def idle(self) -> bool:
        """Whether no frame is with the engine that serves, or waits for it."""
        engine = self._slot.engine
        return not (engine and engine.in_flight) and not any(route.waiting for route in self._routes)

    @property
    def routes(self) -> list[Route]:
        """The pipelines on this model."""
        return list(self._routes)

    def frame_sizes(self) -> FrameSizes:
        """Of all frames that the pipelines have had."""
        sizes = [route.sizes for route in self._routes]
        return FrameSizes(frozenset().union(*sizes), all(sizes))

    def rate(self) -> float:
        """Frames a second that the live pipelines send together. What others send waits for its turn."""
        return sum(route.rate() for route in self._routes if route.live)

    def shortest_interval_ms(self) -> float:
        """Milliseconds between two frames of the fastest live pipeline; 0 while none sends frames."""
        fastest = max((route.rate() for route in self._routes if route.live), default=0.0)
        return 1000 / fastest if fastest else 0.0

    def add(self, route: Route) -> None:
        """Route this pipeline's frames too."""
        self._routes.append(route)

    def remove(self, route: Route) -> None:
        """Give back all of the pipeline's frames. Its capture must have stopped."""
        self._routes.remove(route)
        self._jobs = {ticket: job for ticket, job in self._jobs.items() if job.route is not route}
        for job in route.jobs:
            if job.lease:
                job.lease.release()
            job.frame.release()
        for frame in route.waiting:
            frame.release()
        route.jobs.clear()
        route.waiting.clear()
        self.tap.end(route.name)
        self.tally.forget(route.name)
        self.dispatch()  # one of its frames may have been on trial alone

    def begin_anew(self, route: Route) -> None:
        """The pipeline gets another source: what comes from it has nothing to do with what came before."""
        route.sizes.clear()
        route.faults = FaultLevel()
        self.tap.end(route.name)
        self.tally.forget(route.name)

    def captured(self, route: Route, frame: Frame) -> None:
        """A frame was captured. On a live pipeline it takes the place of those that have waited too long."""
        size = frame.height, frame.width
        if size not in route.sizes and len(route.sizes) < MAX_SIZES:
            route.sizes.add(size)
            self._resized()
        while route.live and route.waiting and self._makes_way(route):
            route.waiting.popleft().release()
            engine = self._slot.engine
            route.dropped("busy" if engine and engine.ready else "no_engine", 1)
        route.waiting.append(frame)
        self.dispatch()

    def dispatch(self) -> None:
        """Give the engine that serves as many frames as it should have; to each pipeline its turn."""
        engine = self._slot.engine
        while engine and engine.ready and engine.in_flight < self._room(engine):
            job = self._next_job()
            if job is None:
                return
            job.lease = self._slot.lease()
            job.dispatched = self._clock()
            ticket = next(self._tickets)
            self._jobs[ticket] = job
            engine.infer(ticket, job.frame, *job.route.limits(self.settings))

    def detected(self, engine: Engine, result: Detected) -> None:
        """An engine's answer. One that nobody waits for any more is left alone."""
        asked = self._jobs.get(result.ticket)
        try:
            boxes = boxes_of(result, asked.lease.classes) if asked and asked.lease else ()
        except ValueError as e:
            self.fault(engine, result.ticket, str(e))
            return
        job = self._take(engine, result.ticket)
        if job:
            names = job.lease.classes.names if job.lease else ()
            job.result, job.boxes = result, job.route.kept(self.settings, job.frame, boxes, names)
            job.route.faults.passed(engine)
            self._flush(job.route)
        self.dispatch()

    def fault(self, engine: Engine, ticket: int, why: str) -> None:
        """An engine can't infer this frame: it is counted, and the pipeline goes on. When another engine serves by now,
        the frame is tried once more, by that; and what came after it, so that no later frame is of an earlier epoch."""
        job = self._take(engine, ticket)
        if job is None:
            self.dispatch()
            return
        if job.route.faults.failed(engine):
            self._failing(engine, f"frames of {job.route.name} keep failing: {why}")
        if engine is not self._slot.engine and job.frame.attempts + 1 < MAX_ATTEMPTS:
            assert job.lease is not None
            job.frame.attempts += 1
            job.lease.release()
            job.lease = None
            self._take_back(job, engine)
        else:
            job.dropped = "failed"
            self._flush(job.route)
        self.dispatch()
        self._note_failure(job.frame, engine)

    def lost(self, engine: Engine) -> None:
        """An engine's worker died: what it had is leased anew, in order, or given up after MAX_ATTEMPTS.

        Only frames that may have been in work are suspected: those behind were not looked at yet. When there are
        several, each is tried alone, so that it shows which one it is.
        """
        had = [ticket for ticket, job in self._jobs.items() if job.lease and job.lease.engine is engine]
        in_work = 1 if self._suspects() else engine.at_once
        suspects: list[Frame] = []
        for place, ticket in enumerate(had):
            job = self._jobs.pop(ticket)
            assert job.lease is not None
            job.lease.release()
            job.lease = None
            if place < in_work:
                job.frame.attempts += 1
                job.dropped = "failed" if job.frame.attempts >= MAX_ATTEMPTS else ""
                suspects.append(job.frame)
        for route in self._routes:
            self._flush(route)
        self.dispatch()
        for frame in suspects:
            self._note_failure(frame, engine)

    def _note_failure(self, frame: Frame, engine: Engine) -> None:
        if frame.failed_on is None:
            frame.failed_on = engine.ref
        elif frame.failed_on != engine.ref:
            self._at_fault(frame.failed_on)

    def _take_back(self, failed: _Job, engine: Engine) -> None:
        """What an engine has of a pipeline behind a frame that it failed, or has answered already, is leased anew. An
        answer that still comes is left alone."""
        jobs = list(failed.route.jobs)
        behind = jobs[jobs.index(failed) + 1 :]
        for job in behind:
            if job.lease and job.lease.engine is engine:
                job.lease.release()
                job.lease, job.result, job.boxes, job.dropped = None, None, (), ""
        self._jobs = {ticket: job for ticket, job in self._jobs.items() if job.lease}

    def _room(self, engine: Engine) -> int:
        """How many frames it should have."""
        return 1 if engine.at_once > 1 and self._suspects() else DEPTH * engine.at_once

    def _suspects(self) -> bool:
        """Whether a frame that was with an engine when it died is yet to be tried again."""
        return any(job.frame.attempts and not job.done for route in self._routes for job in route.jobs)

    def _makes_way(self, route: Route) -> bool:
        """Whether the oldest frame that waits on a live pipeline is to make way for a newer one."""
        return len(route.waiting) >= BURST or self._clock() - route.waiting[0].mono > BURST_S

    def _take(self, engine: Engine, ticket: int) -> _Job | None:
        """The job that this engine has under this ticket; None when its pipeline was removed."""
        job = self._jobs.get(ticket)
        if job is None or job.lease is None or job.lease.engine is not engine:
            return None
        return self._jobs.pop(ticket)

    def _next_job(self) -> _Job | None:
        for _ in range(len(self._routes)):
            route = self._routes[0]
            self._routes.rotate(-1)
            if route.live:
                self._drop_stale(route)
            for job in route.jobs:
                if job.lease is None and not job.done:
                    return job
            if route.waiting and not (route.live and self._is_served(route)):
                job = _Job(route, route.waiting.popleft())
                route.jobs.append(job)
                return job
        return None

    def _drop_stale(self, route: Route) -> None:
        """Infer no frame that is too old by now: it waited for an engine, or came late."""
        captured_since = self._clock() - route.max_age_s
        for job in route.jobs:
            if job.lease is None and not job.done and job.frame.mono < captured_since:
                job.dropped = "stale"
        while route.waiting and route.waiting[0].mono < captured_since:
            route.jobs.append(_Job(route, route.waiting.popleft(), dropped="stale"))
        self._flush(route)

    def _is_served(self, route: Route) -> bool:
        """Whether the engine that serves has a frame of the pipeline for each of its streams, and one that waits."""
        engine = self._slot.engine
        assert engine is not None
        has = sum(1 for job in route.jobs if not job.done and job.lease and job.lease.engine is engine)
        return has > engine.streams

    def _flush(self, route: Route) -> None:
        """Let out what is done, as far as it is next in frame order."""
        while route.jobs and route.jobs[0].done:
            job = route.jobs.popleft()
            if job.result is None:
                route.dropped(job.dropped, 1)
                if job.lease:
                    job.lease.release()
                job.frame.release()
                continue
            self._emit(route, job, job.result)

    def _emit(self, route: Route, job: _Job, result: Detected) -> None:
        lease, frame = job.lease, job.frame
        assert lease is not None
        now = self._clock()
        record = record_of(frame, self._model, lease, job.boxes, now)
        timing = timing_of(frame, job.dispatched, result, now)
        lease.release()
        self.tap.offer(frame, record, now)
        frame.release()
        route.emit(record, timing)
