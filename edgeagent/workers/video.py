# SPDX-License-Identifier: AGPL-3.0-or-later
"""Video files and network cameras, decoded by FFmpeg through PyAV.

Not by OpenCV: when a frame can't be converted (interlaced video) it says that all is well and hands on what its buffer
held before; it scales a stream that changes its size to the first one; it gives no time of a frame that could be
trusted, and after a time-out the frames that the decoder still had.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import av
import numpy as np
from av.format import Flags as FormatFlags

from edgeagent.workers.source import OPEN_TIMEOUT_S, Image, SourceError, UnreadableFrameError
from edgeagent.workers.stream_clock import UNKNOWN, ArrivalClock, StreamClock

av.logging.set_level(av.logging.PANIC)  # what goes wrong is raised, and said in our words

NETWORK_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
# One decoding thread more than one delays an H.264 stream by one frame, and FFmpeg's default is one a core.
_STREAM_THREADS = 2
_IN_DECODER = 64  # packets whose frames may be yet to come
# How many times in a row FFmpeg may fail on a file before that counts as its end.
_BROKEN_READS = 64


class _Video:
    """One video stream out of what FFmpeg has opened: packets in, whole upright BGR pictures out."""

    def __init__(self, container: Any, threads: int) -> None:
        self._container = container
        self.stream = container.streams.video[0]
        self.stream.codec_context.thread_count = threads
        self.stream.thread_type = "AUTO"
        self._deinterlacer: _Deinterlacer | None = None
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.fps = float(rate) if rate and 0 < rate <= 1000 else 0.0  # 90000 is seen for "unknown"

    def packets(self) -> Iterator[Any]:
        """All packets of the container, also those of other streams; at its end an empty one for each."""
        return iter(self._container.demux())

    def decode(self, packet: Any) -> list[Any]:
        """The frames that this packet completes; of an empty packet those that are left.

        Raises UnreadableFrameError.
        """
        if packet.stream is not self.stream:
            return []
        try:
            frames = packet.decode()
        except EOFError:
            return []
        except av.FFmpegError as e:
            raise UnreadableFrameError(f"it can't be decoded ({e.strerror})") from e
        if self._deinterlacer is None and any(frame.interlaced_frame for frame in frames):
            self._deinterlacer = _Deinterlacer()
        if self._deinterlacer is None:
            return list(frames)
        return self._deinterlacer.put(frames if packet.size else [*frames, None])

    def close(self) -> None:
        """Let go of it."""
        self._container.close()


class _Deinterlacer:
    """Makes a whole picture of each frame whose lines are from two moments; others pass as they are.

    Each frame waits for the next one, with which it is compared.
    """

    def __init__(self) -> None:
        self._form: tuple[Any, ...] = ()
        self._graph: Any = None

    def put(self, frames: list[Any]) -> list[Any]:
        """Take frames in; None: the end. Returns those that are done."""
        return [done for frame in frames for done in self._put(frame)]

    def _put(self, frame: Any) -> list[Any]:
        done: list[Any] = []
        form = (frame.width, frame.height, frame.format.name) if frame else ()
        if form != self._form and self._graph:
            self._graph.push(None)
            done = self._pull()
            self._graph = None
        if frame is None:
            return done
        if self._graph is None:
            self._form, self._graph = form, self._built(frame)
        self._graph.push(frame)
        return done + self._pull()

    def _built(self, frame: Any) -> Any:
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        graph.link_nodes(
            source, graph.add("bwdif", "deint=interlaced:mode=send_frame"), graph.add("buffersink")
        )
        graph.configure()
        return graph

    def _pull(self) -> list[Any]:
        done = []
        with suppress(BlockingIOError, EOFError):
            while True:
                done.append(self._graph.pull())
        return done


class VideoFile:
    """A video file, from its first frame to its last."""

    resumable, camera, watches, age_s = True, False, False, 0.0

    def __init__(self, path: Path) -> None:
        if not os.access(path, os.R_OK):
            raise SourceError("unreadable", f"{path}: no permission to read it")
        self._path = path
        try:
            container = av.open(str(path))
        except av.FFmpegError as e:
            raise SourceError("unreadable", f"{path}: is broken, or no video ({e.strerror})") from e
        if not container.streams.video:
            container.close()
            raise SourceError("unreadable", f"{path}: is broken, or no video (it has no pictures)")
        self._video = _Video(container, threads=0)
        self.fps = self._video.fps
        # Matroska and MPEG-TS don't count frames.
        self.total = self._video.stream.frames or round((container.duration or 0) / av.time_base * self.fps)
        self.position = 0
        self._packets = self._video.packets()
        self._ready: deque[Any] = deque()
        self._frame: Any = None

    def grab(self) -> int:
        """See `Source.grab`."""
        broken = failures = 0
        while not self._ready:
            try:
                packet = next(self._packets, None)
                if packet is None:
                    return 0
                self._ready.extend(self._video.decode(packet))
            except UnreadableFrameError:
                broken += 1
            except av.FFmpegError:  # FFmpeg stops at broken data, and often goes on behind it
                failures += 1
                if failures > _BROKEN_READS:
                    return 0
                self._packets = self._video.packets()
        self._frame = self._ready.popleft()
        self.position += broken + 1
        return broken + 1

    def retrieve(self, out: Image | None) -> Image:
        """See `Source.retrieve`."""
        return _picture(self._frame)

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """See `Source.seek`."""
        # By counting: positions are times in most files, and off when the rate varies.
        while self.position < position and self.grab():
            heartbeat()

    def close(self) -> None:
        """See `Source.close`."""
        self._video.close()


class NetworkCamera:
    """A network stream. It has no end: when it gives no frame, it is lost."""

    total, resumable, camera, watches = 0, False, True, False

    def __init__(self, url: str, stall_s: float, trust_timestamps: bool = True) -> None:
        """stall_s: no frame for so long means that it is lost; trust_timestamps: else only pauses tell how old frames
        are. Raises SourceError."""
        self._stall_s = stall_s
        try:
            container = av.open(url, options=_OPTIONS, timeout=(OPEN_TIMEOUT_S, stall_s))
        except (av.FFmpegError, OSError, ValueError) as e:
            raise SourceError("absent", _why_no_stream(url, e)) from e
        if not container.streams.video:
            container.close()
            raise SourceError("absent", _why_no_stream(url, None))
        self._video = _Video(container, _STREAM_THREADS)
        self._clock: StreamClock | None = None
        if trust_timestamps and not container.format.flags & FormatFlags.no_timestamps.value:
            self._clock = StreamClock()
        self._arrivals = ArrivalClock()
        self._taken_at: dict[int | None, float] = {}  # by the packet's time, which its frame has too
        self.fps = self._video.fps
        self.position = 0
        self.age_s = 0.0
        self._packets = self._video.packets()
        self._ready: deque[Any] = deque()
        self._frame: Any = None
        if _is_picture(container.format.name):
            self._refuse_single_picture()

    def grab(self) -> int:
        """See `Source.grab`."""
        until, why = time.monotonic() + self._stall_s, ""
        while not self._ready:
            if time.monotonic() > until:
                raise SourceError(
                    "unreadable" if why else "lost", why or f"no picture for {self._stall_s:g} s"
                )
            try:
                self._ready.extend(self._video.decode(self._next_packet()))
            except UnreadableFrameError as e:
                why = f"the camera sends what is no picture: {e}"
        self._frame = self._ready.popleft()
        self.age_s = self._age_s(self._frame)
        self.position += 1
        return 1

    def retrieve(self, out: Image | None) -> Image:
        """See `Source.retrieve`."""
        return _picture(self._frame)

    def seek(self, position: int, heartbeat: Callable[[], None]) -> None:
        """See `Source.seek`: a camera has no position."""

    def close(self) -> None:
        """See `Source.close`."""
        self._video.close()

    def _next_packet(self) -> Any:
        """Raises SourceError when there is none. What FFmpeg still had then is none: it is older than it would seem."""
        began, why = time.monotonic(), "the camera ended its stream"
        try:
            packet = next(self._packets, None)
        except av.FFmpegError as e:
            packet, why = None, f"the camera's stream broke off ({e.strerror})"
        now = time.monotonic()
        if now - began >= self._stall_s:
            raise SourceError("lost", f"the camera sends nothing any more, for {self._stall_s:g} s")
        if packet is None or not packet.size:
            raise SourceError("lost", why)
        if packet.stream is self._video.stream:
            self._arrivals.arrived(now)
            self._taken_at[packet.pts] = now - self._arrivals.age_s
            if len(self._taken_at) > _IN_DECODER:
                del self._taken_at[next(iter(self._taken_at))]
            if self._clock and packet.pts is not None:
                self._clock.arrived(float(packet.pts * packet.time_base), now)
        return packet

    def _age_s(self, frame: Any) -> float:
        now = time.monotonic()
        if self._clock is None or not self._clock.begun:
            return now - self._taken_at.get(frame.pts, now)
        if frame.time is None:  # an RTSP stream's first frame may have none
            return UNKNOWN
        return self._clock.age_s(frame.time, now)

    def _refuse_single_picture(self) -> None:
        """Raises SourceError when there is no second one behind the first."""
        try:
            self._packets = chain([self._next_packet(), self._next_packet()], self._packets)
        except SourceError as e:
            self.close()
            why = "the URL gives one picture and ends: it needs one that gives a stream (RTSP, MJPEG)"
            raise SourceError("unreadable", why) from e


# FFmpeg would look at twenty frames, to tell how many a second there are, before it hands on the first. And over UDP a
# busy network loses parts of pictures.
_OPTIONS = {"fpsprobesize": "3", "rtsp_transport": "tcp"}


def _is_picture(format_name: str) -> bool:
    """Whether FFmpeg took what it opened for a file with a picture in it; a camera can be mistaken for one."""
    return format_name.endswith("_pipe") or format_name in ("image2", "gif", "webp")


def _picture(frame: Any) -> Image:
    """H×W×3 BGR, upright, where FFmpeg put it. Raises UnreadableFrameError."""
    if frame.is_corrupt:
        raise UnreadableFrameError("it is damaged: parts of it are missing")
    try:
        bgr = frame.reformat(format="bgr24")
    except (av.FFmpegError, ValueError) as e:
        raise UnreadableFrameError(f"it can't be converted from {frame.format.name} ({e})") from e
    plane = bgr.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: bgr.height, : bgr.width * 3]
    return np.rot90(rows.reshape(bgr.height, bgr.width, 3), round(frame.rotation / 90))


def _why_no_stream(url: str, error: Exception | None) -> str:
    """Names host and port only: a URL may hold a password."""
    parts = urlsplit(url)
    try:
        address = (parts.hostname or "", parts.port or NETWORK_PORTS[parts.scheme])
        with socket.create_connection(address, timeout=3):
            said = f": {error.strerror}" if isinstance(error, av.FFmpegError) else ""
            return f"{address[0]}:{address[1]} answers, but sends no video (path, login or codec?){said}"
    except (OSError, ValueError) as e:
        return f"cannot connect to {parts.hostname or 'the camera'}: {e}"
