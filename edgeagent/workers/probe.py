# SPDX-License-Identifier: AGPL-3.0-or-later
"""Start a capture worker for a source, and try a source out with one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edgeagent.config import SourceConfig
from edgeagent.errors import UnavailableError
from edgeagent.workers.environment import CAMERAS
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Message
from edgeagent.workers.process import Exit, WorkerProcess, WorkerProgram
from edgeagent.workers.tasks.capture import (
    CaptureSource,
    FrameUnreadable,
    SourceOpened,
    SourceState,
    TakenPictures,
)


def start_capture_worker(
    source: SourceConfig,
    position: int,
    on_message: Callable[[Message], None],
    on_exit: Callable[[Exit], None],
    limits: WorkerLimits | None = None,
    taken: TakenPictures | None = None,
) -> WorkerProcess:
    """A worker that films `source` from frame `position` on, or all but what was `taken` (see `workers.capture`).

    Raises OSError.
    """
    task = CaptureSource(
        url=source.url,
        fps=source.fps,
        loop=source.loop,
        live=source.is_live,
        stall_s=source.stall_seconds,
        max_age_s=source.max_age_seconds,
        position=position,
        trust_timestamps=source.trust_timestamps,
        watch=source.watch,
        taken=taken or TakenPictures(),
    )
    # OpenCV reads these when it is loaded. What it would print says less than our own reasons.
    environment = {
        "OPENCV_LOG_LEVEL": "SILENT",
        "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": str(max(1, round(source.stall_seconds))),
    }
    program = WorkerProgram(
        "capture", "edgeagent.workers.capture", environment=environment, variables=CAMERAS
    )
    return WorkerProcess(program, task, on_message, on_exit, limits)


def probe_source(source: SourceConfig, timeout_s: float = 10.0) -> str:
    """Open `source` in a worker and read one frame. Returns e.g. "1280x720, 25.0 fps".

    Not to be called from a running event loop. Raises UnavailableError: it can't be opened, nothing in it can be
    decoded, or no frame came within `timeout_s` seconds.
    """
    return asyncio.run(_probe(source, timeout_s))


async def _probe(source: SourceConfig, timeout_s: float) -> str:
    result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    unreadable = ""

    def failed(why: str) -> None:
        if not result.done():
            result.set_exception(
                UnavailableError("source", why, "check source.url, the camera and its cable")
            )

    def heard(message: Message) -> None:
        nonlocal unreadable
        if result.done():
            return
        match message:
            case SourceOpened(width, height, fps):
                rate = f"{fps:.1f} fps" if fps else "no frame rate of its own"
                result.set_result(f"{width}x{height}, {rate}")
            case FrameUnreadable(why):
                unreadable = why
            case SourceState("waiting", why):
                result.set_result(why)
            case SourceState(_, why):
                failed(unreadable or why)

    def ended(how: Exit) -> None:
        failed(f"the worker that tried it ended: {how}")

    worker = start_capture_worker(source, 0, heard, ended)
    try:
        return await asyncio.wait_for(result, timeout_s)
    except TimeoutError:
        raise UnavailableError(
            "source", f"no frame within {timeout_s:g} s", "check that it sends video"
        ) from None
    finally:
        await worker.end("tried")
