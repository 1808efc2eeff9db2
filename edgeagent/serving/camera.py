# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's side of one camera: keeps a capture worker alive and hands on its frames.

What it lends the worker is `slot_lender`'s, what is known of the source `source_status`'s.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from edgeagent.config import PipelineConfig
from edgeagent.errors import WorkerError
from edgeagent.serving.frame import Frame
from edgeagent.serving.picture_record import PictureRecord
from edgeagent.serving.slot_lender import SlotLender, ring_slots
from edgeagent.serving.source_status import SourceStatus
from edgeagent.util.backoff import Backoff
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Captured, Heartbeat, Message
from edgeagent.workers.probe import start_capture_worker
from edgeagent.workers.process import Exit, WorkerProcess
from edgeagent.workers.tasks.capture import (
    FirstFrameBegun,
    FrameStale,
    FrameUnreadable,
    PictureBegun,
    SourceBusy,
    SourceOpened,
    SourceState,
)

# The worker itself notices a camera that sends nothing for `stall_seconds`; it sends a heartbeat each second if it can.
_HEARTBEAT_MARGIN_S = 3.0
# A frame that was to be read when so many workers in a row died kills decoders: it is left out.
_FATAL_READS = 3


@dataclass(frozen=True)
class CaptureSettings:
    """How a capture is supervised.

    slots: frames that fit into the ring. backoff_s: first and longest pause before a worker is started in place of one
    that died, seconds; stable_after_s: frames for so long make the next pause a first one; start_timeout_s: how long a
    new worker may take until it first speaks.
    """

    slots: int = ring_slots(1)
    backoff_s: tuple[float, float] = (0.2, 15.0)
    stable_after_s: float = 30.0
    start_timeout_s: float = 30.0


@dataclass(frozen=True)
class CaptureObserver:
    """Who is told what comes of a source, on the event loop.

    on_frame(frame): a captured frame, to be released by whoever takes it. on_dropped(reason, n): n frames were
    captured and not handed on; "busy": no slot was free, "stale": they came too late (both of live sources only),
    "unreadable": they can't be decoded. Their numbers are missing from `seq`. on_ring_gone(id): no frame of this ring
    will come or is in use any more. on_restart(): a worker was started in place of one that died or hung.
    on_source_error(state): an attempt to open or read the source failed ("absent", "lost", "unreadable"), or it is
    "frozen".
    """

    on_frame: Callable[[Frame], None]
    on_dropped: Callable[[str, int], None] = lambda reason, n: None
    on_ring_gone: Callable[[int], None] = lambda ring: None
    on_restart: Callable[[], None] = lambda: None
    on_source_error: Callable[[str], None] = lambda state: None


