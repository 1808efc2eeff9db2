# SPDX-License-Identifier: AGPL-3.0-or-later
"""The pictures of a data set, opened. Whoever calls this may be killed by what a picture holds, but for its bounds."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edgeagent.datasets.files import MAX_PICTURE_BYTES, read_bytes
from edgeagent.errors import UsageError
from edgeagent.runtimes.port import Image

MAX_PIXELS = 100_000_000


def read_picture(path: Path) -> Image:
    """A picture as H×W×3, BGR, however it is stored. Raises UsageError when it can't be opened, or is too large."""
    data = read_bytes(path, MAX_PICTURE_BYTES)
    _check_size(data, path)
    try:
        found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        found = None
    if found is None or not found.size:
        raise UsageError(
            f"picture {path}", "can't be opened as a picture", "replace it, or take it out of the set"
        )
    return np.asarray(found, np.uint8)


def _check_size(data: bytes, path: Path) -> None:
    """Of a PNG, which can stand for gigabytes of one colour, before it is unpacked."""
    if (
        len(data) > 24 and data[:8] == b"\x89PNG\r\n\x1a\n"
    ):  # then length and name of the header, width, height
        width, height = int.from_bytes(data[16:20]), int.from_bytes(data[20:24])
        if width * height > MAX_PIXELS:
            why = f"has {width}×{height} pixels, more than {MAX_PIXELS}"
            raise UsageError(f"picture {path}", why, "is it what it should be?")
