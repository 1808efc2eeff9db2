# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures in files as frames: one, or a folder of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeagent.workers.source import Image, SourceError, UnreadableFrameError

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})


class ImageFolder:
    """Images as frames; they may differ in size."""

    fps, resumable, camera, watches, age_s = 0.0, True, False, False, 0.0

    def __init__(self, paths: list[Path]) -> None:
        self._paths = paths
        self.total = len(paths)
        self.position = 0

    @classmethod
    def of(cls, folder: Path) -> ImageFolder:
        """The images of `folder` as they are now, in natural order of their names (2 before 10). Raises SourceError."""
        try:
            names = [e.name for e in os.scandir(folder) if is_image(e.name) and e.is_file()]
        except OSError as e:
            raise SourceError("absent", f"{folder}: {e.strerror}") from e
        if not names:
            raise SourceError("absent", f"{folder}: holds no images ({' '.join(sorted(IMAGE_SUFFIXES))})")
        return cls([folder / name for name in sorted(names, key=natural)])

    def grab(self) -> int:
        """See `Source.grab`."""
        if self.position >= self.total:
            return 0
        self.position += 1
        return 1

    def retrieve(self, out: Image | None) -> Image:
        """See `Source.retrieve`."""
        return read_picture(self._paths[self.position - 1])

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """See `Source.seek`."""
        self.position = min(position, self.total)

    def close(self) -> None:
        """See `Source.close`."""


def is_image(name: str) -> bool:
    """Whether a file of this name is taken for a picture."""
    return not name.startswith(".") and Path(name).suffix.lower() in IMAGE_SUFFIXES


def natural(name: str) -> list[tuple[int, str]]:
    """Sort key: numbers in a name by their value, the rest as text."""
    parts = [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
    return [*parts, (-2, name)]


def read_picture(path: Path) -> Image:
    """The picture in a file. Raises UnreadableFrameError."""
    # Not cv2.imread(path, out): for a file that it can't read it returns `out` as it was, the frame before.
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as e:
        raise UnreadableFrameError(f"{path}: {e.strerror}") from e
    return decoded(data, str(path))


def decoded(data: NDArray[np.uint8], name: str) -> Image:
    """The picture in the bytes of a file; `name` says of which. Raises UnreadableFrameError."""
    if not data.size:
        raise UnreadableFrameError(f"{name}: is empty, 0 bytes")
    try:
        image = cv2.imdecode(data, cv2.IMREAD_COLOR)
    except cv2.error as e:  # more pixels than OpenCV takes
        raise UnreadableFrameError(f"{name}: {e.err}") from e
    if image is None:
        raise UnreadableFrameError(f"{name}: is broken, or no image")
    return bgr(image)


def bgr(image: NDArray[Any]) -> Image:
    """A decoded picture as three bytes a pixel, without a copy if it is that already. Raises UnreadableFrameError."""
    if image.dtype != np.uint8:
        raise UnreadableFrameError(f"pixels of type {image.dtype}; 8 bits a channel are needed")
    return image if image.ndim == 3 else cv2.cvtColor(image, cv2.COLOR_GRAY2BGR).astype(np.uint8, copy=False)
