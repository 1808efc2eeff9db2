# SPDX-License-Identifier: AGPL-3.0-or-later
"""One task in a throw-away preparing worker, within limits of time and memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from edgeagent.serving.frame import Frame
from edgeagent.workers.messages import Control, Message, Ring
from edgeagent.workers.process import Exit, WorkerProcess

KIND, MODULE = "prepare", "edgeagent.workers.prepare"
_WATCH_S = 0.1


class TaskFailedError(Exception):
    """The worker refused, ended or was killed. `body`: what it said of it, if it still could."""

    def __init__(self, why: str, body: dict[str, Any] | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.body = body or {}

    @property
    def transient(self) -> bool:
        """Whether the worker said that it may pass: the network's or the disk's doing."""
        return bool(self.body.get("transient"))


class Task:
    """Settings go in, one answer comes out, and then the worker is gone.

    on_control: whatever the worker says on its way. quiet_s: how long (seconds) it may say nothing; memory_limit:
    resident bytes. frames: lends the line's recent frames when the worker asks for them. spare: a worker that waits for
    something to do.
    """

    def __init__(
        self,
        settings: dict[str, Any],
        quiet_s: float,
        memory_limit: int,
        on_control: Callable[[Control], None] = lambda control: None,
        frames: Callable[[], Sequence[Frame]] = lambda: (),
        spare: WorkerProcess | None = None,
    ) -> None:
        self.worker = spare
        self._settings = settings
        self._quiet_s = quiet_s
        self._memory_limit = memory_limit
        self._on_control = on_control
        self._frames = frames
        self._lent: list[Frame] = []
        self._heard_at = 0.0
        self._answer: asyncio.Future[dict[str, Any]]

    async def run(self) -> dict[str, Any]:
        """The body of the worker's "done". When this ends, however, the worker is gone.

        Raises TaskFailedError; OSError when there is no process, descriptor or memory to be had.
        """
        self._answer = asyncio.get_running_loop().create_future()
        self._heard_at = time.monotonic()
        if self.worker:
            self.worker.adopt(Control("settings", self._settings), self._heard, self._ended)
        else:
            self.worker = WorkerProcess(
                KIND,
                MODULE,
                Control("settings", self._settings),
                self._heard,
                self._ended,
                low_priority=True,
            )
        try:
            while not self._answer.done():
                await asyncio.wait([self._answer], timeout=_WATCH_S)
                self._check_limits(self.worker)
            return self._answer.result()
        finally:
            self.worker.kill()
            # If it is still open, nobody waits for it any more; if it has failed just now, nobody asks.
            if not self._answer.cancel() and not self._answer.cancelled():
                self._answer.exception()
            try:
                await asyncio.shield(self.worker.end())
            finally:
                for frame in self._lent:
                    frame.release()
                self._lent.clear()

    def _heard(self, message: Message) -> None:
        if not isinstance(message, Control) or self._answer.done():
            return
        self._heard_at = time.monotonic()
        match message.op:
            case "done":
                self._answer.set_result(message.body)
            case "failed":
                self._answer.set_exception(TaskFailedError(message.body["why"], message.body))
            case "frames?":
                self._lend_frames()
            case _:
                self._on_control(message)

    def _lend_frames(self) -> None:
        assert self.worker is not None
        rings: set[int] = set()
        for frame in self._frames():
            self._lent.append(frame.retain())
            if frame.ring.id not in rings:
                rings.add(frame.ring.id)
                self.worker.send(
                    Ring(frame.ring.id, frame.ring.slots, frame.ring.slot_bytes), [frame.ring.fd]
                )
        where = [
            {"ring": f.ring.id, "slot": f.slot, "height": f.height, "width": f.width} for f in self._lent
        ]
        self.worker.send(Control("frames", {"frames": where}))

    def _ended(self, how: Exit) -> None:
        if not self._answer.done():
            self._answer.set_exception(TaskFailedError(f"the preparing worker ended: {how}"))

    def _check_limits(self, worker: WorkerProcess) -> None:
        memory = worker.memory_bytes()
        if time.monotonic() - self._heard_at > self._quiet_s:
            worker.kill(f"no progress for {self._quiet_s:g} s")
        elif memory > self._memory_limit:
            worker.kill(f"it took {memory >> 20} MB of memory, the limit is {self._memory_limit >> 20} MB")
