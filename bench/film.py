# SPDX-License-Identifier: AGPL-3.0-or-later
"""The video file that throughput is measured with: the demo's conveyor, 1280×720."""

from __future__ import annotations

from pathlib import Path

import cv2

from edgeagent.scenes.conveyor import Conveyor

FRAMES = 600
SIZE = (1280, 720)


def film(folder: Path, frames: int = FRAMES) -> Path:
    """An MPEG-4 file of so many frames under `folder`, unless it is there."""
    path = folder / f"conveyor-720p-{frames}.mp4"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        scene = Conveyor(seed=7, width=SIZE[0], height=SIZE[1])
        partial = path.with_suffix(".part.mp4")
        writer = cv2.VideoWriter(str(partial), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 30.0, SIZE)
        if not writer.isOpened():
            raise RuntimeError("OpenCV can't write MPEG-4 here")
        for index in range(frames):
            writer.write(scene.frame(index))
        writer.release()
        partial.rename(path)
    return path
