# SPDX-License-Identifier: AGPL-3.0-or-later
"""A picture as JPEG, in a worker, where OpenCV is imported with the first; and texts in such files, for anyone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeagent.runtimes.port import Image

_BEGIN, _COMMENT = b"\xff\xd8", b"\xff\xfe"
MAX_COMMENT_BYTES = 4096


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


def with_comment(jpeg: bytes, text: str) -> bytes:
    """The same picture with a text in it, at its beginning. Raises ValueError for what is no JPEG, or too long."""
    data = text.encode()
    if not jpeg.startswith(_BEGIN) or len(data) > MAX_COMMENT_BYTES:
        raise ValueError(f"no JPEG, or a text of more than {MAX_COMMENT_BYTES} bytes")
    return b"".join((_BEGIN, _COMMENT, (len(data) + 2).to_bytes(2), data, jpeg[2:]))


def read_comment(path: Path) -> str:
    """The text that `with_comment` put into a file; "" where there is none. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(6)
        if head[:4] != _BEGIN + _COMMENT or len(head) < 6:
            return ""
        return file.read(min(int.from_bytes(head[4:]) - 2, MAX_COMMENT_BYTES)).decode("utf-8", "replace")
