# SPDX-License-Identifier: AGPL-3.0-or-later
"""A picture as JPEG, in a worker; OpenCV is imported with the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeagent.runtimes.port import Image


def encode_jpeg(image: Image, quality: int) -> bytes:
    """`image` (H×W×3, BGR) as JPEG of this quality, 1 to 100. Raises ValueError for a size that JPEG doesn't have."""
    import cv2

    cv2.setNumThreads(1)
    try:
        done, data = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, quality))
    except cv2.error as e:
        raise ValueError(f"a picture of {image.shape[1]}x{image.shape[0]} can't be JPEG: {e}") from e
    if not done:
        raise ValueError(f"a picture of {image.shape[1]}x{image.shape[0]} can't be JPEG")
    return data.tobytes()
