# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's side of the worker that writes pictures: one at a time, and never at a frame's expense.

Whoever has a frame offers it. It is taken while the worker is idle; else it goes by. What a worker holds that hangs or
dies is one frame, which comes back when that process is gone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from edgeagent.serving.frame import Frame
from edgeagent.util.backoff import Backoff
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Heartbeat, Message, Ring
from edgeagent.workers.process import Exit, WorkerProcess, WorkerProgram
from edgeagent.workers.tasks.pictures import (
    ArchiveAccess,
    KeepPictures,
    PictureDone,
    PictureOrder,
    WritePicture,
)

_log = structlog.get_logger(__name__)
PROGRAM = WorkerProgram("pictures", "edgeagent.workers.picture_writer", low_priority=True)
LIMITS = WorkerLimits(memory_bytes=2 << 30, silence_s=20.0, start_s=60.0)
"""A frame of 256 MB, a copy to draw on and its JPEG fit; a disk may take some seconds over a picture."""
_RESPAWN_S = (1.0, 60.0)
_IDLE_S = 60.0
_SWEEP_S = 300.0
"""How often the archives are looked at while no picture comes, by a worker that is started for that."""


@dataclass
class _Job:
    ticket: int
    frame: Frame
    on_done: Callable[[PictureDone], None]


def _nobody(done: PictureDone) -> None:
    pass


class PictureWriter:
    """At most one worker, started with the first picture, and one picture at a time. On the event loop's thread.

    archives: the folders that it writes into, and keeps within their quotas.
    """

    def __init__(
        self,
        archives: tuple[ArchiveAccess, ...],
        limits: WorkerLimits = LIMITS,
        backoff_s: tuple[float, float] = _RESPAWN_S,
        idle_s: float = _IDLE_S,
    ) -> None:
        """backoff_s: first and longest pause after a worker that died; idle_s: after so long without a picture it
        ends, and is started again with the next one."""
        self.worker: WorkerProcess | None = None
        self._archives = archives
        self._limits, self._idle_s = limits, idle_s
        self._backoff = Backoff(*backoff_s, jitter=0.0)
        self._start_at = 0.0  # monotonic seconds
        self._job: _Job | None = None
        self._tickets = 0
        self._trouble = ""
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether a picture that is offered now would be taken."""
        return self._job is None and not self._closed and (self.worker is not None or self._may_start())

    def start(self, sweep_s: float = _SWEEP_S) -> None:
        """Have a worker look at the archives that are there, now and every `sweep_s` seconds, so that nothing outstays
        its time while no picture comes."""
        self._timer = asyncio.get_running_loop().call_later(sweep_s, self.start, sweep_s)
        if self.worker is None and self.idle and any(access.root.exists() for access in self._archives):
            self._spawn()

    def offer(
        self, frame: Frame, order: PictureOrder, on_done: Callable[[PictureDone], None] = _nobody
    ) -> bool:
        """Have `frame` written, if that can begin at once: then its use is the writer's, who releases it.

        on_done: called with what became of it, unless its worker dies. Returns whether it was taken.
        """
        if not self.idle:
            return False
        if self.worker is None and not self._spawn():
            return False
        assert self.worker is not None
        self._tickets += 1
        ring = frame.ring
        # With each picture anew: it is mapped for so long only, and nobody has to say when a ring is gone.
        self.worker.send(Ring(ring.id, ring.slots, ring.slot_bytes), [ring.fd])
        try:
            self.worker.send(WritePicture(self._tickets, frame.slot, frame.height, frame.width, order))
        except ValueError as e:  # no message is as long as that
            self._say(str(e))
            return False
        self._job = _Job(self._tickets, frame, on_done)
        self.worker.owes_answer(True)
        return True

    async def close(self) -> None:
        """Return when the worker is gone, and its frame given back. Idempotent."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        if self.worker:
            await self.worker.end("the node stops")

    def _may_start(self) -> bool:
        return time.monotonic() >= self._start_at

    def _spawn(self) -> bool:
        try:
            self.worker = WorkerProcess(
                PROGRAM, KeepPictures(self._archives, self._idle_s), self._heard, self._ended, self._limits
            )
        except OSError as e:
            self._start_at = time.monotonic() + self._backoff.next_s()
            self._say(f"no worker can be started: {e}")
            return False
        return True

    def _heard(self, message: Message) -> None:
        match message:
            case Heartbeat():
                pass
            case PictureDone(ticket) if self._job and self._job.ticket == ticket:
                if self.worker:
                    self.worker.owes_answer(False)
                self._backoff.reset()
                job = self._give_back()
                self._say(_trouble(message))
                if job:
                    job.on_done(message)
            case _:
                if self.worker:
                    self.worker.kill(f"sent a {type(message).__name__}")

    def _ended(self, how: Exit) -> None:
        self.worker = None
        self._give_back()
        if not self._closed and how.code:  # else it had nothing to do
            self._start_at = time.monotonic() + self._backoff.next_s()
            _log.warning("pictures.worker_ended", how=str(how))

    def _give_back(self) -> _Job | None:
        job, self._job = self._job, None
        if job:
            job.frame.release()
        return job

    def _say(self, trouble: str) -> None:
        """Once for each trouble, and when it is over."""
        if trouble and trouble != self._trouble:
            _log.warning("pictures.not_kept", why=trouble, todo="look at the disk of node.state_dir")
        elif self._trouble and not trouble:
            _log.info("pictures.kept_again")
        self._trouble = trouble


def _trouble(done: PictureDone) -> str:
    match done.outcome:
        case "failed":
            return done.why
        case "no space":
            return "the disk is short, or the picture is larger than all that may be kept"
    return ""
