# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the lines show to those who look: pictures with what was found on them, made while somebody looks.

A frame that is due goes to a worker, in each form that somebody wants, and each picture to all who want it in that
form. A viewer has room for one picture, the newest: who is slow misses some, and nothing is queued. Nobody looks: there
is no worker, and the taps have no subscriber.
"""

from __future__ import annotations

import asyncio
import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import Protocol

import structlog

from edgeagent.config.preview import PreviewConfig
from edgeagent.core.text import cut
from edgeagent.errors import NotFoundError, UnavailableError
from edgeagent.serving.frame import Frame
from edgeagent.serving.frame_worker import FrameWorker, WorkerPlan
from edgeagent.serving.tap import Subscription, Tap
from edgeagent.sinks.port import Record
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Detected
from edgeagent.workers.process import WorkerProcess, WorkerProgram
from edgeagent.workers.system_calls import anonymous_memory
from edgeagent.workers.tasks.preview import EncodePreview, MakePreviews, PreviewEncoded, PreviewForm

_log = structlog.get_logger(__name__)
PROGRAM = WorkerProgram(
    "preview",
    "edgeagent.workers.preview",
    libraries=("edgeagent.workers.overlay",),  # with OpenCV and Pillow: needed by the first picture
    low_priority=True,
    start_nice=10,
)
"""Somebody waits for the first picture: its start may take a tenth of a busy processor, and goes before what is
prepared beside the line. Then it lowers itself."""
LIMITS = WorkerLimits(memory_bytes=1 << 30, silence_s=20.0, start_s=60.0)
IDLE_S = 10.0
SNAPSHOT_S, ENCODE_S = 5.0, 30.0
"""How long a single picture is waited for: a frame of it, and the picture of that, for which a worker may have to start
on a machine that is busy."""
_LINGER_S = 5.0
"""How long frames are still offered when the last viewer has gone: another may come, as a page that is loaded again."""
_FRAMES = 1
_ALL_FRAMES = 1000.0
"""Frames a second: which of them are shown is decided here, for one that is due and finds the worker at another
pipeline's makes way for the next, not for the one an interval later."""
_NAME_CHARS = 64
_SHEET_BYTES = 1 << 20
_MIN_WIDTH = 64
_MAX_JPEG_BYTES = 64 << 20


@dataclass(frozen=True)
class PreviewPicture:
    """A frame as JPEG. version: that found what is drawn; seq: number of the frame in its pipeline; ts: when it was
    captured, Unix seconds."""

    jpeg: bytes
    pipeline: str
    version: str
    seq: int
    ts: float


class Line(Protocol):
    """A pipeline that can be looked at."""

    @property
    def tap(self) -> Tap:
        """Where its frames are."""

    @property
    def source_state(self) -> str:
        """How its source is, for a person."""


class Viewer:
    """Somebody who looks at a pipeline. `close` it when nobody does any more. On the event loop's thread."""

    def __init__(
        self, pipeline: str, form: PreviewForm, interval_s: float, on_close: Callable[[Viewer], None]
    ) -> None:
        """interval_s: between two pictures, on average at least; 0: it looks once."""
        self.pipeline, self.form, self.once = pipeline, form, not interval_s
        self._interval_s, self._on_close = interval_s, on_close
        self._due = 0.0  # monotonic seconds
        self._picture: PreviewPicture | None = None
        self._news = asyncio.Event()
        self._over = False

    @property
    def was_asked(self) -> bool:
        """Whether a picture was, or is being made for it."""
        return self._due > 0

    async def next(self) -> PreviewPicture | None:
        """The newest picture that was not given yet, when there is one; None when none will come any more."""
        await self._news.wait()
        picture, self._picture = self._picture, None
        if not self._over:
            self._news.clear()
        return None if self._over else picture

    def close(self) -> None:
        """No picture will come any more, and `next` says so. Idempotent."""
        if not self._over:
            self._over = True
            self._news.set()
            self._on_close(self)

    def wants(self, now: float) -> bool:
        """Whether a picture is due. now: monotonic seconds."""
        return now >= self._due

    def would_take(self, now: float) -> bool:
        """Whether one that is made for others now would do for the one that is due next."""
        return now + self._interval_s / 2 > self._due or self.wants(now)

    def asked(self, now: float) -> None:
        """A picture is being made for it: the next is due an interval later, and after a break nothing is caught up."""
        self._due = (self._due if now - self._due < self._interval_s else now) + self._interval_s

    def show(self, picture: PreviewPicture) -> None:
        """The newest picture; one that was not looked at makes way."""
        self._picture = picture
        self._news.set()


