# SPDX-License-Identifier: AGPL-3.0-or-later
"""The worker that keeps clips of alarms: the last frames of some pipelines in memory, as JPEG, with what was found on
them; and of those around an alarm a picture and a video on the disk.

Its task is KeepClips. It answers each KeepFrame at once; a video is made a picture at a time, while nothing is asked.
It ends when no frame has come for a while.
"""

from __future__ import annotations

import os
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from edgeagent.util.durable import make_folder, remove_stale_temps, write_durably
from edgeagent.workers.bootstrap import worker_main
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.messages import Detected, Heartbeat, Ring
from edgeagent.workers.ring import RingView
from edgeagent.workers.tasks.clips import BeginClip, ClipNews, FrameKept, KeepClips, KeepFrame, What

if TYPE_CHECKING:
    from edgeagent.runtimes.port import Image
    from edgeagent.workers.clip_video import ClipVideo

_HEARTBEAT_S = 1.0
MAX_KEPT_BYTES = 64 << 20
"""Of one pipeline's frames in memory; the oldest make way."""
MAX_CLIPS = 8
"""That are made at a time."""
FORGET_S = 300.0
"""Frames of a pipeline of which none has come for so long are in nobody's clip: it may have been removed."""
LATE_S = 3.0
"""So long after its end a clip is finished also if no frame has come that is later: the camera may be gone."""


@dataclass(frozen=True)
class KeptFrame:
    """A frame as JPEG. ts: when it was captured, Unix seconds."""

    ts: float
    jpeg: bytes


@dataclass
class FrameMemory:
    """The last frames of one pipeline, the oldest first."""

    frames: deque[KeptFrame] = field(default_factory=deque)
    size: int = 0

    def add(self, frame: KeptFrame, keep_s: float) -> None:
        """Of those that are older by more than keep_s seconds only one stays: what was to be seen until then."""
        if self.frames and frame.ts < self.frames[-1].ts:  # the clock was set back
            self.frames.clear()
            self.size = 0
        self.frames.append(frame)
        self.size += len(frame.jpeg)
        while len(self.frames) > 1 and (self.frames[1].ts < frame.ts - keep_s or self.size > MAX_KEPT_BYTES):
            self.size -= len(self.frames.popleft().jpeg)

    def is_older(self, ts: float) -> bool:
        """Whether all of them are."""
        return not self.frames or self.frames[-1].ts < ts

    def since(self, ts: float) -> list[KeptFrame]:
        """Those of this time and later."""
        return [frame for frame in self.frames if frame.ts >= ts]

    def nearest(self, ts: float) -> KeptFrame | None:
        """The first of this time or later, else the last before."""
        return next((f for f in self.frames if f.ts >= ts), self.frames[-1] if self.frames else None)


@dataclass(eq=False)
class OpenClip:
    """A clip that is being made. waiting: frames that aren't in the video yet; complete: no other will come."""

    order: BeginClip
    deadline: float  # Unix seconds
    waiting: deque[KeptFrame]
    pictured: bool = False
    complete: bool = False
    video: ClipVideo | None = None
    begun: float = 0.0

    @property
    def end(self) -> float:
        """The time of its last frame, Unix seconds."""
        return self.order.at + self.order.after_s


