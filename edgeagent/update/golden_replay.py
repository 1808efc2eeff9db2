# SPDX-License-Identifier: AGPL-3.0-or-later
"""Golden pictures through the engine that serves: read by a capture worker, inferred as frames of a line are.

Another engine worker with the same plan would show what became of the files, the runtime and the driver. Only the one
that serves also shows what became of itself: its memory, its state on a GPU, what it was warmed with weeks ago. So a
picture takes the way of a frame: file, capture worker, ring, engine worker. It goes to the engine only when that has
nothing in hand; a frame that comes meanwhile waits for one inference at most.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from pathlib import Path

from edgeagent.config import PipelineConfig
from edgeagent.config.source import SourceConfig
from edgeagent.core.boxes import Box
from edgeagent.errors import UnavailableError, WorkerError
from edgeagent.serving.camera import Capture, CaptureObserver, CaptureSettings
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.frame import Frame
from edgeagent.serving.router import Router
from edgeagent.serving.slot import Slot
from edgeagent.workers.bootstrap import lower_priority_of_all
from edgeagent.workers.messages import BOX_STRUCT, Detected

Boxes = Mapping[int, tuple[Box, ...]]
"""By the place of the picture in the list."""

PAUSE = 10
"""After each picture, so many times as long as it took: a tenth of the engine's time at most."""
PAUSE_S = 0.2
WAIT_S = 5.0
"""For so long a picture waits for the engine to have nothing in hand; one that always has takes it all the same."""
ANSWER_S = 30.0
PICTURE_S = 60.0
_SLOTS = 2
_LOOK_S = 0.01
_FIRST_TICKET = 1 << 61
"""Apart from those of the router and of pairs; see `Engine.infer`."""


class GoldenReplay:
    """One replay, of one engine."""

    def __init__(self, slot: Slot, router: Router, forget_ring: Callable[[int], None]) -> None:
        """forget_ring: see `Updater.forget_ring`. Raises UnavailableError when nothing serves."""
        engine = slot.engine
        if engine is None:
            raise UnavailableError("golden pictures", "no version serves")
        self._engine: Engine = engine
        self._slot = slot
        self._router = router
        self._forget_ring = forget_ring
        self._tickets = count(_FIRST_TICKET)
        self._frames: asyncio.Queue[Frame] = asyncio.Queue()
        self._answer: tuple[int, asyncio.Future[tuple[Box, ...] | None]] | None = None

    async def run(self, folder: Path, pictures: int, confidence: float, iou: float) -> Boxes:
        """What the engine finds on the pictures of a folder; those that can't be read, or inferred, are left out.

        Raises UnavailableError when another engine serves meanwhile, or nothing comes any more; WorkerError when the
        engine's worker ends over a picture, which is not to be tried again soon.
        """
        source = SourceConfig(url=str(folder), live=False)
        capture = Capture(
            PipelineConfig(name="sentinel", model="sentinel", source=source),
            CaptureObserver(self._frames.put_nowait, on_ring_gone=self._forget_ring),
            CaptureSettings(slots=_SLOTS),
        )
        found: dict[int, tuple[Box, ...]] = {}
        capture.start()
        try:
            while (frame := await self._next(capture, pictures)) is not None:
                try:
                    begin = time.monotonic()
                    boxes = await self._seen(frame, confidence, iou)
                    if boxes is not None:
                        found[frame.seq] = boxes
                finally:
                    frame.release()
                await asyncio.sleep(max(PAUSE_S, PAUSE * (time.monotonic() - begin)))
        finally:
            await capture.stop()
            while not self._frames.empty():
                self._frames.get_nowait().release()
        return found

    async def _next(self, capture: Capture, pictures: int) -> Frame | None:
        """The next picture, None after the last."""
        began = time.monotonic()
        while self._frames.empty():
            if capture.source.state == "ended":
                return None
            if time.monotonic() - began > PICTURE_S:
                why = capture.source.last_error or f"none of {pictures} came for {PICTURE_S:.0f} s"
                raise UnavailableError("golden pictures", why)
            if capture.worker:
                with suppress(OSError):  # it has just ended
                    lower_priority_of_all(capture.worker.pid)
            await asyncio.sleep(0.1)
        return self._frames.get_nowait()

    async def _seen(self, frame: Frame, confidence: float, iou: float) -> tuple[Box, ...] | None:
        until = time.monotonic() + WAIT_S
        while not (self._router.idle and self._engine.ready) and time.monotonic() < until:
            await asyncio.sleep(_LOOK_S)
        if self._slot.engine is not self._engine or not self._engine.ready:
            raise UnavailableError(
                "golden pictures", "another engine serves, or its worker was started again"
            )
        ticket = next(self._tickets)
        answer: asyncio.Future[tuple[Box, ...] | None] = asyncio.get_running_loop().create_future()
        self._answer = ticket, answer
        self._engine.infer(ticket, frame, confidence, iou, self)
        try:
            boxes = await asyncio.wait_for(answer, ANSWER_S)
            if boxes is None and not self._engine.ready:
                raise WorkerError("golden pictures", f"the engine's worker ended over picture {frame.seq}")
            return boxes
        except TimeoutError as e:
            raise UnavailableError("golden pictures", f"no answer for {ANSWER_S:.0f} s") from e
        finally:
            self._answer = None

    # -- what the engine says (Asker) ------------------------------------------------------------------

    def detected(self, engine: Engine, result: Detected) -> None:
        """Boxes of a picture. They are compared with other boxes of the same version: no class is looked up."""
        boxes = tuple(
            (*box[:5], int(box[5])) for box in BOX_STRUCT.iter_unpack(result.boxes) if box[5] == box[5]
        )
        self._told(result.ticket, boxes)

    def fault(self, engine: Engine, ticket: int, why: str) -> None:
        """The picture can't be inferred, or the worker ended over it: the next one will see that."""
        self._told(ticket, None)

    def _told(self, ticket: int, boxes: tuple[Box, ...] | None) -> None:
        if self._answer and self._answer[0] == ticket and not self._answer[1].done():
            self._answer[1].set_result(boxes)


def link_pictures(pictures: Sequence[Path], folder: Path) -> None:
    """Make a folder in which the pictures stand in this order, whatever their names are. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    for n, picture in enumerate(pictures):
        os.symlink(picture.resolve(), folder / f"{n}.png")  # what it is, its content says