class Previews:
    """All who look at a node's pipelines, and the worker that makes their pictures. On the event loop's thread.

    lines: the pipelines by name, as they are when somebody asks.
    """

    def __init__(
        self,
        config: PreviewConfig,
        lines: Mapping[str, Line],
        limits: WorkerLimits = LIMITS,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """idle_s: so long after the last picture the worker ends."""
        self._config, self._lines, self._clock = config, lines, clock
        self._encoder = FrameWorker(
            WorkerPlan(PROGRAM, MakePreviews(idle_s), PreviewEncoded, limits), self._say
        )
        self._viewers: set[Viewer] = set()
        self._subscriptions: dict[Tap, Subscription] = {}
        self._sheet = -1  # the file into which the worker writes
        self._trouble = ""
        self._linger: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def worker(self) -> WorkerProcess | None:
        """The process, while there is one."""
        return self._encoder.process

    @property
    def viewers(self) -> int:
        """How many look now, for longer than a picture."""
        return sum(not viewer.once for viewer in self._viewers)

    def watch(
        self, pipeline: str, *, width: int | None, fps: float | None = None, boxes: bool = True
    ) -> Viewer:
        """Begin to look. width: pixels, None: the frame's own; fps: pictures a second, None: one only; both within the
        limits. Who looks once is counted apart.

        Raises NotFoundError for a pipeline that isn't here, UnavailableError when as many look already as may.
        """
        what = f"preview of {cut(pipeline, 128)}"
        if (line := self._lines.get(pipeline)) is None:
            names = ", ".join(self._lines) or "none"
            raise NotFoundError(what, "no pipeline of this node has this name", f"it has: {names}")
        config = self._config
        if self._closed:
            raise UnavailableError(what, "the node stops")
        looking = sum(viewer.once == (fps is None) for viewer in self._viewers)
        if looking >= config.max_viewers:
            why = f"{looking} look already" if looking else "previews are switched off"
            raise UnavailableError(what, why, "close one of them, or raise api.preview.max_viewers")
        form = PreviewForm(max(_MIN_WIDTH, min(width or config.max_width, config.max_width)), boxes)
        viewer = Viewer(pipeline, form, 1 / min(fps, config.max_fps) if fps else 0.0, self._left)
        if line.tap not in self._subscriptions:
            self._subscribe(line.tap)
        self._viewers.add(viewer)
        if self._encoder.idle:
            self._encoder.start()  # it will have started when the first frame comes
        return viewer

    async def snapshot(self, pipeline: str, *, width: int | None, boxes: bool) -> PreviewPicture:
        """One picture, of the next frame. Raises as `watch` does, and UnavailableError when no frame comes."""
        viewer = self.watch(pipeline, width=width, boxes=boxes)
        try:
            for seconds in (SNAPSHOT_S, ENCODE_S):
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        if picture := await viewer.next():
                            return picture
                if not viewer.was_asked:
                    break
        finally:
            viewer.close()
        why = f"no picture within {seconds:g} s: {self._trouble or self._state_of(pipeline)}"
        raise UnavailableError(f"snapshot of {pipeline}", why, "see /api/status")

    def end_viewers(self) -> None:
        """At once, and none may begin: the node stops."""
        self._closed = True
        for viewer in tuple(self._viewers):
            viewer.close()

    async def close(self) -> None:
        """Return when nobody looks, and the worker is gone. Idempotent."""
        self.end_viewers()
        if self._linger:
            self._linger.cancel()
        for subscription in self._subscriptions.values():
            subscription.close()
        self._subscriptions.clear()
        await self._encoder.close()
        self._drop_sheet()

    def _state_of(self, pipeline: str) -> str:
        line = self._lines.get(pipeline)
        return f"its source is {line.source_state}" if line else "the pipeline was removed"

    def _subscribe(self, tap: Tap) -> None:
        try:
            subscription = tap.subscribe(self._frame, self._ended, fps=_ALL_FRAMES, frames=_FRAMES)
        except ValueError as e:  # whoever made a tap with fewer frames than TAP_FRAMES
            raise UnavailableError("preview", str(e)) from e
        self._subscriptions[tap] = subscription

    def _left(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        if self._linger:
            self._linger.cancel()
        self._linger = asyncio.get_running_loop().call_later(_LINGER_S, self._let_go)

    def _let_go(self) -> None:
        """Of the taps at which nobody looks any more."""
        looked_at = {line.tap for v in self._viewers if (line := self._lines.get(v.pipeline))}
        for tap in [tap for tap in self._subscriptions if tap not in looked_at]:
            self._subscriptions.pop(tap).close()
        if not self._viewers and self._encoder.idle:
            self._drop_sheet()

    def _ended(self, pipeline: str) -> None:
        """The pipeline was removed."""
        for viewer in [v for v in self._viewers if v.pipeline == pipeline]:
            viewer.close()

    def _frame(self, frame: Frame, record: Record) -> None:
        now = self._clock()
        mine = [viewer for viewer in self._viewers if viewer.pipeline == frame.pipeline]
        is_due = any(viewer.wants(now) for viewer in mine) and self._encoder.idle
        takers = [viewer for viewer in mine if viewer.would_take(now)] if is_due else []
        forms = tuple({viewer.form: None for viewer in takers})  # each once
        if takers and self._encode(frame, record, forms, takers):
            for viewer in takers:
                viewer.asked(now)
        else:
            frame.release()

    def _encode(
        self, frame: Frame, record: Record, forms: tuple[PreviewForm, ...], takers: Sequence[Viewer]
    ) -> bool:
        """Whether the worker has the frame."""
        if self._sheet < 0:
            try:
                self._sheet = anonymous_memory("edgeagent-preview", _SHEET_BYTES)
            except OSError as e:
                self._say(f"no memory for pictures: {e}")
                return False
        names = {str(index): record.names[index][:_NAME_CHARS] for index in {int(b[5]) for b in record.boxes}}
        numbers = struct.pack(f"<{6 * len(record.boxes)}f", *chain.from_iterable(record.boxes))
        found = Detected(0, 0.0, 0.0, 0.0, numbers)
        size, quality = (frame.height, frame.width), self._config.quality

        def request(ticket: int) -> EncodePreview:
            name, version, ts = frame.pipeline, record.version, frame.ts
            return EncodePreview(ticket, frame.slot, *size, name, version, ts, names, forms, quality)

        def done(answer: PreviewEncoded | None) -> None:
            if answer:
                self._say(answer.why)
                self._hand_out(answer, forms, record, takers)

        return self._encoder.offer(frame, request, done, before=[found], fds=[self._sheet])

    def _hand_out(
        self,
        answer: PreviewEncoded,
        forms: tuple[PreviewForm, ...],
        record: Record,
        takers: Sequence[Viewer],
    ) -> None:
        at = 0
        for form, length in zip(forms, answer.lengths, strict=False):
            if not 0 < length <= _MAX_JPEG_BYTES:
                return
            viewers = [viewer for viewer in takers if viewer.form == form]
            jpeg = os.pread(self._sheet, length, at)
            picture = PreviewPicture(jpeg, record.pipeline, record.version, record.seq, record.ts)
            for viewer in viewers:
                viewer.show(picture)
            at += length

    def _drop_sheet(self) -> None:
        if self._sheet >= 0:
            os.close(self._sheet)
            self._sheet = -1

    def _say(self, trouble: str) -> None:
        """Once for each trouble, and when it is over."""
        if trouble and trouble != self._trouble:
            _log.warning("preview.not_made", why=trouble)
        elif self._trouble and not trouble:
            _log.info("preview.made_again")
        self._trouble = trouble
