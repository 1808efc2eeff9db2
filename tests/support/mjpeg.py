# SPDX-License-Identifier: AGPL-3.0-or-later
"""An HTTP camera on loopback that sends MJPEG, and can freeze, fall silent, go away and come back."""

from __future__ import annotations

import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import cv2
import numpy as np
import pytest

_BOUNDARY = "frame"


class MjpegCamera:
    """Sends pictures of growing brightness, `fps` a second, to whoever asks. A context manager.

    moving: False sends the same picture again and again; silent: True keeps connections open and sends nothing.
    """

    def __init__(self, fps: float = 25.0, width: int = 160, height: int = 120) -> None:
        self.fps, self.width, self.height = fps, width, height
        self.moving, self.silent = True, False
        self.connections = 0
        self._server: ThreadingHTTPServer | None = None
        self._port = 0
        self._clients: set[socket.socket] = set()

    @property
    def url(self) -> str:
        """Where it sends; the same after it came back."""
        return f"http://127.0.0.1:{self._port}/video"

    @property
    def picture_url(self) -> str:
        """Where it gives one picture."""
        return f"http://127.0.0.1:{self._port}/snapshot.jpg"

    def start(self) -> None:
        """Listen, on the port of the first time."""
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera._serve(self)

            def log_message(self, *args: Any) -> None:
                pass

        pytest.importorskip("av")  # which watches it
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), Handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """Go away: close the port and every connection."""
        server, self._server = self._server, None
        if server:
            server.shutdown()
            server.server_close()
        for client in list(self._clients):
            try:
                client.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it went before us

    def __enter__(self) -> MjpegCamera:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        server = self._server
        if handler.path.endswith(".jpg"):
            self._send_picture(handler)
            return
        self._clients.add(handler.connection)
        self.connections += 1
        handler.send_response(200)
        handler.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
        handler.end_headers()
        index = 0
        try:
            while server is self._server:
                if not self.silent:
                    index += self.moving
                    handler.wfile.write(self._part(index))
                time.sleep(1 / self.fps)
        except OSError:
            pass  # the client has gone
        finally:
            self._clients.discard(handler.connection)

    def _send_picture(self, handler: BaseHTTPRequestHandler) -> None:
        jpeg = self._jpeg(1)
        handler.send_response(200)
        handler.send_header("Content-Type", "image/jpeg")
        handler.send_header("Content-Length", str(len(jpeg)))
        handler.end_headers()
        handler.wfile.write(jpeg)

    def _part(self, index: int) -> bytes:
        jpeg = self._jpeg(index)
        head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
        return head.encode() + jpeg + b"\r\n"

    def _jpeg(self, index: int) -> bytes:
        picture = np.full((self.height, self.width, 3), index * 5 % 250, np.uint8)
        return cv2.imencode(".jpg", picture)[1].tobytes()