class Capture:
    """One source under supervision. Lives on the event loop; nothing here blocks, and no pixel comes by.

    source: how it is; worker: None while there is none.
    """

    def __init__(
        self, config: PipelineConfig, observer: CaptureObserver, settings: CaptureSettings | None = None
    ) -> None:
        settings = settings or CaptureSettings()
        self.live = config.source.is_live
        self.source = SourceStatus(config.name, observer.on_dropped)
        self.worker: WorkerProcess | None = None
        self._config, self._observer, self._settings = config, observer, settings
        self._lender = SlotLender(settings.slots, observer.on_ring_gone)
        self._backoff = Backoff(*settings.backoff_s, jitter=0.0)
        self._position = 0  # of the frame that the next worker begins with
        self._pictures = PictureRecord()  # and of a folder that is watched, what it doesn't take
        self._fatal_reads = 0
        self._reading = False
        self._running_since: float | None = None
        self._limits = WorkerLimits(
            memory_bytes=None,
            silence_s=config.source.stall_seconds + _HEARTBEAT_MARGIN_S,
            start_s=settings.start_timeout_s,
        )
        self._timer: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self._gone.set()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Of the worker; None while there is none."""
        return self.worker.pid if self.worker else None

    def start(self) -> None:
        """Start the worker. To be called once, on the event loop."""
        self._spawn()

    async def stop(self) -> None:
        """Kill the worker and wait until it is gone. The ring's memory goes with the last frame in use. Idempotent."""
        self._stopping = True
        if self._timer:
            self._timer.cancel()
        self._kill("stopped")
        await self._gone.wait()
        self._lender.retire()
        self.source.enter("stopped")

    def pause(self, paused: bool) -> None:
        """While paused, grant no more slots: whoever takes the results is behind. No effect on a live source."""
        self._lender.pause(paused and not self.live)

    # --- the worker's life

    def _spawn(self) -> None:
        self._timer = None
        try:
            self.worker = start_capture_worker(
                self._config.source,
                self._position,
                self._heard,
                self._exited,
                self._limits,
                self._pictures.taken(),
            )
        except OSError as e:
            self._respawn_later(f"cannot start a worker: {e}")
            return
        self._gone.clear()

    def _exited(self, how: Exit) -> None:
        self.worker = None
        self._gone.set()
        self._lender.take_back()
        self.source.begin_anew()
        self._running_since = None
        if self._stopping:
            return
        if self._reading or self._pictures.reading:
            self._fatal_reads += 1
            if self._fatal_reads >= _FATAL_READS:
                self.source.left_out_fatal(self._position, str(how))
                self._fatal_reads = 0
                self._position += 1
                self._pictures.left_out()
        self._reading = False
        self._pictures.begin_anew()
        self._respawn_later(str(how))

    def _respawn_later(self, why: str) -> None:
        self.source.last_error = f"capture worker: {why}"
        self.source.enter("restarting", why)
        self._timer = asyncio.get_running_loop().call_later(self._backoff.next_s(), self._respawn)

    def _respawn(self) -> None:
        self.source.restarts += 1
        self._observer.on_restart()
        self._spawn()

    def _kill(self, why: str) -> None:
        if self.worker:
            self.worker.kill(why)

    # --- what the worker says

    def _heard(self, message: Message) -> None:
        if self._stopping or self.worker is None:
            return
        self.worker.limits = self._limits
        try:
            self._take(message, self.worker)
        except WorkerError as e:
            self._kill(e.why)

    def _take(self, message: Message, worker: WorkerProcess) -> None:
        match message:
            case Captured():
                self._captured(message)
            case Heartbeat():
                pass
            case SourceBusy(seconds):
                silence_s = max(self._limits.silence_s, seconds)
                worker.limits = replace(self._limits, silence_s=silence_s)
            case SourceState():
                self._source_state(message)
            case FirstFrameBegun(position):
                self._reading, self._position = True, position
            case PictureBegun():
                self._pictures.begin(message)
            case SourceOpened(width, height):
                self._reading = False
                if self.worker:
                    self._lender.lend_to(self.worker, width, height)
                    self.source.width, self.source.height = width, height
            case FrameUnreadable(why):
                self.source.unreadable_frame(why)
            case FrameStale():
                self.source.stale_frame()
            case _:
                raise WorkerError("capture worker", f"sent a {type(message).__name__}")

    def _captured(self, m: Captured) -> None:
        ring = self._lender.returned(m)
        if m.skipped:
            self.source.left_out(m.skipped)
        if self._running_since is None:
            self._running_since = m.mono
        elif m.mono - self._running_since > self._settings.stable_after_s:
            self._backoff.reset()
        self._fatal_reads = 0
        self._pictures.done()
        self._position = m.position + 1
        seq = self.source.next_seq(m.width, m.height, m.mono)
        freed = self._lender.freed
        self._observer.on_frame(
            Frame(self._config.name, seq, ring, m.slot, m.width, m.height, m.ts, m.mono, freed)
        )

    def _source_state(self, m: SourceState) -> None:
        if m.skipped:
            self.source.left_out(m.skipped)
        if m.position is not None:
            self._position = m.position
        self._pictures.done()
        if m.state in ("absent", "lost", "unreadable", "frozen"):
            self.source.last_error = m.why
            self._observer.on_source_error(m.state)
        self.source.enter(m.state, m.why)
