# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's side of the worker that writes pictures: one at a time, and never at a frame's expense."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from edgeagent.serving.frame import Frame
from edgeagent.serving.frame_worker import RESPAWN_S, FrameWorker, WorkerPlan
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.process import WorkerProcess, WorkerProgram
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
_IDLE_S = 60.0
SWEEP_S = 300.0
"""How often archives are looked at while no picture comes, by a worker that is started for that."""


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
        backoff_s: tuple[float, float] = RESPAWN_S,
        idle_s: float = _IDLE_S,
    ) -> None:
        """backoff_s: first and longest pause after a worker that died; idle_s: after so long without a picture it
        ends, and is started again with the next one."""
        self._archives, self._idle_s = archives, idle_s
        plan = WorkerPlan(PROGRAM, KeepPictures(archives, idle_s), PictureDone, limits, backoff_s)
        self._worker = FrameWorker(plan, self._say)
        self._trouble = ""
        self._timer: asyncio.TimerHandle | None = None

    @property
    def worker(self) -> WorkerProcess | None:
        """The process, while there is one."""
        return self._worker.process

    @property
    def idle(self) -> bool:
        """Whether a picture that is offered now would be taken."""
        return self._worker.idle

    def start(self, sweep_s: float = SWEEP_S) -> None:
        """Have a worker look at the archives that are there, now and every `sweep_s` seconds, so that nothing outstays
        its time while no picture comes."""
        self._timer = asyncio.get_running_loop().call_later(sweep_s, self.start, sweep_s)
        if self.worker is None and self.idle and any(access.root.exists() for access in self._archives):
            self._worker.start()

    def sweep(self, archives: tuple[ArchiveAccess, ...]) -> None:
        """Have a worker keep these folders within their quotas, too, until it ends for want of pictures."""
        if self.worker or (self.idle and self._worker.start()):
            self._worker.tell(KeepPictures(archives, self._idle_s))

    def offer(
        self, frame: Frame, order: PictureOrder, on_done: Callable[[PictureDone], None] = _nobody
    ) -> bool:
        """Have `frame` written, if that can begin at once: then its use is the writer's, who releases it.

        on_done: called with what became of it, unless its worker dies. Returns whether it was taken.
        """

        def done(answer: PictureDone | None) -> None:
            if answer:
                self._say(_trouble(answer))
                on_done(answer)

        return self._worker.offer(
            frame,
            lambda ticket: WritePicture(ticket, frame.slot, frame.height, frame.width, order),
            done,
        )

    async def close(self) -> None:
        """Return when the worker is gone, and its frame given back. Idempotent."""
        if self._timer:
            self._timer.cancel()
        await self._worker.close()

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
