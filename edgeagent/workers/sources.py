# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where frames come from: video file, folder of images, network camera, V4L2 device, the synthetic line.

Runs in the capture worker only: any call here may hang for ever (opencv #22677), and the node can kill it.
"""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]  # H×W×3, BGR

OPEN_TIMEOUT_S = 15.0  # a camera may send a key frame every few seconds only
IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})
_NETWORK = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
# One decoding thread more than one delays an H.264 stream by one frame, and FFmpeg's default is one a core.
_STREAM_THREADS = 2
# How many frames in a row FFmpeg may fail on in the middle of a file before that counts as its end.
_BROKEN_FRAMES = 64


class SourceError(Exception):
    """The source gives nothing now. why: the cause, without credentials."""

    def __init__(self, state: Literal["absent", "lost", "unreadable"], why: str) -> None:
        super().__init__(why)
        self.state = state
        self.why = why


class UnreadableFrameError(Exception):
    """One frame can't be decoded; the next may."""


class Source(Protocol):
    """An open source.

    fps: frames a second of its own, 0 if it has none; total: frames of a pass, 0 if unknown or endless; resumable: a
    position can be found again after a restart; camera: it gives frames at its own rate, and can freeze; position:
    index of the frame that the next `grab` takes, from 0.
    """

    fps: float
    total: int
    resumable: bool
    camera: bool
    position: int

    def grab(self) -> int:
        """Take the next frame, not decoded as yet where that can be told apart. Returns how many frames that took:
        1, or more when some before it can't be decoded; 0 at the end. Raises SourceError when the source is gone."""

    def retrieve(self, out: Image | None) -> Image:
        """The frame taken: in `out` (which is returned) when it has the frame's shape, else in a new array where
        the source can write in place. Raises UnreadableFrameError."""

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """Go to `position`, or to the end. Calls `heartbeat` now and then, for it may take long."""

    def close(self) -> None:
        """Let go of the file or device."""


def open_source(url: str, fps: float, read_timeout_s: float) -> Source:
    """Open what `url` names (see SourceConfig). fps: asked of a device that can choose, 0: its own; read_timeout_s:
    no frame of a camera for so long means that it is lost. Raises SourceError."""
    parts = urlsplit(url) if "://" in url else urlsplit("file://" + url.replace("%", "%25"))
    if parts.scheme == "synthetic":
        return Synthetic(parts.netloc, parts.query)
    if parts.scheme in _NETWORK:
        options = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(OPEN_TIMEOUT_S * 1000)]
        options += [cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(read_timeout_s * 1000)]
        options += [cv2.CAP_PROP_N_THREADS, _STREAM_THREADS]
        return Camera(url, cv2.CAP_FFMPEG, options, lambda: _why_no_stream(url))
    path = Path(unquote(parts.netloc + parts.path) if "://" in url else url)
    try:
        mode = path.stat().st_mode if path.exists() else 0
    except OSError as e:
        raise SourceError("absent", f"{path}: {e.strerror}") from e
    if stat.S_ISCHR(mode) or (not mode and path.is_relative_to("/dev")):
        options = [cv2.CAP_PROP_FPS, round(fps)] if fps else []
        return Camera(str(path), cv2.CAP_V4L2, options, lambda: _why_no_device(path))
    if not mode:
        raise SourceError("absent", f"{path}: no such file or folder")
    if stat.S_ISDIR(mode):
        return ImageFolder.of(path)
    return ImageFolder([path]) if _is_image(path.name) else VideoFile(path)


class ImageFolder:
    """Images as frames; they may differ in size."""

    fps, resumable, camera = 0.0, True, False

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.total = len(paths)
        self.position = 0

    @classmethod
    def of(cls, folder: Path) -> ImageFolder:
        """The images of `folder` as they are now, in natural order of their names (2 before 10). Raises SourceError."""
        try:
            names = [e.name for e in os.scandir(folder) if _is_image(e.name) and e.is_file()]
        except OSError as e:
            raise SourceError("absent", f"{folder}: {e.strerror}") from e
        if not names:
            raise SourceError("absent", f"{folder}: holds no images ({' '.join(sorted(IMAGE_SUFFIXES))})")
        return cls([folder / name for name in sorted(names, key=_natural)])

    def grab(self) -> int:
        """See `Source.grab`."""
        if self.position >= self.total:
            return 0
        self.position += 1
        return 1

    def retrieve(self, out: Image | None) -> Image:
        """See `Source.retrieve`."""
        # Not cv2.imread(path, out): for a file that it can't read it returns `out` as it was, the frame before.
        path = self._paths[self.position - 1]
        try:
            data = np.fromfile(path, np.uint8)
            image = cv2.imdecode(data, cv2.IMREAD_COLOR)
        except OSError as e:
            raise UnreadableFrameError(f"{path}: {e.strerror}") from e
        except cv2.error as e:  # an empty file, or more pixels than OpenCV takes
            raise UnreadableFrameError(f"{path}: {e.err}") from e
        if image is None:
            raise UnreadableFrameError(f"{path}: is broken, or no image")
        return _bgr(image)

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """See `Source.seek`."""
        self.position = min(position, self.total)

    def close(self) -> None:
        """See `Source.close`."""


