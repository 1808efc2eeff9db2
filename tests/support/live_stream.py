# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera on loopback that sends H.264 over HTTP, behind a network that can hold it back, slow it down, cut it off."""

from __future__ import annotations

import random
import socket
import socketserver
import threading
import time
from fractions import Fraction
from typing import Any

import pytest

from tests.support import films

_CLOCK = 90_000  # ticks a second


class LiveStream:
    """Films `fps` numbered pictures a second (see films) for each who asks. A context manager.

    taken: when the picture of this number was taken last, monotonic seconds. sent: bytes, to all. held: the network
    takes pictures in, and hands them on once it is False again. bytes_per_s: what the network lets through, None: all.
    garbled: what it hands on is noise. silent: no more pictures are taken. size: width and height of pictures from now
    on. pace: seconds that its stream says have passed, in one. interlaced: films lines of two moments; for who asks
    from now on.
    """

    scheme, container = "http", "mpegts"

    def __init__(self, fps: float = 20.0, size: tuple[int, int] = (160, 120)) -> None:
        self.fps, self.size = fps, size
        self.held = self.silent = self.garbled = self.interlaced = False
        self.pace = 1.0
        self.bytes_per_s: float | None = None
        self.taken: dict[int, float] = {}
        self.connections = 0
        self.sent = 0
        self._clients: set[socket.socket] = set()

    @property
    def url(self) -> str:
        """Where it sends."""
        return f"{self.scheme}://127.0.0.1:{self._server.server_address[1]}/live.ts"

    def cut_off(self) -> None:
        """End every connection."""
        for client in list(self._clients):
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it went before us

    def talk(self, handler: socketserver.StreamRequestHandler) -> bool:
        """Until the client wants to see; False when it has gone before."""
        while handler.rfile.readline() not in (b"\r\n", b""):
            pass
        handler.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n")
        return True

    def file(self, network: Network) -> Any:
        """Where FFmpeg writes what goes over the network."""
        return network

    def __enter__(self) -> LiveStream:
        pytest.importorskip("av")
        camera = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                if camera.talk(self):
                    camera._send(self.connection)

        self._server = _Server(("127.0.0.1", 0), Handler)
        self._on = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._on = False
        self._server.shutdown()
        self._server.server_close()

    def _send(self, client: socket.socket) -> None:
        import av

        self.connections += 1
        self._clients.add(client)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        network, began, index = Network(), time.monotonic(), 0
        options = {"flush_packets": "1"}
        container = av.open(self.file(network), "w", format=self.container, options=options)
        film = Film(container, self.size, self.interlaced)
        while self._on:
            if not self.silent:
                now = time.monotonic()
                self.taken[index % films.MAX_FRAMES] = now
                film.add(index % films.MAX_FRAMES, self.size, (now - began) * self.pace)
                index += 1
            try:
                self.sent += network.hand_on(
                    client, 0 if self.held else self.bytes_per_s, 1 / self.fps, self.garbled
                )
            except OSError:
                break  # it has gone
            time.sleep(1 / self.fps)
        self._clients.discard(client)


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, *args: Any) -> None:
        """Clients go whenever they want."""


class Network:
    """A file that is written to, and bytes that are on their way."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def write(self, data: bytes) -> int:
        """Take data in."""
        self._bytes += data
        return len(data)

    def hand_on(self, to: socket.socket, bytes_per_s: float | None, seconds: float, garbled: bool) -> int:
        """Send what these seconds let through. Returns how many bytes. Raises OSError."""
        count = len(self._bytes) if bytes_per_s is None else int(bytes_per_s * seconds)
        data = bytes(self._bytes[:count])
        del self._bytes[:count]
        to.sendall(random.randbytes(len(data)) if garbled else data)
        return len(data)


class Film:
    """Numbered pictures, encoded and written into a container; their size may change."""

    def __init__(self, container: Any, size: tuple[int, int], interlaced: bool) -> None:
        self._container, self._interlaced = container, interlaced
        self._stream = container.add_stream("libx264", rate=25)
        self._begin(self._stream.codec_context, size)

    def add(self, number: int, size: tuple[int, int], seconds: float) -> None:
        """The picture of this number, taken so many seconds after the first."""
        import av

        if (self._encoder.width, self._encoder.height) != size:
            self._begin(av.CodecContext.create("libx264", "w"), size)
        frame = av.VideoFrame.from_ndarray(films.picture(number, *size), format="bgr24")
        frame.pts, frame.time_base = round(seconds * _CLOCK), Fraction(1, _CLOCK)
        for packet in self._encoder.encode(frame):
            packet.stream, packet.time_base = self._stream, Fraction(1, _CLOCK)
            self._container.mux(packet)

    def _begin(self, encoder: Any, size: tuple[int, int]) -> None:
        encoder.width, encoder.height, encoder.pix_fmt = *size, "yuv420p"
        encoder.time_base = Fraction(1, _CLOCK)
        options = {"preset": "ultrafast", "tune": "zerolatency", "g": "10", "qp": "10"}
        if self._interlaced:
            options |= {"flags": "+ilme+ildct", "x264-params": "interlaced=1"}
        encoder.options = options
        self._encoder = encoder
