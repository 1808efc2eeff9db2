# SPDX-License-Identifier: AGPL-3.0-or-later
"""The node's side of one camera: keeps a capture worker alive, lends it slots of a ring, hands on its frames."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Callable

import structlog

from edgeagent.config import PipelineConfig
from edgeagent.serving.frame import Frame
from edgeagent.workers import messages
from edgeagent.workers.messages import Captured, Grant, Heartbeat, Message
from edgeagent.workers.probe import start_capture_worker
from edgeagent.workers.process import Exit, WorkerProcess
from edgeagent.workers.ring import MAX_FRAME_BYTES, Ring
from edgeagent.workers.tasks.capture import (
    FirstFrameBegun,
    FrameUnreadable,
    SourceBusy,
    SourceOpened,
    SourceState,
)

_log = structlog.get_logger(__name__)

STATES = (
    "starting",  # a worker opens the source
    "running",  # frames come
    "absent",  # the source can't be opened: the worker tries again
    "lost",  # it was open and gives nothing any more: likewise
    "unreadable",  # it is there, and nothing in it can be decoded: likewise
    "frozen",  # frames come, and are all the same
    "ended",  # a file is at its end
    "restarting",  # the worker died or was killed; the next one starts after a pause
    "stopped",
)
_FPS_FRAMES = 90
_WATCH_S = 0.5
# The worker itself notices a camera that sends nothing for `stall_seconds`; it beats once a second when it can.
_HEARTBEAT_MARGIN_S = 3.0
# A frame that was to be read when so many workers in a row died kills decoders: it is left out.
_FATAL_READS = 3
_ring_ids = itertools.count(1)


def ring_slots(streams: int) -> int:
    """Slots for a live line whose engines infer so many frames side by side.

    These and one that waits on each of two engines during a swap, four that wait (see serving/router.py), one being
    written, the recent one that is kept for the gates, one to spare. What is done and waits behind a slow frame takes
    of those for waiting ones.
    """
    return 2 * (streams + 1) + 7


RING_SLOTS = ring_slots(1)


class Capture:
    """One source under supervision. Lives on the event loop; nothing here blocks, and no pixel comes by.

    on_frame(frame): a captured frame, to be released by whoever takes it. on_dropped(reason, n): n frames were
    captured and not handed on; "busy": no slot was free (live sources only), "unreadable": they can't be decoded.
    Their numbers are missing from `seq`. on_ring_gone(id): no frame of this ring will come or is in use any more.
    on_restart(): a worker was started in place of one that died or hung. on_source_error(state): an attempt to open
    or read the source failed ("absent", "lost", "unreadable"), or it is "frozen".
    """

    def __init__(
        self,
        config: PipelineConfig,
        on_frame: Callable[[Frame], None],
        on_dropped: Callable[[str, int], None],
        on_ring_gone: Callable[[int], None],
        on_restart: Callable[[], None],
        on_source_error: Callable[[str], None] = lambda state: None,
        *,
        slots: int = RING_SLOTS,
        backoff_s: tuple[float, float] = (0.2, 15.0),
        stable_after_s: float = 30.0,
        start_timeout_s: float = 30.0,
    ) -> None:
        """backoff_s: first and longest pause before a respawn, seconds; calm_s: frames for so long reset it;
        start_timeout_s: how long a new worker may take until it first speaks."""
        self.live = config.source.is_live
        self.state, self.why, self.since = "starting", "", time.time()
        self.last_error = ""
        self.captured = 0  # frames taken from the source: the next `seq`
        self.frames = 0  # of these, handed on
        self.restarts = 0
        self.width = self.height = 0
        self.worker: WorkerProcess | None = None
        self._name, self._source = config.name, config.source
        self._on_frame, self._on_dropped = on_frame, on_dropped
        self._on_ring_gone, self._on_restart = on_ring_gone, on_restart
        self._on_source_error = on_source_error
        self._slots, self._backoff_s, self._stable_after_s, self._start_timeout_s = (
            slots,
            backoff_s,
            stable_after_s,
            start_timeout_s,
        )
        self._log = _log.bind(pipeline=config.name)
        self._ring: Ring | None = None
        self._mapped = False  # the worker of now has the ring of now
        self._granted: set[int] = set()
        self._paused = False
        self._position = 0
        self._fatal_reads = 0
        self._reading = False
        self._unreadable = 0  # reported, and not yet counted in a `skipped`
        self._backoff = backoff_s[0]
        self._good_since: float | None = None
        self._patience = start_timeout_s
        self._monos: deque[float] = deque(maxlen=_FPS_FRAMES)
        self._timer: asyncio.TimerHandle | None = None
        self._watch_timer: asyncio.TimerHandle | None = None
        self._gone = asyncio.Event()
        self._gone.set()
        self._stopping = False

    @property
    def pid(self) -> int | None:
        """Of the worker; None while there is none."""
        return self.worker.pid if self.worker else None

    @property
    def fps(self) -> float:
        """Frames a second, measured over the last 90 frames; 0 when they have stopped coming."""
        period = (self._monos[-1] - self._monos[0]) / (len(self._monos) - 1) if len(self._monos) > 1 else 0.0
        quiet = not period or time.monotonic() - self._monos[-1] > max(2.0, 3 * period)
        return 0.0 if quiet else 1 / period

    def start(self) -> None:
        """Start the worker. To be called once, on the event loop."""
        self._spawn()
        self._watch()

    async def stop(self) -> None:
        """Kill the worker and wait until it is gone. The ring's memory goes with the last frame in use. Idempotent."""
        self._stopping = True
        for timer in (self._timer, self._watch_timer):
            if timer:
                timer.cancel()
        if self.worker:
            self.worker.kill("stopped")
        await self._gone.wait()
        self._retire_ring()
        self._enter("stopped", "")

    def pause(self, paused: bool) -> None:
        """While held, grant no more slots: whoever takes the results is behind. No effect on a live source."""
        self._paused = paused and not self.live
        self._grant()

    # --- the worker's life

    def _spawn(self) -> None:
        self._timer = None
        self._patience = self._start_timeout_s
        try:
            self.worker = start_capture_worker(self._source, self._position, self._heard, self._exited)
        except OSError as e:
            self._respawn_later(f"cannot start a worker: {e}")
            return
        self._gone.clear()

    def _exited(self, how: Exit) -> None:
        self.worker = None
        self._gone.set()
        self._take_grants_back()
        self._unreadable = 0  # the next worker meets them again
        self._good_since = None
        if self._stopping:
            return
        if self._reading:
            self._fatal_reads += 1
            if self._fatal_reads >= _FATAL_READS:
                self._skip_fatal_frame(how)
        self._reading = False
        self._respawn_later(str(how))

    def _respawn_later(self, why: str) -> None:
        self.last_error = f"capture worker: {why}"
        self._enter("restarting", why)
        self._timer = asyncio.get_running_loop().call_later(self._backoff, self._respawn)
        self._backoff = min(self._backoff * 2, self._backoff_s[1])

    def _respawn(self) -> None:
        self.restarts += 1
        self._on_restart()
        self._spawn()

    def _skip_fatal_frame(self, how: Exit) -> None:
        self._log.error("frame left out: workers die of it", position=self._position, last=str(how))
        self._fatal_reads = 0
        self._position += 1
        self._unreadable = 1
        self._count_skipped(1)

    def _watch(self) -> None:
        self._watch_timer = asyncio.get_running_loop().call_later(_WATCH_S, self._watch)
        if self.worker and self.worker.silent_s > self._patience:
            self.worker.kill(f"no sign of life for {self.worker.silent_s:.1f} s")

    # --- what the worker says

    def _heard(self, message: Message) -> None:
        if self._stopping:
            return
        self._patience = self._source.stall_seconds + _HEARTBEAT_MARGIN_S
        match message:
            case Captured():
                self._frame(message)
            case Heartbeat():
                pass
            case SourceBusy(seconds):
                self._patience = max(self._patience, seconds)
            case SourceState():
                self._source_state(message)
            case FirstFrameBegun():
                self._reading = True
            case SourceOpened(width, height):
                self._reading = False
                self._opened(width, height)
            case FrameUnreadable(why):
                self._unreadable += 1
                if self.last_error != why:
                    self.last_error = why
                    self._log.warning("unreadable frame", why=why)
            case _:
                self._refuse(f"sent a {type(message).__name__}")

    def _refuse(self, why: str) -> None:
        if self.worker:
            self.worker.kill(why)

    def _frame(self, m: Captured) -> None:
        ring = self._ring
        if ring is None or m.ring != ring.id or m.slot not in self._granted:
            self._refuse(f"sent a frame in slot {m.slot} of ring {m.ring}, which it was not granted")
            return
        if not 0 < m.width * m.height * 3 <= ring.slot_bytes:
            self._refuse(f"sent a frame of {m.width}x{m.height}, which does not fit its slot")
            return
        self._granted.remove(m.slot)
        if m.skipped:
            self._count_skipped(m.skipped)
        if self.state not in ("running", "frozen"):
            self._enter("running", "")
        if self._good_since is None:
            self._good_since = m.mono
        elif self._backoff > self._backoff_s[0] and m.mono - self._good_since > self._stable_after_s:
            self._backoff = self._backoff_s[0]
        self._fatal_reads = 0
        self._position = m.position + 1
        self._monos.append(m.mono)
        self.width, self.height = m.width, m.height
        seq = self.captured
        self.captured += 1
        self.frames += 1
        self._on_frame(Frame(self._name, seq, ring, m.slot, m.width, m.height, m.ts, m.mono, self._freed))

    def _count_skipped(self, count: int) -> None:
        unreadable = min(count, self._unreadable)
        self._unreadable -= unreadable
        self.captured += count
        for reason, n in (("unreadable", unreadable), ("busy", count - unreadable)):
            if n:
                self._on_dropped(reason, n)

    def _source_state(self, m: SourceState) -> None:
        if m.skipped:
            self._count_skipped(m.skipped)
        if m.position is not None:
            self._position = m.position
        if m.state in ("absent", "lost", "unreadable", "frozen"):
            self.last_error = m.why
            self._on_source_error(m.state)
        self._enter(m.state, m.why)

    def _enter(self, state: str, why: str) -> None:
        changed = (state, why) != (self.state, self.why)
        if state != self.state:
            self.since = time.time()
        self.state, self.why = state, why
        if changed:
            log = (
                self._log.info if state in ("starting", "running", "ended", "stopped") else self._log.warning
            )
            log("source", state=state, why=why)

    # --- the ring: the node alone allocates

    def _opened(self, width: int, height: int) -> None:
        """The worker holds a frame of this size and waits for room: lend it a ring where it fits."""
        need = width * height * 3
        if width <= 0 or height <= 0 or need > MAX_FRAME_BYTES:
            self._refuse(f"sent a frame of {width}x{height}, at most {MAX_FRAME_BYTES} bytes are taken")
            return
        self.width, self.height = width, height
        self._take_grants_back()  # it has dropped them, and writes no more until the Ring below arrives
        if self._ring and self._ring.slot_bytes < need:
            self._retire_ring()
        try:
            if not self._ring:
                self._ring = Ring(next(_ring_ids), self._slots, need)
        except OSError as e:
            self._refuse(f"no memory for {self._slots} frames of {width}x{height}: {e}")
            return
        ring = self._ring
        assert self.worker is not None
        self.worker.send(messages.Ring(ring.id, ring.slots, ring.slot_bytes), [ring.fd])
        self._mapped = True
        self._grant()

    def _grant(self) -> None:
        """Lend every free slot, so that a frame never waits for a message."""
        if not self._mapped or self._paused or self.worker is None or self._ring is None:
            return
        while (slot := self._ring.acquire()) is not None:
            self._granted.add(slot)
            self.worker.send(Grant(self._ring.id, slot))

    def _take_grants_back(self) -> None:
        """Only when the worker is gone, or has said that it dropped its grants."""
        self._mapped = False
        for slot in self._granted:
            assert self._ring is not None
            self._ring.release(slot)
        self._granted.clear()

    def _freed(self, ring: Ring) -> None:
        if ring is self._ring:
            self._grant()
        elif ring.free == ring.slots:
            self._close(ring)

    def _retire_ring(self) -> None:
        ring, self._ring = self._ring, None
        if ring and ring.free == ring.slots:
            self._close(ring)

    def _close(self, ring: Ring) -> None:
        ring.close()
        self._on_ring_gone(ring.id)
