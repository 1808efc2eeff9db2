# SPDX-License-Identifier: AGPL-3.0-or-later
"""The capture worker: reads one source for ever, and writes its frames into the slots that the node grants.

Started as `python -m edgeagent.workers.capture FD NODE_PID`; what both sides say is in `tasks.capture` and `messages`.

worker → node  SourceBusy · SourceState · FirstFrameBegun · PictureBegun · SourceOpened · Captured · FrameUnreadable ·
               FrameStale · Heartbeat
node → worker  CaptureSource, once · Ring, with its memory · Grant
"""

from __future__ import annotations

import math
import time
import zlib
from contextlib import closing
from typing import Literal

import numpy as np

from edgeagent.util.backoff import Backoff
from edgeagent.workers import messages
from edgeagent.workers.bootstrap import worker_main
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.frame_pacer import FramePacer
from edgeagent.workers.messages import Captured, Grant, Heartbeat, Message
from edgeagent.workers.ring import MAX_FRAME_BYTES, RingView
from edgeagent.workers.source import OPEN_TIMEOUT_S, Image, Source, SourceError, UnreadableFrameError
from edgeagent.workers.sources import Synthetic, open_source
from edgeagent.workers.tasks.capture import (
    CaptureSource,
    FirstFrameBegun,
    FrameStale,
    FrameUnreadable,
    SourceBusy,
    SourceOpened,
    SourceState,
)
from edgeagent.workers.uploads import UploadFolder, Uploads

BACKOFF_S = (0.5, 15.0)
STABLE_AFTER_S = 5.0  # a source that gave frames for so long is tried again at once when it is lost
HEARTBEAT_S = 1.0
# Of a live source that has no frame rate of its own: otherwise it would be read as fast as the disk gives.
FOLDER_FPS = 10.0
_FOLDER_LOOK_S = 0.25  # how often to ask for what was put there
_HASH_STEP = 8  # a frozen camera is recognised by every eighth pixel of every eighth row


