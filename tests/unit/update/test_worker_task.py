# SPDX-License-Identifier: AGPL-3.0-or-later
"""A task in a preparing worker: what it is lent, and that all of it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeagent.serving.frame import Frame
from edgeagent.update.worker_task import WorkerTask
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Message, Ring
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
        self.says = heard

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """To the worker."""
        self.sent.append(message)

    def kill(self, why: str = "") -> None:
        """Nothing runs."""

    async def end(self, why: str = "") -> None:
        """Nothing runs."""


def test_asked_twice_each_answer_is_whole() -> None:
    """The camera has another ring by then: what is lent now stands in that one alone."""
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
    for frame in frames:  # the line is done with it; the worker is not
        frame.release()
    assert not returned
    worker.says(StoreFingerprint("f"))
    await running
    assert returned == [1, 2]
    for memory in rings:
        memory.close()
