# SPDX-License-Identifier: AGPL-3.0-or-later
"""The objects in view of one pipeline, followed once for all of its rules that count.

What any of these rules is about is followed. Each rule counts of an object the frames on which its box meets the rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgeagent.core.alarms.rules import Box, FrameSeen
from edgeagent.core.tracks import Follower, Track

MOST_BOXES = 300
"""Of a frame that are followed, the surest ones."""


class Watch(Protocol):
    """A rule that counts."""

    def is_about(self, box: Box, frame: FrameSeen) -> bool:
        """Whether the rule is about this box of a frame, wherever it lies."""


@dataclass(slots=True, eq=False)
class InView(Track):
    """An object. frames: by rule, on how many frames it met that; None: the rule has counted it."""

    frames: dict[Watch, int | None] = field(default_factory=dict)


Seen = tuple[Box, InView]
"""A box of a frame, and the object that it is."""


class ObjectsInView:
    """Of one pipeline."""

    def __init__(self) -> None:
        self._follower = Follower(InView)

    def observe(self, frame: FrameSeen, watches: Sequence[Watch]) -> list[Seen]:
        """One more frame, in their order. watches: of the rules that count by it."""
        boxes: list[Box] = []
        for box in frame.boxes:  # best first
            for watch in watches:
                if watch.is_about(box, frame):
                    boxes.append(box)
                    break
            if len(boxes) == MOST_BOXES:
                break
        tracks, _ = self._follower.observe(boxes, frame.mono, frame.width, frame.height)
        return [(box, track) for box, track in zip(boxes, tracks, strict=True) if track]
