# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's side of one loaded version: its worker is started, watched, restarted, and seen to be gone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import structlog

from edgeagent.errors import WeightsError, WorkerError
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.frame import Frame
from edgeagent.serving.spare_worker import SpareWorker, libraries_of
from edgeagent.util.backoff import Backoff
from edgeagent.workers.bootstrap import can_raise_priority, raise_priority
from edgeagent.workers.messages import Detected, Infer, Message, Ring, UnmapRing
from edgeagent.workers.process import Exit, WorkerProcess
from edgeagent.workers.tasks.engine import EngineReady, FrameFailed, LoadEngine, LoadFailed, LoadPlan

_log = structlog.get_logger(__name__)

_KIND, _MODULE = "engine", "edgeagent.workers.engine"
_RESPAWN_MIN_S, _RESPAWN_MAX_S = 0.1, 15.0
_STABLE_AFTER_S = 30.0
"""A worker that lived so long (seconds) after getting ready starts its back-off anew."""
_WATCH_S = 0.25
MAX_FAULTS = 3
"""Frames in a row that a worker may fail on before it counts as a failure of the version."""


@dataclass(frozen=True)
class EngineSettings:
    """How engine workers run. Memory in bytes, times in seconds; `threads` of one worker."""

    threads: int
    max_batch: int
    memory_limit: int
    candidate_memory_limit: int
    hang_s: float
    load_s: float


class EngineUser(Protocol):
    """Who is told what an engine does (the router and the updater)."""

    def detected(self, engine: Engine, result: Detected) -> None:
        """The detections of one ticket."""

    def fault(self, engine: Engine, ticket: int, why: str) -> None:
        """The frame of this ticket can't be inferred."""

    def lost(self, engine: Engine) -> None:
        """The worker is gone, and with it whatever was in flight; it will be restarted."""

    def ready(self, engine: Engine) -> None:
        """The worker can take frames (again)."""

    def failed(self, engine: Engine, why: str) -> None:
        """The worker ended, or failed on several frames in a row, after it was ready once."""


class SpareEngine(SpareWorker):
    """An engine worker for whichever `Engine` takes it."""

    def __init__(self) -> None:
        super().__init__(_KIND, _MODULE)

    def wait(self, backend: str) -> None:
        """Have one wait that imports what `backend` needs."""
        self.start(libraries_of(backend), _can_deprioritise())


@cache
def _can_deprioritise() -> bool:
    """Whether workers may load at low priority, beside the version that serves, and come forward again to serve."""
    return can_raise_priority()


