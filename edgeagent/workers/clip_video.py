# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clip as a video that a browser plays: H.264 in MP4 where FFmpeg has an encoder for it, else VP8 in WebM."""

from __future__ import annotations

import os
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import av

from edgeagent.workers.system_calls import anonymous_memory

if TYPE_CHECKING:
    from edgeagent.runtimes.port import Image

av.logging.set_level(av.logging.PANIC)  # what goes wrong is raised, and said in our words
_TIME_BASE = Fraction(1, 1000)


@dataclass(frozen=True)
class VideoForm:
    """encoder: FFmpeg's name; format, suffix: of the file; options: of the encoder, container_options: of the file."""

    encoder: str
    format: str
    suffix: str
    options: dict[str, str]
    container_options: dict[str, str]


FORMS = (
    # faststart: a browser shows it before it has all of it.
    VideoForm("libx264", "mp4", ".mp4", {"preset": "veryfast", "crf": "26"}, {"movflags": "faststart"}),
    VideoForm("libvpx", "webm", ".webm", {"deadline": "realtime", "cpu-used": "8", "crf": "20"}, {}),
)
"""The first that is there is taken."""


def available_form() -> VideoForm | None:
    """What this FFmpeg can make, None for nothing that a browser plays."""
    for form in FORMS:
        try:
            av.codec.Codec(form.encoder, "w")
        except Exception:  # noqa: BLE001  (of FFmpeg's, one for each kind of "there is none")
            continue
        return form
    return None


class ClipVideo:
    """A video that grows in memory, a picture at a time."""

    def __init__(self, form: VideoForm, width: int, height: int) -> None:
        """width, height: of its pictures, pixels; an odd one is cut by one."""
        self.form, self.width, self.height = form, max(2, width & ~1), max(2, height & ~1)
        # By a name: to put the index to the front, FFmpeg opens it anew.
        self._fd = anonymous_memory("edgeagent-clip", 1)
        path = f"/proc/self/fd/{self._fd}"
        self._container: Any = av.open(path, "w", format=form.format, options=form.container_options)
        self._stream: Any = self._container.add_stream(form.encoder, rate=15, options=form.options)
        self._stream.width, self._stream.height = self.width, self.height
        self._stream.pix_fmt = "yuv420p"  # others are none of a browser's
        self._stream.codec_context.time_base = _TIME_BASE
        self._stream.codec_context.thread_count = 1
        self._last = -1

    def add(self, image: Image, seconds: float) -> None:
        """The next picture (H×W×3, BGR, of the video's size or one pixel more); seconds: from the beginning. Raises
        ValueError."""
        frame = av.VideoFrame.from_ndarray(image[: self.height, : self.width].copy(), format="bgr24")
        # Each later than the one before, whatever the clocks said.
        frame.pts = self._last = max(self._last + 1, round(seconds * 1000))
        frame.time_base = _TIME_BASE
        try:
            self._container.mux(self._stream.encode(frame))
        except av.FFmpegError as e:
            raise ValueError(f"a picture can't be encoded: {e}") from e

    def finish(self) -> bytes:
        """All of it; nothing can be done with this one any more. Raises ValueError."""
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
            return os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        except (av.FFmpegError, OSError) as e:
            raise ValueError(f"the clip can't be finished: {e}") from e
        finally:
            self.discard()

    def discard(self) -> None:
        """It isn't wanted any more. Idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
