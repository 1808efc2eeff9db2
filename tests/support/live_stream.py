# SPDX-License-Identifier: AGPL-3.0-or-later
"""An HTTP camera on loopback that sends H.264 in an MPEG transport stream, behind a network that can hold it back."""

from __future__ import annotations

import socket
import threading
import time
from fractions import Fraction
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support import films

_CLOCK = 90_000  # ticks a second


class LiveStream:
    """Films `fps` numbered pictures a second (see films) for each who asks. A context manager.

    taken: when the picture of this number was taken last, monotonic seconds. held: the network takes pictures in, and
    hands them on once it is False again. bytes_per_s: what the network lets through, None: all. silent: no more
    pictures are taken. size: width and height of pictures from now on.
    """

    def __init__(self, fps: float = 20.0, size: tuple[int, int] = (160, 120)) -> None:
        self.fps, self.size = fps, size
        self.held, self.silent = False, False
        self.bytes_per_s: float | None = None
        self.taken: dict[int, float] = {}
        self.connections = 0

    @property
    def url(self) -> str:
        """Where it sends."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/live.ts"

    def age_s(self, number: int) -> float:
        """How long ago the picture of this number was taken."""
        return time.monotonic() - self.taken[number]

    def __enter__(self) -> LiveStream:
        pytest.importorskip("av")
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera._serve(self)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._on = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._on = False
        self._server.shutdown()
        self._server.server_close()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        self.connections += 1
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp2t")
        handler.end_headers()
        handler.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        network, began, index, film = _Network(), time.monotonic(), 0, None
        while self._on:
            if not self.silent:
                if film is None or film.size != self.size:
                    film = _Film(network, self.size)
                now = time.monotonic()
                self.taken[index % films.MAX_FRAMES] = now
                film.add(index % films.MAX_FRAMES, now - began)
                index += 1
            try:
                network.hand_on(handler.connection, 0 if self.held else self.bytes_per_s, 1 / self.fps)
            except OSError:
                return  # the client has gone
            time.sleep(1 / self.fps)


class _Network:
    """A file that is written to, and bytes that are on their way."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        self._bytes += data
        return len(data)

    def hand_on(self, to: socket.socket, bytes_per_s: float | None, seconds: float) -> None:
        """Send what these seconds let through. Raises OSError."""
        count = len(self._bytes) if bytes_per_s is None else int(bytes_per_s * seconds)
        data = bytes(self._bytes[:count])
        del self._bytes[:count]
        to.sendall(data)


class _Film:
    def __init__(self, network: _Network, size: tuple[int, int]) -> None:
        av = pytest.importorskip("av")
        self._av, self.size = av, size
        self._container = av.open(network, "w", format="mpegts", options={"flush_packets": "1"})
        self._stream = self._container.add_stream("libx264", rate=25)
        self._stream.width, self._stream.height, self._stream.pix_fmt = *size, "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, _CLOCK)
        self._stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10", "qp": "10"}

    def add(self, number: int, seconds: float) -> None:
        """The picture of this number, taken so many seconds after the first."""
        frame = self._av.VideoFrame.from_ndarray(films.picture(number, *self.size), format="bgr24")
        frame.pts, frame.time_base = round(seconds * _CLOCK), Fraction(1, _CLOCK)
        self._container.mux(self._stream.encode(frame))
