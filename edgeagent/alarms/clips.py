# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures and clips of alarms: the node's side of the worker that keeps them, and the folder in which they lie.

Only of pipelines with rules that want a clip, so many frames a second; one that is due and finds the worker busy
goes by.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import structlog

from edgeagent.alarms.facts import free_bytes
from edgeagent.config.alarms import ClipsConfig
from edgeagent.core.alarms.rules import Clip
from edgeagent.core.pictures import Picture, PictureQuota, over_quota
from edgeagent.errors import NotFoundError
from edgeagent.serving.frame import Frame
from edgeagent.serving.frame_worker import FrameWorker, WorkerPlan
from edgeagent.serving.tap import Subscription, Tap
from edgeagent.sinks.port import Record
from edgeagent.workers.limits import WorkerLimits
from edgeagent.workers.messages import Detected, Message
from edgeagent.workers.process import WorkerProcess, WorkerProgram
from edgeagent.workers.tasks.clips import BeginClip, ClipNews, FrameKept, KeepClips, KeepFrame, What

_log = structlog.get_logger(__name__)
PROGRAM = WorkerProgram("clips", "edgeagent.workers.clips", low_priority=True)
LIMITS = WorkerLimits(memory_bytes=2 << 30, silence_s=20.0, start_s=60.0)
IDLE_S = 60.0
_FRAMES = 1
_ALL_FRAMES = 1000.0
"""Frames a second: which of them are kept is decided here, so that one that finds the worker busy makes way for the
next."""
_MARGIN_S = 1.0
_LATE_S, _MAKING_S = 30.0, 120.0
"""So long after its end a clip is given up of which nothing was heard; no clip takes longer than that altogether."""
_NAME_CHARS = 64
SUFFIXES: Mapping[What, tuple[str, ...]] = {"picture": (".jpg",), "clip": (".mp4", ".webm")}
TYPES = {".jpg": "image/jpeg", ".mp4": "video/mp4", ".webm": "video/webm"}


@dataclass(frozen=True)
class ClipNeeds:
    """What a pipeline's rules want: seconds before an alarm, pictures a second; the most of any."""

    before_s: float
    fps: float

    @classmethod
    def of(cls, clips: Sequence[Clip]) -> ClipNeeds:
        """Of one rule or more."""
        return cls(max(c.before_s for c in clips), max(c.fps for c in clips))


