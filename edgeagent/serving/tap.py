# SPDX-License-Identifier: AGPL-3.0-or-later
"""A tap in the path of a frame: frames and their records for whoever looks on, never at the line's expense.

What a subscriber gets is bounded twice, by itself and in advance: so many frames a second of each pipeline, and so many
held at a time. A frame that finds a bound reached goes by; nothing waits, and nothing is queued.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

import structlog

from edgeagent.serving.frame import Frame
from edgeagent.sinks.port import Record

_log = structlog.get_logger(__name__)
SAY_AGAIN_S = 60.0
"""How often it is said of a listener that it fails."""
TAP_FRAMES = 8
"""How many frames of each pipeline all subscribers of a tap may hold together: a camera's ring has slots for these, of
0.7 MB each at 640x360, 6.2 MB at 1920x1080, which take memory once they are used: the slot that came back last is the
next that is written. Two are the gates'; two go to a version that sees the same frames, and one of them may be kept as
a picture; one is kept for a replay; one is shown to those who look; one is for clips of alarms; one is a snapshot."""


@dataclass(eq=False)
class Subscription:
    """What one subscriber has of a tap. `close` it when it is to end.

    on_frame: gets a frame, which it must release, and its record. on_end: gets the name of a pipeline whose frames have
    come to an end; what the subscriber keeps of them keeps the ring's memory. Both are called on the event loop's
    thread and must not block. interval_s: between two frames of a pipeline; frames: that it may hold of each.
    """

    on_frame: Callable[[Frame, Record], None]
    on_end: Callable[[str], None]
    interval_s: float
    frames: int
    _closed: Callable[[Subscription], None]  # called once, when it is closed and has nothing any more
    closed: bool = False
    _due: dict[str, float] = field(
        default_factory=dict
    )  # by pipeline: when the next is due, monotonic seconds
    _held: dict[str, int] = field(default_factory=dict)  # by pipeline

    def held(self, pipeline: str) -> int:
        """How many frames of a pipeline it has not released yet."""
        return self._held.get(pipeline, 0)

    def close(self) -> None:
        """No frame will come any more. Those that it holds are still to be released. Idempotent."""
        if not self.closed:
            self.closed = True
            self._settle()

    def offer(self, frame: Frame, record: Record, now: float) -> None:
        """Hand on a frame if one is due and the subscriber has room. now: monotonic seconds."""
        name = frame.pipeline
        due = self._due.get(name, now)
        if self.closed or now < due or self.held(name) >= self.frames:
            return
        # From the time it was due, so that a rate is kept; after a break from now, so that nothing is caught up.
        self._due[name] = (due if now - due < self.interval_s else now) + self.interval_s
        self._held[name] = self.held(name) + 1
        lent = frame.lend(lambda _ring: self._released(name))
        try:
            self.on_frame(lent, record)
        except Exception:  # noqa: BLE001  (whatever happens to an onlooker, the line goes on)
            _log.exception("tap.subscriber_failed", pipeline=name)
            self.close()
            if lent.users:
                lent.release()

    def end(self, pipeline: str) -> None:
        """Frames of this pipeline have come to an end."""
        self._due.pop(pipeline, None)
        self.on_end(pipeline)

    def _released(self, pipeline: str) -> None:
        self._held[pipeline] -= 1
        self._settle()

    def _settle(self) -> None:
        if self.closed and not any(self._held.values()):
            self._closed(self)


@dataclass(eq=False)
class _Listener:
    """Who gets every record. say_at: when it may next be said that it fails, monotonic seconds."""

    on_record: Callable[[Record], None]
    say_at: float = -inf

    def hear(self, record: Record, now: float) -> None:
        """Whatever happens to it, the line goes on, and so do its next records. now: monotonic seconds."""
        try:
            self.on_record(record)
        except Exception:  # noqa: BLE001
            if now >= self.say_at:
                self.say_at = now + SAY_AGAIN_S
                _log.exception(
                    "tap.listener_failed",
                    pipeline=record.pipeline,
                    note="it gets the next record all the same",
                )


class Tap:
    """Where the frames of a model's pipelines can be looked at. On the event loop's thread.

    frames: that all subscribers together may hold of each pipeline.
    """

    def __init__(self, frames: int = TAP_FRAMES) -> None:
        self._free = frames
        self._subscriptions: list[Subscription] = []
        self._listeners: list[_Listener] = []

    def subscribe(
        self,
        on_frame: Callable[[Frame, Record], None],
        on_end: Callable[[str], None] = lambda pipeline: None,
        *,
        fps: float,
        frames: int,
    ) -> Subscription:
        """Begin to get frames; see Subscription. fps, frames: at most, of each pipeline.

        Raises ValueError when the rings have no slots for so many.
        """
        if frames > self._free:
            raise ValueError(f"{frames} frames are asked for and only {self._free} are free: see TAP_FRAMES")
        self._free -= frames
        subscription = Subscription(on_frame, on_end, 1 / fps, frames, self._closed)
        self._subscriptions.append(subscription)
        return subscription

    def listen(self, on_record: Callable[[Record], None]) -> Callable[[], None]:
        """Begin to get every record, without its frame, which takes no slot; it must not block. Of one that fails this
        is said once a minute, and it is called with the next record again. Returns what ends it; idempotent."""
        listener = _Listener(on_record)
        self._listeners.append(listener)

        def end() -> None:
            if listener in self._listeners:
                self._listeners.remove(listener)

        return end

    def offer(self, frame: Frame, record: Record, now: float) -> None:
        """A frame has its result. now: monotonic seconds."""
        for listener in tuple(self._listeners):
            listener.hear(record, now)
        for subscription in tuple(self._subscriptions):
            subscription.offer(frame, record, now)

    def end(self, pipeline: str) -> None:
        """No frame of this pipeline will come any more."""
        for subscription in tuple(self._subscriptions):
            subscription.end(pipeline)

    def _closed(self, subscription: Subscription) -> None:
        self._subscriptions.remove(subscription)
        self._free += subscription.frames