class ClipKeeper:
    """What the worker has in hand."""

    def __init__(self, task: KeepClips) -> None:
        self._task = task
        self._memories: dict[str, FrameMemory] = {}
        self._clips: list[OpenClip] = []

    @property
    def pipelines(self) -> tuple[str, ...]:
        """Those whose last frames it remembers."""
        return tuple(self._memories)

    def has_work(self, now: float) -> bool:
        """Whether `work` would do something. now: Unix seconds."""
        return any(clip.waiting or clip.complete or now >= clip.deadline for clip in self._clips)

    def keep(self, frame: KeptFrame, order: KeepFrame) -> None:
        """One more frame of a pipeline."""
        for name in [n for n, memory in self._memories.items() if memory.is_older(frame.ts - FORGET_S)]:
            del self._memories[name]
        self._memories.setdefault(order.pipeline, FrameMemory()).add(frame, order.keep_s)
        for clip in self._clips:
            if clip.order.pipeline == order.pipeline and not clip.complete:
                if frame.ts <= clip.end:
                    clip.waiting.append(frame)
                else:
                    clip.complete = True

    def begin(self, order: BeginClip, now: float) -> list[ClipNews]:
        """A clip is wanted. now: Unix seconds."""
        if len(self._clips) >= MAX_CLIPS:
            why = f"{MAX_CLIPS} are being made already"
            return [ClipNews(order.id, "picture", "", why), ClipNews(order.id, "clip", "", why)]
        memory = self._memories.get(order.pipeline, FrameMemory())
        deadline = max(now, order.at) + order.after_s + LATE_S
        self._clips.append(OpenClip(order, deadline, deque(memory.since(order.at - order.before_s))))
        return []

    def work(self, now: float) -> list[ClipNews]:
        """Do a little of what is to be done; what has come of it. now: Unix seconds."""
        for clip in self._clips:
            if not clip.pictured and (news := self._picture(clip, now)):
                return [news]
        for clip in tuple(self._clips):
            clip.complete = clip.complete or now >= clip.deadline
            if clip.waiting or clip.complete:
                news = self._video(clip)
                if news:
                    self._clips.remove(clip)
                return [news] if news else []
        return []

    def _picture(self, clip: OpenClip, now: float) -> ClipNews | None:
        """Of the frame on which it was raised, which may be on its way."""
        memory = self._memories.get(clip.order.pipeline)
        frame = memory.nearest(clip.order.at) if memory else None
        late = clip.complete or now > clip.order.at + LATE_S
        if not late and (frame is None or frame.ts < clip.order.at):
            return None
        clip.pictured = True
        if frame is None:
            return ClipNews(clip.order.id, "picture", "", "there was no frame")
        return self._write(clip, "picture", ".jpg", frame.jpeg)

    def _video(self, clip: OpenClip) -> ClipNews | None:
        try:
            if clip.waiting:
                self._encode(clip, clip.waiting.popleft())
                return None
            if clip.video is None:
                return ClipNews(clip.order.id, "clip", "", "there were no frames")
            return self._write(clip, "clip", clip.video.form.suffix, clip.video.finish())
        except ValueError as e:
            if clip.video:
                clip.video.discard()
            return ClipNews(clip.order.id, "clip", "", str(e))

    def _encode(self, clip: OpenClip, frame: KeptFrame) -> None:
        import cv2

        from edgeagent.workers.clip_video import ClipVideo, available_form

        image = _image(frame.jpeg)
        if clip.video is None:
            form = available_form()
            if form is None:
                raise ValueError("this FFmpeg has no encoder for H.264 or VP8")
            height, width = image.shape[:2]
            clip.video, clip.begun = ClipVideo(form, width, height), frame.ts
        size = clip.video.width, clip.video.height
        if (image.shape[1] & ~1, image.shape[0] & ~1) != size:  # the camera sends another one by now
            clip.video.add(cv2.resize(image, size), frame.ts - clip.begun)  # type: ignore[arg-type]
        else:
            clip.video.add(image, frame.ts - clip.begun)

    def _write(self, clip: OpenClip, what: What, suffix: str, data: bytes) -> ClipNews:
        task, name = self._task, clip.order.id + suffix
        try:
            make_folder(task.root)
            remove_stale_temps(task.root)
            if len(data) > task.max_bytes or _free_bytes(task.root) - len(data) < task.min_free_bytes:
                return ClipNews(
                    clip.order.id, what, "", "the disk is short, or it is larger than may be kept"
                )
            write_durably(task.root / name, data)
        except OSError as e:
            return ClipNews(clip.order.id, what, "", str(e))
        return ClipNews(clip.order.id, what, name)


def serve(channel: WorkerChannel, task: KeepClips) -> None:
    """Keep what comes, and write what is asked for, until the node is gone or there is nothing to do."""
    keeper = ClipKeeper(task)
    view: RingView | None = None
    boxes, turn, heard_at, asked_at = b"", 0, -_HEARTBEAT_S, time.monotonic()
    while True:
        if time.monotonic() - heard_at >= _HEARTBEAT_S:
            heard_at, turn = time.monotonic(), turn + 1
            channel.send(Heartbeat(turn))
        has_work = keeper.has_work(time.time())
        message = channel.receive(0.0 if has_work else _HEARTBEAT_S)
        match message:
            case None:
                for news in keeper.work(time.time()):
                    channel.send(news)
                if time.monotonic() - asked_at > task.idle_s and not has_work:
                    return
            case Ring(_, slots, slot_bytes):
                view = RingView(channel.fds.popleft(), slots, slot_bytes)
            case Detected():
                boxes = message.boxes
            case KeepFrame() if view:
                answer = _keep(keeper, message, view, boxes, task)
                view.close()
                view, asked_at = None, time.monotonic()
                channel.send(answer)
            case BeginClip():
                for news in keeper.begin(message, time.time()):
                    channel.send(news)
            case _:
                raise SystemExit(f"a worker that keeps clips has no use for {message!r}")


def _keep(keeper: ClipKeeper, order: KeepFrame, view: RingView, boxes: bytes, task: KeepClips) -> FrameKept:
    try:
        image = view.image(order.slot, order.height, order.width)
        keeper.keep(KeptFrame(order.ts, picture_of(image, order, boxes, task)), order)
    except ValueError as e:
        return FrameKept(order.ticket, str(e))
    return FrameKept(order.ticket)


def picture_of(image: Image, order: KeepFrame, boxes: bytes, task: KeepClips) -> bytes:
    """The frame as JPEG, scaled down, with what was found. boxes: six little-endian float32 each. Raises ValueError."""
    from edgeagent.workers.jpeg import encode_jpeg
    from edgeagent.workers.overlay import draw_findings, findings_of, scaled

    found = findings_of(order, boxes)
    picture = scaled(image, task.max_width)
    draw_findings(picture, found, picture.shape[1] / order.width)
    return encode_jpeg(picture, task.quality)


def _image(jpeg: bytes) -> Image:
    import cv2
    import numpy as np

    image = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError("a frame of the clip can't be decoded")
    return image  # type: ignore[return-value]


def _free_bytes(folder: Path) -> int:
    disk = os.statvfs(folder)
    return disk.f_bavail * disk.f_frsize


if __name__ == "__main__":
    worker_main(serve, KeepClips)
