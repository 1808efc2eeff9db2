# SPDX-License-Identifier: AGPL-3.0-or-later
"""Frames of the line, one now and then, onto the disk: what the gate `replay` tries a candidate on."""

from __future__ import annotations

from pathlib import Path

from edgeagent.core.pictures import picture_stem
from edgeagent.serving.frame import Frame
from edgeagent.serving.tap import Tap
from edgeagent.sinks.port import Record
from edgeagent.update.picture_writer import PictureWriter
from edgeagent.workers.tasks.pictures import PictureOrder

_FRAMES = 1
"""Of each pipeline: the one that is being written."""
_LOOK_FPS = 2.0
"""How often a frame is looked at: one that is due and finds the writer busy makes way for one half a second later, so
that cameras whose frames are due at the same instant get their turns."""


class StoredFrames:
    """Has one frame of each pipeline written every `every_s` seconds, into a folder of its own below `root`."""

    def __init__(self, tap: Tap, writer: PictureWriter, root: Path, every_s: float, quality: int) -> None:
        """quality: of JPEG, 1 to 100."""
        self._writer, self._root, self._every_s, self._quality = writer, root, every_s, quality
        self._due: dict[str, float] = {}  # by pipeline: when the next is due, monotonic seconds
        tap.subscribe(self._offer, self._end, fps=max(_LOOK_FPS, 1 / every_s), frames=_FRAMES)

    def _offer(self, frame: Frame, record: Record) -> None:
        name = frame.pipeline
        path = f"{name}/{picture_stem(frame.ts, frame.seq)}.jpg"
        order = PictureOrder(self._root, path, self._quality)
        if frame.mono >= self._due.get(name, frame.mono) and self._writer.offer(frame, order):
            self._due[name] = frame.mono + self._every_s
        else:
            frame.release()

    def _end(self, pipeline: str) -> None:
        self._due.pop(pipeline, None)
