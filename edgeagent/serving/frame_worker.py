# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's side of a worker that gets frames one at a time, such as to write or to show them, never at their expense.

Whoever has a frame offers it. It is taken while the worker is idle; else it goes by. What a worker holds that hangs or
dies is one frame, which comes back when that process is gone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog

from edgeagent.serving.frame import Frame
from edgeagent.util.backoff import Backoff
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Heartbeat, Message, Ring
from edgeagent.workers.process import Exit, WorkerProcess, WorkerProgram

_log = structlog.get_logger(__name__)
RESPAWN_S = (1.0, 60.0)


class Answer(Protocol):
    """What a worker says when it needs a frame no more. ticket: of what it was asked for."""

    @property
    def ticket(self) -> int:
        """The number of the request."""


A = TypeVar("A", bound=Answer)


@dataclass(frozen=True)
class WorkerPlan(Generic[A]):
    """What the worker runs and is told first, by which message it answers, what it may take; backoff_s: first and
    longest pause after one that died."""

    program: WorkerProgram
    task: Message
    answer: type[A]
    limits: WorkerLimits
    backoff_s: tuple[float, float] = RESPAWN_S


@dataclass
class _Job(Generic[A]):
    ticket: int
    frame: Frame
    on_done: Callable[[A | None], None]


class FrameWorker(Generic[A]):
    """At most one process, started with the first frame, and one frame at a time. On the event loop's thread. It may
    end by itself when it has nothing to do: the next frame starts another."""

    def __init__(
        self,
        plan: WorkerPlan[A],
        on_trouble: Callable[[str], None],
        on_news: Callable[[Message], bool] = lambda message: False,
    ) -> None:
        """on_trouble: told why a frame that was offered could not be given to it. on_news: told what it says beside
        answers; says whether that was to be expected."""
        self.process: WorkerProcess | None = None
        self._plan, self._on_trouble, self._on_news = plan, on_trouble, on_news
        self._backoff = Backoff(*plan.backoff_s, jitter=0.0)
        self._start_at = 0.0  # monotonic seconds
        self._job: _Job[A] | None = None
        self._tickets = 0
        self._closed = False

    @property
    def idle(self) -> bool:
        """Whether a frame that is offered now would be taken."""
        may_start = self.process is not None or time.monotonic() >= self._start_at
        return self._job is None and not self._closed and may_start

    def start(self) -> bool:
        """Have a process, without a frame. Returns whether there is one. To be called while it is idle."""
        if self.process is None:
            plan = self._plan
            try:
                self.process = WorkerProcess(plan.program, plan.task, self._heard, self._ended, plan.limits)
            except OSError as e:
                self._start_at = time.monotonic() + self._backoff.next_s()
                self._on_trouble(f"no worker can be started: {e}")
                return False
        return True

    def offer(
        self,
        frame: Frame,
        request: Callable[[int], Message],
        on_done: Callable[[A | None], None],
        *,
        before: Sequence[Message] = (),
        fds: Sequence[int] = (),
    ) -> bool:
        """Hand the frame to the worker, if that can begin at once: then its use is the worker's, who releases it.

        request: what is asked for under a ticket, sent after the frame's ring and `before`, with `fds`. on_done: called
        once, with the answer, or None when the process ended without one. Returns whether the frame was taken.
        """
        if not self.idle or not self.start():
            return False
        assert self.process is not None
        self._tickets += 1
        ring = frame.ring
        # With each frame anew: it is mapped for so long only, and nobody has to say when a ring is gone.
        self.process.send(Ring(ring.id, ring.slots, ring.slot_bytes), [ring.fd])
        try:
            for message in before:
                self.process.send(message)
            self.process.send(request(self._tickets), fds)
        except ValueError as e:  # no message is as long as that
            self._on_trouble(str(e))
            return False
        self._job = _Job(self._tickets, frame, on_done)
        self.process.owes_answer(True)
        return True

    def tell(self, message: Message) -> bool:
        """Something beside frames. Returns whether there is a process that hears it."""
        if self.process:
            self.process.send(message)
        return self.process is not None

    async def close(self) -> None:
        """Return when the process is gone, and its frame given back. Idempotent."""
        self._closed = True
        if self.process:
            await self.process.end("the node stops")

    def _heard(self, message: Message) -> None:
        if isinstance(message, Heartbeat):
            return
        job = self._job
        if isinstance(message, self._plan.answer) and job and job.ticket == message.ticket:
            if self.process:
                self.process.owes_answer(False)
            self._backoff.reset()
            self._give_back(message)
        elif self.process and not self._on_news(message):
            self.process.kill(f"sent a {type(message).__name__}")

    def _ended(self, how: Exit) -> None:
        kind, self.process = self._plan.program.kind, None
        if not self._closed and how.code:  # else it had nothing to do
            self._start_at = time.monotonic() + self._backoff.next_s()
            _log.warning(f"{kind}.worker_ended", how=str(how))
        self._give_back(None)

    def _give_back(self, answer: A | None) -> None:
        job, self._job = self._job, None
        if job:
            job.frame.release()
            job.on_done(answer)
