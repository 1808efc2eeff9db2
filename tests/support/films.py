# SPDX-License-Identifier: AGPL-3.0-or-later
"""Video files and folders of images whose every frame says its number, by its brightness."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

MAX_FRAMES = 100


def picture(index: int, width: int = 160, height: int = 120) -> NDArray[np.uint8]:
    """Frame `index`, below MAX_FRAMES: the left half shows its tens, the right half its ones."""
    image = np.empty((height, width, 3), np.uint8)
    image[:, : width // 2] = 20 + 20 * (index // 10)
    image[:, width // 2 :] = 20 + 20 * (index % 10)
    return image


def number(image: NDArray[np.uint8]) -> int:
    """The index that a frame says it has; what lossy coding does to a digit is less than half a step."""
    width = image.shape[1]
    tens, ones = image[:, : width // 2 - 16], image[:, width // 2 + 16 :]
    return 10 * round((float(tens.mean()) - 20) / 20) + round((float(ones.mean()) - 20) / 20)


def video(path: Path, frames: int, fps: float = 25.0) -> Path:
    """Write a file of `frames` frames: MJPEG for .avi, MPEG-4 (with predicted frames) for .mp4, else FFV1."""
    assert frames <= MAX_FRAMES
    pytest.importorskip("av")  # which reads it
    codec = {".avi": "MJPG", ".mp4": "mp4v"}.get(path.suffix, "FFV1")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter_fourcc(*codec), fps, (160, 120))
    assert writer.isOpened()
    for i in range(frames):
        writer.write(picture(i))
    writer.release()
    return path


def interlaced(path: Path, frames: int, codec: str = "libx264") -> Path:
    """Write a film whose frames each hold lines of two moments."""
    av = pytest.importorskip("av")
    flags = {"flags": "+ilme+ildct"} | ({"x264-params": "interlaced=1"} if codec == "libx264" else {})
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=flags)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 160, 128, "yuv420p", 4_000_000
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(i, 160, 128), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def folder(path: Path, frames: int) -> Path:
    """Write `frames` images named so that natural and plain sorting differ: 0.png ... 10.png."""
    path.mkdir()
    for i in range(frames):
        assert cv2.imwrite(str(path / f"part {i}.png"), picture(i))
    return path
