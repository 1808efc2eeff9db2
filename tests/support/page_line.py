# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node with a real film on its line, slow enough to be watched beside a browser on a small machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest

from edgeagent.scenes.conveyor import Conveyor
from tests.support.line import NodeHarness

FPS = 8
BOXES = [(20.0, 24.0, 14.0, 14.0, 0.9), (46.0, 40.0, 16.0, 12.0, 0.7)]
"""Where the tiny networks find something, whatever the film shows: x, y, width, height of 64, score."""


def conveyor_film(path: Path, frames: int = 48, width: int = 640, height: int = 360, seed: int = 7) -> Path:
    """Write a film (MPEG-4, 24 frames a second) of the rendered packaging line."""
    pytest.importorskip("av")  # which reads it
    line = Conveyor(seed, width, height, fps=24)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*"mp4v"), 24, (width, height))
    assert writer.isOpened()
    for index in range(frames):
        writer.write(line.frame(index))
    writer.release()
    return path


class PageLine(NodeHarness):
    """Its one pipeline runs a film again and again, as a live camera would; v1 to v3 find different classes."""

    def __init__(self, folder: Path, **update: Any) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        film = conveyor_film(folder / "film.mp4")
        super().__init__(folder, {"url": str(film), "loop": True, "live": True, "fps": FPS}, **update)

    def publish_finding(self, version: str, cls: int = 0, **changes: Any) -> None:
        """A version whose network finds BOXES as class `cls`, of those in tests.support.weights.NAMES."""
        self.publish(version, boxes=[(*box, cls) for box in BOXES], **changes)
