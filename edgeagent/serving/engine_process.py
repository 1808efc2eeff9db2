# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's side of one loaded version: its worker is started, watched, restarted, and seen to be gone."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

import structlog

from edgeagent.errors import WeightsError, WorkerError, WorkerKilledError
from edgeagent.serving.artifact import Artifact
from edgeagent.serving.frame import Frame
from edgeagent.serving.spare_worker import SpareWorker, libraries_of
from edgeagent.util.backoff import Backoff
from edgeagent.workers.bootstrap import can_raise_priority, raise_priority
from edgeagent.workers.environment import RUNTIMES
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Detected, Infer, Message, Ring, UnmapRing
from edgeagent.workers.process import Exit, WorkerProcess, WorkerProgram
from edgeagent.workers.tasks.engine import EngineReady, FrameFailed, LoadEngine, LoadFailed

_log = structlog.get_logger(__name__)

_RESPAWN_MIN_S, _RESPAWN_MAX_S = 0.1, 15.0
_STABLE_AFTER_S = 30.0
"""A worker that lived so long (seconds) after getting ready starts its back-off anew."""


@dataclass(frozen=True)
class EngineSettings:
    """How engine workers run: their limits while they load a candidate, and once they serve."""

    loading: WorkerLimits
    serving: WorkerLimits


class Asker(Protocol):
    """Who is told what became of a frame that it asked for."""

    def detected(self, engine: Engine, result: Detected) -> None:
        """The detections of one ticket."""

    def fault(self, engine: Engine, ticket: int, why: str) -> None:
        """The frame of this ticket can't be inferred."""


class EngineUser(Asker, Protocol):
    """Who is told what an engine does (the router and the updater), and what became of frames that nobody else asked
    for."""

    def lost(self, engine: Engine) -> None:
        """The worker is gone, and with it whatever was in flight; it will be restarted."""

    def ready(self, engine: Engine) -> None:
        """The worker can take frames (again)."""

    def failed(self, engine: Engine, why: str, from_outside: bool = False) -> None:
        """The worker ended after it was ready once. from_outside: somebody else's signal ended it."""


class SpareEngine(SpareWorker):
    """An engine worker for whichever `Engine` takes it."""

    def wait(self, backend: str, soon: bool = False, urgent: bool = False) -> None:
        """Have one wait that imports what `backend` needs; also what takes much memory, when it is needed soon. urgent:
        nothing serves meanwhile."""
        self.start(_program(_can_deprioritise() and not urgent, libraries_of(backend, soon=soon)))


