# SPDX-License-Identifier: AGPL-3.0-or-later
"""One task in a throw-away preparing worker, within limits of time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from edgeagent.serving.frame import Frame
from edgeagent.workers.environment import RUNTIMES, STORES
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Message, Ring
from edgeagent.workers.process import Exit, WorkerProcess, WorkerProgram
from edgeagent.workers.tasks.prepare import (
    Answer,
    FetchVersion,
    FindWithdrawn,
    Fingerprint,
    FramesLent,
    FramesWanted,
    LentFrame,
    ListVersions,
    Report,
    Task,
    TaskFailed,
)

PROGRAM = WorkerProgram("prepare", "edgeagent.workers.prepare", variables=RUNTIMES, low_priority=True)
A = TypeVar("A")


def program_for(task: Task, program: WorkerProgram = PROGRAM) -> WorkerProgram:
    """`program` with the variables that this task needs: who fetches opens no weights, and has credentials."""
    return replace(
        program,
        variables=STORES
        if isinstance(task, FetchVersion | Fingerprint | FindWithdrawn | ListVersions)
        else RUNTIMES,
    )


class TaskFailedError(Exception):
    """The worker refused, ended or was killed. transient: it said that it may pass, as the network's or the disk's
    doing; answered: it could still say why; fingerprint: of what the store holds, if that was refused."""

    def __init__(
        self, why: str, transient: bool = False, answered: bool = False, fingerprint: str = ""
    ) -> None:
        super().__init__(why)
        self.why = why
        self.transient = transient
        self.answered = answered
        self.fingerprint = fingerprint


class TaskKilledError(TaskFailedError):
    """A signal from outside ended the worker."""


class WorkerTask:
    """A task goes in, one answer comes out, and then the worker is gone.

    on_report: whatever the worker says on its way. frames: lends the line's recent frames when the worker asks for
    them, until it asks again. spare: a worker that waits for something to do; program: what is started without one.
    """

    def __init__(
        self,
        task: Task,
        limits: WorkerLimits,
        on_report: Callable[[Report], None] = lambda report: None,
        frames: Callable[[], Sequence[Frame]] = lambda: (),
        spare: WorkerProcess | None = None,
        program: WorkerProgram = PROGRAM,
    ) -> None:
        self.worker = spare
        self._task = task
        self._program = program
        self._limits = limits
        self._on_report = on_report
        self._frames = frames
        self._lent: list[Frame] = []
        self._answer: asyncio.Future[Answer]

    async def run(self, expected: type[A]) -> A:
        """The worker's answer. When this ends, however, the worker is gone.

        Raises TaskFailedError; OSError when there is no process, descriptor or memory to be had.
        """
        self._answer = asyncio.get_running_loop().create_future()
        if self.worker:
            self.worker.adopt(self._task, self._heard, self._ended, self._limits)
        else:
            program = program_for(self._task, self._program)
            self.worker = WorkerProcess(program, self._task, self._heard, self._ended, self._limits)
        try:
            answer = await self._answer
            if isinstance(answer, TaskFailed):
                raise TaskFailedError(str(answer), answer.transient, True, answer.fingerprint)
            if not isinstance(answer, expected):
                raise TaskFailedError(f"the preparing worker answered with {type(answer).__name__}")
            return answer
        finally:
            self.worker.kill()
            try:
                await asyncio.shield(self.worker.end())
            finally:
                self._take_back()

    def _heard(self, message: Message) -> None:
        if self._answer.done():
            return
        if isinstance(message, FramesWanted):
            self._lend_frames()
        elif isinstance(message, Report):
            self._on_report(message)
        elif isinstance(message, Answer):
            self._answer.set_result(message)
        else:
            why = f"the preparing worker sent a {type(message).__name__}"
            self._answer.set_exception(TaskFailedError(why))

    def _lend_frames(self) -> None:
        assert self.worker is not None
        frames = [frame.retain() for frame in self._frames()]
        self._take_back()
        self._lent = frames
        rings: set[int] = set()
        for frame in frames:
            if frame.ring.id not in rings:
                rings.add(frame.ring.id)
                self.worker.send(
                    Ring(frame.ring.id, frame.ring.slots, frame.ring.slot_bytes), [frame.ring.fd]
                )
        self.worker.send(FramesLent(tuple(LentFrame(f.ring.id, f.slot, f.height, f.width) for f in frames)))

    def _take_back(self) -> None:
        for frame in self._lent:
            frame.release()
        self._lent.clear()

    def _ended(self, how: Exit) -> None:
        if not self._answer.done():
            error = TaskKilledError if how.from_outside else TaskFailedError
            self._answer.set_exception(error(f"the preparing worker ended: {how}"))
