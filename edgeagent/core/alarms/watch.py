# SPDX-License-Identifier: AGPL-3.0-or-later
"""One rule over the frames of one pipeline: whether its condition holds, frame by frame.

Only frames move it on: while none come nothing is known, so nothing is raised, and nothing clears.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from edgeagent.core.alarms.delay import Delayed
from edgeagent.core.alarms.in_view import Seen
from edgeagent.core.alarms.rules import Box, FrameSeen, Rule, class_ids, found, is_inside, meets

MAX_COUNTED = 10_000
"""Objects that a rule remembers; of more within its time it is known that they are too many."""


class RuleWatch:
    """`observe` each frame; `active` is whether the alarm's condition holds, delays included. Pure but for its memory.

    names: of what was found when it last held; figures: of then, numbers and texts by name.
    """

    def __init__(self, rule: Rule, active: bool = False) -> None:
        """active: whether the condition held when the node was stopped."""
        self.rule = rule
        self.names: tuple[str, ...] = ()
        self.figures: dict[str, float | str] = {}
        self._delayed = Delayed(active)
        self._ids: frozenset[int] | None = None
        self._known: tuple[str, ...] | None = None  # the names that `_ids` were made of
        self._seen_on: deque[bool] = deque(maxlen=rule.confirmed.of)
        self._counted: deque[float] = deque(maxlen=MAX_COUNTED)  # when, monotonic seconds
        self._last: float | None = None  # when the last frame was captured, since the last pause
        self._unseen_s = 0.0

    @property
    def active(self) -> bool:
        """Whether the condition holds, delays included."""
        return self._delayed.active

    def observe(self, frame: FrameSeen, objects: Sequence[Seen] = ()) -> bool:
        """One more frame, in their order. objects: that are in view, for a rule that counts. Returns whether `active`
        has changed."""
        if frame.names is not self._known:
            self._learn(frame)
        match self.rule.when:
            case "present":
                holds = self._present(frame)
            case "count":
                holds = self._count(frame, objects)
            case _:
                holds = self._absent(frame)
        self._last = frame.mono
        before = self.active
        self._delayed = self._delayed.step(holds, frame.mono, self.rule.on_delay_s, self.rule.off_delay_s)
        if holds:
            self.figures["version"] = frame.version
        return before != self.active

    def is_about(self, box: Box, frame: FrameSeen) -> bool:
        """Whether the rule is about this box of a frame, wherever it lies."""
        if frame.names is not self._known:
            self._learn(frame)
        return meets(self.rule, box, self._ids, frame)

    def pause(self) -> None:
        """No frames come for now: what time passes until the next is not held against anybody."""
        self._last = None
        self._seen_on.clear()
        self._delayed = self._delayed.hold()

    def _learn(self, frame: FrameSeen) -> None:
        """Which ids the classes have by now."""
        self._known, self._ids = frame.names, class_ids(self.rule, frame.names)

    def _confirm(self, seen: bool) -> bool:
        self._seen_on.append(seen)
        return sum(self._seen_on) >= self.rule.confirmed.at_least

    def _present(self, frame: FrameSeen) -> bool:
        boxes = found(self.rule, self._ids, frame)
        holds = self._confirm(len(boxes) >= self.rule.objects)
        if holds and boxes:
            self._remember(boxes, frame)
        return holds

    def _absent(self, frame: FrameSeen) -> bool:
        passed = frame.mono - self._last if self._last is not None else 0.0
        self._unseen_s += max(0.0, passed)
        if self._confirm(len(found(self.rule, self._ids, frame)) >= self.rule.objects):
            self._unseen_s = 0.0
        self.figures = {"seconds": round(self._unseen_s, 1)}
        return self._unseen_s >= self.rule.absent_s

    def _count(self, frame: FrameSeen, objects: Sequence[Seen]) -> bool:
        rule = self.rule
        for box, track in objects:
            frames = track.frames.get(self, 0)
            if frames is None or not self.is_about(box, frame):
                continue
            track.frames[self] = frames + 1
            if frames + 1 >= rule.confirmed.at_least and is_inside(rule, track.at, frame.width, frame.height):
                track.frames[self] = None
                self._counted.append(frame.mono)
                self._name([track.cls], frame)
        while self._counted and frame.mono - self._counted[0] > rule.within_s:
            self._counted.popleft()
        self.figures = {"objects": len(self._counted), "seconds": rule.within_s}
        return len(self._counted) >= rule.objects

    def _remember(self, boxes: Sequence[Box], frame: FrameSeen) -> None:
        self._name([int(box[5]) for box in boxes], frame)
        c = self.rule.confirmed
        self.figures = {
            "objects": len(boxes),
            "confidence": round(max(box[4] for box in boxes), 3),
            "frames": f"{sum(self._seen_on)} of {c.of}",
        }

    def _name(self, ids: Sequence[int], frame: FrameSeen) -> None:
        self.names = tuple(dict.fromkeys(frame.names[i] for i in ids if i < len(frame.names)))
