# SPDX-License-Identifier: AGPL-3.0-or-later
"""A task in a preparing worker: what it is lent, and that all of it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeagent.serving.frame import Frame
from edgeagent.update.worker_task import TaskFailedError, TaskKilledError, WorkerTask
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Message, Ring
from edgeagent.workers.process import Exit
from edgeagent.workers.ring import Ring as Memory
from edgeagent.workers.tasks.prepare import (
    Fingerprint,
    FramesLent,
    FramesWanted,
    LentFrame,
    StoreAccess,
    StoreFingerprint,
)

TASK = Fingerprint(StoreAccess(str(Path("/store")), {}, 1.0), "yolo", "v1")


class PaperWorker:
    """Stands for a worker that waits; keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[Message] = []

    def adopt(
        self, task: Message, heard: Callable[[Message], None], ended: Any, limits: WorkerLimits
    ) -> None:
        """It is spoken through from now on."""
        self.says, self.ends = heard, ended

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """To the worker."""
        self.sent.append(message)

    def kill(self, why: str = "") -> None:
        """Nothing runs."""

    async def end(self, why: str = "") -> None:
        """Nothing runs."""


def test_asked_twice_each_answer_is_whole() -> None:
    """The camera has another ring by then: what is lent now stands in that one alone, and what was lent before comes
    back, for who asks over and over would have it all otherwise."""
    asyncio.run(_ask_twice())


async def _ask_twice() -> None:
    rings = [Memory(id, 2, 12) for id in (1, 2)]
    returned: list[int] = []
    frames = [
        Frame("line", 0, r, r.acquire() or 0, 2, 2, 0.0, 0.0, lambda r: returned.append(r.id)) for r in rings
    ]
    seen = iter([[frames[0]], [frames[1]]])
    worker = PaperWorker()
    task = WorkerTask(
        TASK,
        WorkerLimits(None, 1.0, 1.0),
        frames=lambda: next(seen),
        spare=worker,  # type: ignore[arg-type]
    )
    running = asyncio.create_task(task.run(StoreFingerprint))
    await asyncio.sleep(0)
    for ring, frame in zip(rings, frames, strict=True):
        worker.says(FramesWanted())
        mapped, lent = worker.sent[-2:]
        assert mapped == Ring(ring.id, ring.slots, ring.slot_bytes)
        assert lent == FramesLent((LentFrame(ring.id, frame.slot, 2, 2),))
    for frame in frames:  # the line is done with them; the worker is with the first
        frame.release()
    assert returned == [1]
    worker.says(StoreFingerprint("f"))
    await running
    assert returned == [1, 2]
    for memory in rings:
        memory.close()


@pytest.mark.parametrize(
    ("how", "error"),
    [
        (Exit(-9, ""), TaskKilledError),
        (Exit(-9, "it took 500 MB of memory, the limit is 400 MB", by_node=True), TaskFailedError),
        (Exit(-11, ""), TaskFailedError),
    ],
)
def test_a_worker_that_somebody_else_ended_is_told_from_one_that_failed(
    how: Exit, error: type[TaskFailedError]
) -> None:
    """The first may be begun anew."""

    async def run() -> None:
        worker = PaperWorker()
        limits = WorkerLimits(None, 1.0, 1.0)
        running = asyncio.create_task(
            WorkerTask(TASK, limits, spare=worker).run(StoreFingerprint)  # type: ignore[arg-type]
        )
        await asyncio.sleep(0)
        worker.ends(how)
        with pytest.raises(TaskFailedError) as failed:
            await running
        assert type(failed.value) is error

    asyncio.run(run())