class CaptureWorker:
    """One source, one thread. Whatever waits takes in the node's messages and sends heartbeats."""

    def __init__(self, channel: WorkerChannel, task: CaptureSource) -> None:
        self._channel = channel
        self._task = task
        self._position = task.position
        self._uploads = Uploads(task.taken) if task.watch else None
        self._view: RingView | None = None
        self._ring = self._slot_bytes = 0
        self._grants: list[int] = []
        self._size = (0, 0)  # height, width of the last frame: where the next is decoded to
        self._skipped = 0
        self._delivered = 0
        self._fresh_at = 0.0  # when the last frame came that wasn't stale
        self._said_reading = self._said_waiting = False
        self._frozen = _Frozen(task.stall_s)
        self._turn = 0
        self._last_said = 0.0

    def run(self) -> None:
        """Film for ever; open the source anew, with growing pauses, when it fails."""
        backoff, task = Backoff(*BACKOFF_S, jitter=0.0), self._task
        while True:
            opened, before = time.monotonic(), self._delivered
            try:
                self._say(SourceBusy(OPEN_TIMEOUT_S + 10))
                with closing(self._open()) as source:
                    self._say(Heartbeat(self._turn))
                    opened = time.monotonic()
                    end = self._film(source)
                    if self._delivered == before and self._position < max(end, 1) and (task.loop or not end):
                        raise SourceError("unreadable", "nothing in it can be decoded")
            except SourceError as e:
                if self._delivered > before and time.monotonic() - opened > STABLE_AFTER_S:
                    backoff.reset()
                is_lost = e.state == "absent" and self._delivered
                self._say(SourceState("lost" if is_lost else e.state, e.why, skipped=self._skipped))
                self._skipped = 0
                self._idle(backoff.next_s())
                continue
            self._position = 0
            if not task.loop:
                promised = f", though its header says {source.total}" if source.total > end else ""
                self._say(SourceState("ended", f"after {end} frames{promised}", end, self._skipped))
                while True:
                    self._idle(3600)

    def _open(self) -> Source:
        task = self._task
        return open_source(task.url, task.fps or 0.0, task.stall_s, task.trust_timestamps, self._uploads)

    def _film(self, source: Source) -> int:
        """Deliver frames until the source ends. Returns the position of its end. Raises SourceError."""
        source.seek(self._position, self._heartbeat)
        if source.resumable:
            self._begin_reading(source.position)
        pacer = self._pacer(source)
        self._frozen = _Frozen(self._task.stall_s)
        self._fresh_at = time.monotonic()
        while True:
            self._take_messages()
            while not self._task.live and self._view and not self._grants:
                self._wait(HEARTBEAT_S)
            if pacer and not self._await(pacer, source):
                return source.position
            taken = self._grab(source)
            now = time.monotonic()
            if not taken and not source.watches:
                return source.position
            if not taken:
                self._wait_for_more(now)
                continue
            for _ in range(taken - 1):
                self._unreadable(f"broken data before frame {source.position - 1}")
            if self._task.live and source.age_s > self._task.max_age_s:
                self._stale(source.age_s, now)
                self._heartbeat()
                continue
            self._fresh_at, self._said_waiting = now, False
            if self._task.live and self._view and not self._grants:
                self._skipped += 1  # the node is busy; reading on keeps what the camera has buffered fresh
            elif self._retrieve(source, now) and pacer:
                pacer.restart()
            self._heartbeat()

    def _begin_reading(self, position: int) -> None:
        if not self._said_reading:
            self._said_reading = True
            self._say(FirstFrameBegun(position))

    def _grab(self, source: Source) -> int:
        """See `Source.grab`; of a folder that is watched the node is told which picture that is."""
        taken = source.grab()
        if taken and isinstance(source, UploadFolder):
            self._say(source.begun)
        return taken

    def _wait_for_more(self, now: float) -> None:
        """Of a folder that is watched; the node is told at the start, when nothing has come for long, and what was
        skipped last."""
        long = now - self._fresh_at > self._task.stall_s
        if not self._said_waiting and (not self._delivered or self._skipped or long):
            self._said_waiting = True
            self._say(SourceState("waiting", "for pictures in the folder", skipped=self._skipped))
            self._skipped = 0
        self._wait(_FOLDER_LOOK_S)

    def _pacer(self, source: Source) -> FramePacer | None:
        """None: as fast as the source gives frames, and the node takes them."""
        fps = self._task.fps or 0.0
        if not fps and (self._task.live or isinstance(source, Synthetic)):
            fps = source.fps or FOLDER_FPS
        return FramePacer(fps, self._task.live) if fps and not source.camera else None

    def _await(self, pacer: FramePacer, source: Source) -> bool:
        """Wait until the next frame is due, and leave out what is past. False when the source ends with that."""
        while (wait_s := pacer.wait_s(time.monotonic())) > 0:
            self._wait(wait_s)
        for _ in range(pacer.take(time.monotonic())):
            if not (taken := self._grab(source)):
                return source.watches
            self._skipped += taken
            self._heartbeat()
        return True

    def _retrieve(self, source: Source, now: float) -> bool:
        """Decode the frame that was taken `now`, straight into a slot where that can be done, and tell the node.

        Returns whether it had to wait for a ring, a time that no frame should be left out for.
        """
        mono = now - (source.age_s if math.isfinite(source.age_s) else 0.0)
        ts = time.time() - (time.monotonic() - mono)
        out = self._view.image(self._grants[-1], *self._size) if self._view and self._grants else None
        try:
            image = source.retrieve(out)
        except UnreadableFrameError as e:
            self._unreadable(str(e))
            return False
        if image.nbytes > MAX_FRAME_BYTES:
            self._unreadable(f"a frame of {image.nbytes} bytes; at most {MAX_FRAME_BYTES} are taken")
            return False
        height, width = self._size = image.shape[:2]
        no_ring = self._view is None or image.nbytes > self._slot_bytes
        if no_ring:
            self._ask_for_ring(source)
        while not self._grants:
            self._wait(HEARTBEAT_S)
        assert self._view is not None
        slot = self._grants.pop()
        target = self._view.image(slot, height, width)
        if image is not out:
            np.copyto(target, image)
        position = source.position - 1
        self._say(Captured(self._ring, slot, position, self._skipped, width, height, ts, mono))
        self._skipped = 0
        self._delivered += 1
        if source.camera and (change := self._frozen.see(target, mono)):
            self._say(SourceState(change, self._frozen.why))
        return no_ring

    def _ask_for_ring(self, source: Source) -> None:
        height, width = self._size
        self._view, self._grants = None, []
        self._say(SourceOpened(width, height, source.fps, source.total))

    def _stale(self, age_s: float, now: float) -> None:
        """Leave out a frame that comes too late. Raises SourceError when for long no other has come: what is held back
        somewhere is dropped with the connection."""
        self._skipped += 1
        self._say(FrameStale())
        if now - self._fresh_at > self._task.stall_s:
            how_late = f"{age_s:.1f} s late" if math.isfinite(age_s) else "late"
            raise SourceError(
                "lost",
                f"its frames come {how_late}: the network or the camera is too slow for them,"
                " or its timestamps are (source.trust_timestamps)",
            )

    def _unreadable(self, why: str) -> None:
        self._skipped += 1
        self._say(FrameUnreadable(why))

    # --- talking to the node

    def _say(self, message: Message) -> None:
        self._channel.send(message)
        self._last_said = time.monotonic()

    def _heartbeat(self) -> None:
        """Send a heartbeat, unless something was sent in the last second."""
        self._turn += 1
        if time.monotonic() - self._last_said >= HEARTBEAT_S:
            self._say(Heartbeat(self._turn))

    def _idle(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._wait(left)

    def _wait(self, seconds: float) -> None:
        """Until the node says something, at most `seconds` and at most until the next heartbeat is due."""
        message = self._channel.receive(min(seconds, HEARTBEAT_S))
        if message is not None:
            self._handle(message)
        self._heartbeat()

    def _take_messages(self) -> None:
        while (message := self._channel.receive(0)) is not None:
            self._handle(message)

    def _handle(self, message: Message) -> None:
        if isinstance(message, messages.Ring):
            self._view = RingView(self._channel.fds.popleft(), message.slots, message.slot_bytes)
            self._ring, self._slot_bytes, self._grants = message.ring, message.slot_bytes, []
        elif isinstance(message, Grant) and self._view and message.ring == self._ring:
            self._grants.append(message.slot)


class _Frozen:
    """Notices a camera that sends the same frame for ever (opencv #13145)."""

    def __init__(self, stall_s: float) -> None:
        self.why = ""
        self._stall_s = stall_s
        self._hash = 0
        self._since = 0.0
        self._is = False

    def see(self, image: Image, now: float) -> Literal["frozen", "running"] | None:
        """The state that the camera changes to with this frame, captured at `now`; None when it stays."""
        seen = zlib.crc32(image[::_HASH_STEP, ::_HASH_STEP].tobytes())
        if seen != self._hash or not self._since:
            self._hash, self._since = seen, now
        frozen = now - self._since > self._stall_s
        if frozen == self._is:
            return None
        self._is = frozen
        self.why = f"the same picture for {self._stall_s:g} s" if frozen else ""
        return "frozen" if frozen else "running"


def serve(channel: WorkerChannel, task: CaptureSource) -> None:
    """Entry for `worker_main`: film what the task names, until the node is gone."""
    CaptureWorker(channel, task).run()


if __name__ == "__main__":
    worker_main(serve, CaptureSource)