class Engine:
    """One version in one engine worker. `load` once; then it is kept alive until `retire`."""

    def __init__(
        self,
        artifact: Artifact,
        settings: EngineSettings,
        user: EngineUser,
        on_restart: Callable[[], None],
        spare: SpareEngine,
    ) -> None:
        self.artifact = artifact
        self.ref = artifact.ref
        self.name = ""  # of the runtime, once it is ready
        self.ready = False
        self.max_batch = 1  # of the artifact, within the settings; once it is ready
        self.streams = 1  # frames that it infers side by side; once it is ready
        self.worker: WorkerProcess | None = None
        self._settings = settings
        self._user = user
        self._on_restart = on_restart
        self._spare = spare
        self._rings: set[int] = set()
        self._tickets: dict[int, None] = {}  # in flight, the oldest first
        self._oldest_since = 0.0
        self._loading: asyncio.Future[None] | None = None
        self._loaded_once = False
        self._retired = False
        self._faults = 0
        self._backoff = Backoff(_RESPAWN_MIN_S, _RESPAWN_MAX_S, jitter=0.0)
        self._ready_at = 0.0
        self._watching: asyncio.Task[None] | None = None

    async def load(self) -> None:
        """Start the worker, or take the spare one, and wait until it has loaded and inferred once.

        Raises WeightsError when the weights are refused, WorkerError when the worker ends, takes too long or too
        much memory. Whatever the outcome, `retire` frees it.
        """
        self._loading = asyncio.get_running_loop().create_future()
        self._spawn()
        self._watching = asyncio.create_task(self._watch())
        await self._loading

    @property
    def in_flight(self) -> int:
        """Frames that the worker has."""
        return len(self._tickets)

    @property
    def at_once(self) -> int:
        """Frames that the worker can be at work on at the same time."""
        return max(self.max_batch, self.streams)

    def infer(self, ticket: int, frame: Frame, confidence: float, iou: float) -> None:
        """Send a frame's slot to the worker; the user hears of it."""
        assert self.worker is not None
        ring = frame.ring
        if ring.id not in self._rings:
            self._rings.add(ring.id)
            self.worker.send(Ring(ring.id, ring.slots, ring.slot_bytes), [ring.fd])
        if not self._tickets:
            self._oldest_since = time.monotonic()
        self._tickets[ticket] = None
        self.worker.send(Infer(ticket, ring.id, frame.slot, frame.width, frame.height, confidence, iou))

    def forget_ring(self, ring: int) -> None:
        """The ring is gone: the worker may unmap it."""
        if ring in self._rings and self.worker:
            self._rings.discard(ring)
            self.worker.send(UnmapRing(ring))

    async def retire(self) -> None:
        """Kill the worker and return when it is gone, its memory with it. Idempotent."""
        self._retired = True
        self.ready = False
        if self._watching:
            self._watching.cancel()
        if self.worker and self.worker.alive:
            await self.worker.end("retired")

    def _spawn(self) -> None:
        a, s = self.artifact, self._settings
        # Loading competes with the version that serves; one that is started again has none beside it: it is in a hurry.
        hurry = self._loaded_once
        deprioritised = _can_deprioritise() and not hurry
        spare = self._spare.take()
        self._rings.clear()
        self._tickets.clear()
        self._faults = 0
        plan = LoadPlan(
            variant=a.variant,
            weights=a.weights,
            companions={fmt: Path(path) for fmt, path in a.companions.items()},
            threads=s.threads,
            max_batch=s.max_batch,
            imgsz=a.imgsz,
            compiled=a.compiled,
        )
        task = LoadEngine(plan, os.getpriority(os.PRIO_PROCESS, 0) if deprioritised else None)
        if spare:
            if hurry and _can_deprioritise():
                with suppress(OSError):  # it is gone: `on_exit` follows
                    raise_priority(os.getpriority(os.PRIO_PROCESS, 0), spare.pid)
            spare.adopt(task, self._heard, self._ended)
            self.worker = spare
        else:
            self.worker = WorkerProcess(
                _KIND, _MODULE, task, self._heard, self._ended, low_priority=deprioritised
            )

    def _heard(self, message: Message) -> None:
        match message:
            case Detected():
                self._answered(message.ticket)
                self._faults = 0
                self._user.detected(self, message)
            case FrameFailed(ticket, why):
                self._answered(ticket)
                self._faults += 1
                self._user.fault(self, ticket, why)
                if self._faults % MAX_FAULTS == 0:
                    self._user.failed(self, f"{MAX_FAULTS} frames in a row failed: {why}")
            case EngineReady():
                self.name, self.max_batch, self.streams = message.engine, message.max_batch, message.streams
                self.ready = self._loaded_once = True
                self._ready_at = time.monotonic()
                if self._loading and not self._loading.done():
                    self._loading.set_result(None)
                self._user.ready(self)
            case LoadFailed(why):
                self._refuse(WeightsError(f"version {self.ref.version}", why))
                assert self.worker is not None
                self.worker.kill(why)

    def _answered(self, ticket: int) -> None:
        if ticket in self._tickets and ticket == next(iter(self._tickets)):
            self._oldest_since = time.monotonic()
        self._tickets.pop(ticket, None)

    def _hangs(self, worker: WorkerProcess) -> bool:
        """Whether it says nothing at all, or one of its streams doesn't: frames are begun in order, so the oldest has
        been in work at the latest since it is the oldest."""
        patience = self._settings.hang_s
        stuck = bool(self._tickets) and time.monotonic() - self._oldest_since > patience
        return stuck or worker.silent_s > patience

    def _refuse(self, error: Exception) -> None:
        if self._loading and not self._loading.done():
            self._loading.set_exception(error)

    def _ended(self, how: Exit) -> None:
        was_ready, self.ready = self.ready, False
        self._refuse(
            WorkerError(f"version {self.ref.version}", f"its engine worker ended while loading: {how}")
        )
        if self._retired or not self._loaded_once:
            return
        _log.warning("engine worker ended", version=self.ref.version, how=str(how))
        if was_ready and time.monotonic() - self._ready_at > _STABLE_AFTER_S:
            self._backoff.reset()
        self._respawn_later()
        self._user.lost(self)
        self._user.failed(self, str(how))

    def _respawn(self) -> None:
        if self._retired:
            return
        try:
            self._spawn()
        except (
            OSError
        ) as e:  # no process, descriptor or memory to be had just now: the line must not stay dark
            _log.error("engine worker not started, tried again", version=self.ref.version, why=str(e))
            self._respawn_later()
            return
        self._on_restart()

    def _respawn_later(self) -> None:
        asyncio.get_running_loop().call_later(self._backoff.next_s(), self._respawn)

    async def _watch(self) -> None:
        """Kill a worker that hangs, loads for ever, or takes more memory than it may."""
        s = self._settings
        while True:
            await asyncio.sleep(_WATCH_S)
            worker = self.worker
            if worker is None or not worker.alive:
                continue
            limit = s.memory_limit if self._loaded_once else s.candidate_memory_limit
            memory = worker.memory_bytes()
            if memory > limit:
                worker.kill(f"it took {memory >> 20} MB of memory, the limit is {limit >> 20} MB")
            elif self.ready and self._hangs(worker):
                worker.kill(f"it hung: no answer for {s.hang_s:g} s")
            elif not self.ready and time.monotonic() - worker.started > s.load_s:
                worker.kill(f"loading took more than {s.load_s:g} s")