class ClipRecorder:
    """On the event loop's thread. on_news(id, picture or clip): there is one of this alarm now."""

    def __init__(
        self, root: Path, on_news: Callable[[str, What], None], limits: WorkerLimits = LIMITS
    ) -> None:
        self.root = root
        self._on_news, self._limits = on_news, limits
        self._config = ClipsConfig()
        self._worker = self._make_worker()
        self._needs: Mapping[str, ClipNeeds] = {}
        self._due: dict[str, float] = {}  # by pipeline, monotonic seconds
        self._subscriptions: dict[Tap, Subscription] = {}
        self._begun: list[BeginClip] = []  # before the worker was there
        self._making: dict[str, float] = {}  # until when at most, by id, Unix seconds
        self._ending: set[asyncio.Task[None]] = set()
        self._trouble = ""

    @property
    def worker(self) -> WorkerProcess | None:
        """The process, while there is one."""
        return self._worker.process

    def configure(self, config: ClipsConfig, needs: Mapping[str, ClipNeeds], taps: set[Tap]) -> None:
        """What is kept from now on. needs: by pipeline; taps: where their frames are."""
        if config != self._config:
            self._config = config
            ending = asyncio.get_running_loop().create_task(self._worker.close())
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self._worker = self._make_worker()
        self._needs = needs
        for tap in [tap for tap in self._subscriptions if tap not in taps]:
            self._subscriptions.pop(tap).close()
        for tap in taps - self._subscriptions.keys():
            try:
                self._subscriptions[tap] = tap.subscribe(self._frame, fps=_ALL_FRAMES, frames=_FRAMES)
            except ValueError as e:  # whoever made a tap with fewer frames than TAP_FRAMES
                self._say(str(e))

    def begin(self, id: str, pipeline: str, at: float, clip: Clip) -> bool:
        """An alarm was raised by the frame of `at`, Unix seconds, which is about to be offered. Returns whether a
        picture and a clip of this are begun: not while those of the time before aren't whole."""
        self._making = {of: until for of, until in self._making.items() if 0 < until - at <= _MAKING_S}
        if pipeline not in self._needs or id in self._making:
            return False
        self._making[id] = at + clip.after_s + _LATE_S
        order = BeginClip(id, pipeline, at, clip.before_s, clip.after_s)
        if not self._worker.tell(order):
            self._begun = [*self._begun[-7:], order]
        self._due.pop(pipeline, None)
        return True

    async def close(self) -> None:
        """Return when the worker is gone. Idempotent."""
        for subscription in self._subscriptions.values():
            subscription.close()
        self._subscriptions.clear()
        await asyncio.gather(self._worker.close(), *self._ending)

    async def file(self, id: str, what: What) -> tuple[Path, str]:
        """Where an alarm's picture or clip is, and of which type. Raises NotFoundError."""
        found = await asyncio.to_thread(find_file, self.root, id, what)
        if found is None:
            raise NotFoundError(
                f"{what} of alarm {id}",
                "there is none: its rule keeps none, it isn't whole yet, or it had to make way",
                "see clip of the rule, and alarms.clips",
            )
        return found, TYPES[found.suffix]

    def sweep(self) -> set[str]:
        """Remove what is too old or too much. Returns the ids of which nothing is there any more. Waits for the
        disk."""
        c = self._config
        return sweep(
            self.root, PictureQuota(c.max_bytes, c.max_age_seconds, 1 << 30, c.min_free_bytes), time.time()
        )

    def _make_worker(self) -> FrameWorker[FrameKept]:
        c = self._config
        task = KeepClips(self.root, c.max_width, c.max_bytes, c.min_free_bytes, IDLE_S)
        return FrameWorker(WorkerPlan(PROGRAM, task, FrameKept, self._limits), self._say, self._heard)

    def _frame(self, frame: Frame, record: Record) -> None:
        name, now = frame.pipeline, frame.mono
        need, due = self._needs.get(name), self._due.get(name, frame.mono)
        if need is None or now < due or not self._keep(frame, record, need):
            frame.release()
            return
        interval = 1 / need.fps
        self._due[name] = (due if now - due < interval else now) + interval
        for order in self._begun:
            self._worker.tell(order)
        self._begun = []

    def _keep(self, frame: Frame, record: Record, need: ClipNeeds) -> bool:
        """Whether the worker has the frame."""
        names = {str(index): record.names[index][:_NAME_CHARS] for index in {int(b[5]) for b in record.boxes}}
        numbers = struct.pack(f"<{6 * len(record.boxes)}f", *chain.from_iterable(record.boxes))
        size, keep_s = (frame.height, frame.width), need.before_s + _MARGIN_S

        def request(ticket: int) -> KeepFrame:
            name, version, ts = frame.pipeline, record.version, frame.ts
            return KeepFrame(ticket, frame.slot, *size, name, version, ts, names, keep_s)

        def done(answer: FrameKept | None) -> None:
            if answer:
                self._say(answer.why)

        return self._worker.offer(frame, request, done, before=[Detected(0, 0.0, 0.0, 0.0, numbers)])

    def _heard(self, message: Message) -> bool:
        if not isinstance(message, ClipNews):
            return False
        if message.what == "clip":
            self._making.pop(message.id, None)
        if message.name:
            self._on_news(message.id, message.what)
        else:
            _log.warning("clip.not_kept", alarm=message.id, what=message.what, why=message.why)
        return True

    def _say(self, trouble: str) -> None:
        """Once for each trouble, and when it is over."""
        if trouble and trouble != self._trouble:
            _log.warning("clips.not_kept", why=trouble)
        self._trouble = trouble


def find_file(root: Path, id: str, what: What) -> Path | None:
    """An alarm's picture or clip, None where there is none."""
    return next((path for suffix in SUFFIXES[what] if (path := root / (id + suffix)).is_file()), None)


def sweep(root: Path, quota: PictureQuota, now: float) -> set[str]:
    """Keep the files of alarms within their quota, the newest. now: Unix seconds. Returns the ids of those that went.
    Raises OSError."""
    kept: dict[str, Picture] = {}
    if not root.is_dir():
        return set()
    for path in root.iterdir():
        if path.suffix in TYPES and not path.name.startswith("."):
            about = path.stat()
            before = kept.get(path.stem, Picture(path.stem, 0, about.st_mtime))
            kept[path.stem] = Picture(path.stem, before.size + about.st_size, max(before.ts, about.st_mtime))
    free = free_bytes(root)
    gone = over_quota(kept.values(), quota, now, quota.min_free_bytes if free is None else free)
    for picture in gone:
        for suffix in TYPES:
            (root / (picture.path + suffix)).unlink(missing_ok=True)
    return {picture.path for picture in gone}