class VideoFile:
    """A video file, from its first frame to its last."""

    resumable, camera = True, False

    def __init__(self, path: Path) -> None:
        if not os.access(path, os.R_OK):
            raise SourceError("unreadable", f"{path}: no permission to read it")
        self._path = path
        self._video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._video.isOpened():
            raise SourceError("unreadable", f"{path}: is broken, or no video")
        self.fps = _own_fps(self._video)
        self.total = max(0, int(self._video.get(cv2.CAP_PROP_FRAME_COUNT)))
        self.position = 0

    def grab(self) -> int:
        """See `Source.grab`."""
        # FFmpeg stops at broken data, and often goes on behind it. At the end of the file there is nothing behind;
        # the count in the header is no more than a hint.
        for taken in range(1, min(_BROKEN_FRAMES, max(1, self.total - self.position)) + 1):
            if self._video.grab():
                self.position += taken
                return taken
        return 0

    def retrieve(self, out: Image | None) -> Image:
        """See `Source.retrieve`."""
        ok, image = self._video.retrieve(out)
        if not ok:
            raise UnreadableFrameError(f"{self._path}: frame {self.position - 1} can't be decoded")
        return _bgr(image)

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """See `Source.seek`."""
        # By counting: CAP_PROP_POS_FRAMES computes a time from the frame rate, and is off when the rate varies.
        while self.position < position and self.grab():
            heartbeat()

    def close(self) -> None:
        """See `Source.close`."""
        self._video.release()


class Camera:
    """A network stream or a V4L2 device. It has no end: when it gives no frame, it is lost."""

    total, resumable, camera = 0, False, True

    def __init__(self, address: str, api: int, options: list[int], why_not: Callable[[], str]) -> None:
        self._video = cv2.VideoCapture(address, api, options)
        if not self._video.isOpened():
            raise SourceError("absent", why_not())
        self.fps = _own_fps(self._video)
        self.position = 0

    def grab(self) -> int:
        """See `Source.grab`."""
        if not self._video.grab():
            raise SourceError("lost", "the camera sends nothing any more")
        self.position += 1
        return 1

    def retrieve(self, out: Image | None) -> Image:
        """See `Source.retrieve`."""
        ok, image = self._video.retrieve(out)
        if not ok:
            raise UnreadableFrameError("the camera sent a frame that can't be decoded")
        return _bgr(image)

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """See `Source.seek`: a camera has no position."""

    def close(self) -> None:
        """See `Source.close`."""
        self._video.release()


class Synthetic:
    """`synthetic://conveyor?seed=&fps=&width=&height=`: a rendered packaging line; endless, and the same every time."""

    total, resumable, camera = 0, True, False

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


def _is_image(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def _natural(name: str) -> list[tuple[int, str]]:
    """Sort key: numbers in a name by their value, the rest as text."""
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
    return [*parts, (-2, name)]


def _bgr(image: NDArray[Any]) -> Image:
    """A decoded picture as three bytes a pixel, without a copy if it is that already. Raises UnreadableFrameError."""
    if image.dtype != np.uint8:
        raise UnreadableFrameError(f"pixels of type {image.dtype}; 8 bits a channel are needed")
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)


def _own_fps(video: cv2.VideoCapture) -> float:
    fps = video.get(cv2.CAP_PROP_FPS)
    return fps if 0 < fps <= 1000 else 0.0  # 90000 and -1 are seen for "unknown"


def _why_no_stream(url: str) -> str:
    """The reason that OpenCV doesn't give. Names host and port only: a URL may hold a password."""
    parts = urlsplit(url)
    try:
        address = (parts.hostname or "", parts.port or _NETWORK[parts.scheme])
        with socket.create_connection(address, timeout=3):
            return f"{address[0]}:{address[1]} answers, but sends no video (path, login or codec?)"
    except (OSError, ValueError) as e:
        return f"cannot connect to {parts.hostname or 'the camera'}: {e}"


def _why_no_device(path: Path) -> str:
    if not path.exists():
        return f"{path}: no such device"
    if not os.access(path, os.R_OK | os.W_OK):
        return f"{path}: no permission (is this user in the group video?)"
    return f"{path}: gives no video (in use by another program, or not a camera)"
