# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where frames come from: video file, folder of images, network camera, V4L2 device, the synthetic line.

Runs in the capture worker only: any call here may hang for ever (opencv #22677), and the node can kill it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qsl, unquote, urlsplit

import cv2
import numpy as np

from edgeagent.workers.source import Image, Source, SourceError, UnreadableFrameError
from edgeagent.workers.stills import ImageFolder, bgr, decoded, is_image
from edgeagent.workers.uploads import UploadFolder, Uploads

_NETWORK = ("rtsp", "rtsps", "http", "https")
_JPEG = {cv2.VideoWriter.fourcc(*"MJPG"), cv2.VideoWriter.fourcc(*"JPEG")}


def open_source(
    url: str, fps: float, read_timeout_s: float, trust_timestamps: bool = True, watch: Uploads | None = None
) -> Source:
    """Open what `url` names (see SourceConfig). fps: asked of a device that can choose, 0: its own; read_timeout_s:
    no frame of a camera for so long means that it is lost; trust_timestamps: see `NetworkCamera`; watch: a folder, and
    what is put there later, but for what this says was taken. Raises SourceError."""
    parts = urlsplit(url) if "://" in url else urlsplit("file://" + url.replace("%", "%25"))
    if parts.scheme == "synthetic":
        return Synthetic(parts.netloc, parts.query)
    if parts.scheme in _NETWORK:
        camera: Source = _video().NetworkCamera(url, read_timeout_s, trust_timestamps)
        return camera
    path = Path(unquote(parts.netloc + parts.path) if "://" in url else url)
    try:
        mode = path.stat().st_mode if path.exists() else 0
    except OSError as e:
        raise SourceError("absent", f"{path}: {e.strerror}") from e
    if stat.S_ISCHR(mode) or (not mode and path.is_relative_to("/dev")):
        return Device(path, fps)
    if not mode:
        raise SourceError("absent", f"{path}: no such file or folder")
    if watch:
        return UploadFolder(path, watch)
    if stat.S_ISDIR(mode):
        return ImageFolder.of(path)
    if is_image(path.name):
        return ImageFolder([path])
    film: Source = _video().VideoFile(path)
    return film


def _video() -> ModuleType:
    """Loaded for those who need it. Raises SourceError."""
    try:
        from edgeagent.workers import video
    except ImportError as e:
        raise SourceError(
            "unreadable", f"video needs PyAV, which can't be loaded ({e}): pip install av"
        ) from e
    return video


class Device:
    """A V4L2 device. It has no end: when it gives no frame, it is lost."""

    total, resumable, camera, watches, age_s = 0, False, True, False, 0.0

    def __init__(self, path: Path, fps: float) -> None:
        """fps: to ask it for, 0: its own. Raises SourceError."""
        self._video = cv2.VideoCapture(str(path), cv2.CAP_V4L2, [cv2.CAP_PROP_FPS, round(fps)] if fps else [])
        if not self._video.isOpened():
            raise SourceError("absent", _why_no_device(path))
        # Where OpenCV can't decode a JPEG, it hands on the picture before.
        self._jpeg = int(self._video.get(cv2.CAP_PROP_FOURCC)) in _JPEG
        if self._jpeg:
            self._video.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        own = self._video.get(cv2.CAP_PROP_FPS)
        self.fps = own if 0 < own <= 1000 else 0.0  # 90000 and -1 are seen for "unknown"
        self.position = 0

    def grab(self) -> int:
        """See `Source.grab`."""
        if not self._video.grab():
            raise SourceError("lost", "the camera sends nothing any more")
        self.position += 1
        return 1

    def retrieve(self, out: Image | None) -> Image:
        """See `Source.retrieve`."""
        ok, image = self._video.retrieve(None if self._jpeg else out)
        if not ok:
            raise UnreadableFrameError("the camera sent a frame that can't be decoded")
        return decoded(np.ravel(image), "the camera's frame") if self._jpeg else bgr(image)

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """See `Source.seek`: a camera has no position."""

    def close(self) -> None:
        """See `Source.close`."""
        self._video.release()


class Synthetic:
    """`synthetic://conveyor?seed=&fps=&width=&height=`: a rendered packaging line; endless, and the same every time."""

    total, resumable, camera, watches, age_s = 0, True, False, False, 0.0

    def __init__(self, scene: str, query: str) -> None:
        from edgeagent.scenes.conveyor import Conveyor

        numbers = {"seed": 0.0, "fps": 30.0, "width": 640.0, "height": 360.0}
        try:
            if scene != "conveyor":
                raise ValueError(f"{scene!r} is not a scene; known is conveyor")
            for key, value in parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query)):
                if key not in numbers:
                    raise ValueError(f"{key!r} is not known; allowed: {', '.join(numbers)}")
                numbers[key] = float(value)
            seed, fps, width, height = numbers.values()
            self._scene = Conveyor(int(seed), int(width), int(height), fps)
        except (ValueError, OverflowError) as e:
            raise SourceError("absent", f"synthetic source: {e}") from e
        self.fps = fps
        self.position = 0

    def grab(self) -> int:
        """See `Source.grab`."""
        self.position += 1
        return 1

    def retrieve(self, out: Image | None) -> Image:
        """See `Source.retrieve`."""
        fits = out is not None and out.shape == (self._scene.height, self._scene.width, 3)
        return self._scene.frame(self.position - 1, out if fits else None)

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """See `Source.seek`."""
        self.position = position

    def close(self) -> None:
        """See `Source.close`."""


def _why_no_device(path: Path) -> str:
    if not path.exists():
        return f"{path}: no such device"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path}: no permission (is this user in the group video?)"
    return f"{path}: gives no video (in use by another program, or not a camera)"