def _program(low_priority: bool, libraries: Sequence[str] = ()) -> WorkerProgram:
    return WorkerProgram(
        "engine", "edgeagent.workers.engine", libraries, variables=RUNTIMES, low_priority=low_priority
    )


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
        self.frame_ms = 0.0  # what it needs for one at least, milliseconds; once it is ready
        self.worker: WorkerProcess | None = None
        self._settings = settings
        self._user = user
        self._on_restart = on_restart
        self._spare = spare
        self._rings: set[int] = set()
        self._tickets: dict[int, Asker] = {}  # in flight, the oldest first, and who asked
        self._loading: asyncio.Future[None] | None = None
        self._loaded_once = False
        self._retired = False
        self._backoff = Backoff(_RESPAWN_MIN_S, _RESPAWN_MAX_S, jitter=0.0)
        self._ready_at = 0.0
        self._answer_s: float | None = None

    async def load(self, urgent: bool = False) -> None:
        """Start the worker, or take the spare one, and wait until it has loaded and inferred once. urgent: nothing
        serves meanwhile, so there is no line for whose sake it would have a low priority.

        Raises WeightsError when the weights are refused, WorkerError when the worker ends, takes too long or too
        much memory, WorkerKilledError when somebody else ended it. Whatever the outcome, `retire` frees it.
        """
        self._loading = asyncio.get_running_loop().create_future()
        self._spawn(urgent)
        await self._loading

    @property
    def in_flight(self) -> int:
        """Frames that the worker has."""
        return len(self._tickets)

    @property
    def at_once(self) -> int:
        """Frames that the worker can be at work on at the same time."""
        return max(self.max_batch, self.streams)

    def infer(
        self, ticket: int, frame: Frame, confidence: float, iou: float, asker: Asker | None = None
    ) -> None:
        """Send a frame's slot to the worker; the user hears of it, or `asker` in its place: of the answer, or that the
        worker ended before it came. Whoever asks has tickets of its own."""
        assert self.worker is not None
        ring = frame.ring
        if ring.id not in self._rings:
            self._rings.add(ring.id)
            self.worker.send(Ring(ring.id, ring.slots, ring.slot_bytes), [ring.fd])
        if not self._tickets:
            self.worker.owes_answer(True)
        self._tickets[ticket] = asker or self._user
        self.worker.send(Infer(ticket, ring.id, frame.slot, frame.width, frame.height, confidence, iou))

    def forget_ring(self, ring: int) -> None:
        """The ring is gone: the worker may unmap it."""
        if ring in self._rings and self.worker:
            self._rings.discard(ring)
            self.worker.send(UnmapRing(ring))

    def answer_within(self, seconds: float | None) -> None:
        """From now on it must answer in so many seconds, or is taken for hung; None: within its `silence_s`."""
        self._answer_s = seconds
        if self.ready and self.worker:
            self.worker.limits = replace(self._settings.serving, answer_s=seconds)

    async def retire(self) -> None:
        """Kill the worker and return when it is gone, its memory with it. Idempotent."""
        self._retired = True
        self.ready = False
        if self.worker and self.worker.alive:
            await self.worker.end("retired")

    def _spawn(self, urgent: bool) -> None:
        # Loading competes with the version that serves; one that is started again has none beside it.
        low_priority = _can_deprioritise() and not urgent
        limits = self._settings.serving if self._loaded_once else self._settings.loading
        spare = self._spare.take()
        self._rings.clear()
        self._tickets.clear()
        task = LoadEngine(self.artifact.plan, os.getpriority(os.PRIO_PROCESS, 0) if low_priority else None)
        if spare:
            if urgent and _can_deprioritise():
                with suppress(OSError):  # it is gone: `on_exit` follows
                    raise_priority(os.getpriority(os.PRIO_PROCESS, 0), spare.pid)
            spare.adopt(task, self._heard, self._ended, limits)
            self.worker = spare
        else:
            self.worker = WorkerProcess(_program(low_priority), task, self._heard, self._ended, limits)

    def _heard(self, message: Message) -> None:
        match message:
            case Detected():
                self._answered(message.ticket).detected(self, message)
            case FrameFailed(ticket, why):
                self._answered(ticket).fault(self, ticket, why)
            case EngineReady():
                self.name, self.max_batch, self.streams = message.engine, message.max_batch, message.streams
                self.frame_ms = message.frame_ms
                self.ready = self._loaded_once = True
                assert self.worker is not None
                self.worker.limits = replace(self._settings.serving, answer_s=self._answer_s)
                self._ready_at = time.monotonic()
                if self._loading and not self._loading.done():
                    self._loading.set_result(None)
                self._user.ready(self)
            case LoadFailed(why):
                self._refuse(WeightsError(f"version {self.ref.version}", why))
                assert self.worker is not None
                self.worker.kill(why)

    def _answered(self, ticket: int) -> Asker:
        """Who asked for it. Frames are begun in order, so the oldest has been in work at the latest since it is the
        oldest: a stream that hangs is noticed while the others go on."""
        was_oldest = next(iter(self._tickets), None) == ticket
        asker = self._tickets.pop(ticket, self._user)
        if was_oldest and self.worker:
            self.worker.owes_answer(bool(self._tickets))
        return asker

    def _refuse(self, error: Exception) -> None:
        if self._loading and not self._loading.done():
            self._loading.set_exception(error)

    def _ended(self, how: Exit) -> None:
        was_ready, self.ready = self.ready, False
        error = WorkerKilledError if how.from_outside else WorkerError
        self._refuse(error(f"version {self.ref.version}", f"its engine worker ended while loading: {how}"))
        for ticket, asker in list(self._tickets.items()):
            if asker is not self._user:  # the user hears of all at once, below
                del self._tickets[ticket]
                asker.fault(self, ticket, f"the engine worker ended: {how}")
        if self._retired or not self._loaded_once:
            return
        _log.warning("engine.worker_ended", version=self.ref.version, how=str(how))
        if was_ready and time.monotonic() - self._ready_at > _STABLE_AFTER_S:
            self._backoff.reset()
        self._respawn_later()
        self._user.lost(self)
        self._user.failed(self, str(how), how.from_outside)

    def _respawn(self) -> None:
        if self._retired:
            return
        try:
            self._spawn(urgent=True)
        except (
            OSError
        ) as e:  # no process, descriptor or memory to be had just now: the line must not stay dark
            _log.error("engine.worker_not_started", version=self.ref.version, why=str(e))
            self._respawn_later()
            return
        self._on_restart()

    def _respawn_later(self) -> None:
        asyncio.get_running_loop().call_later(self._backoff.next_s(), self._respawn)
