# SPDX-License-Identifier: AGPL-3.0-or-later
"""A model store over HTTP, on a free port, that can misbehave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

CHUNK = 64 << 10


@dataclass
class HttpStore:
    """The server's address, its faults, and what was asked of it. Faults may be switched at any time.

    only: the faults hit paths that contain this. cut_after: close the connection after that many bytes of each
    body; cuts: how many times (None: always). hang_after: send nothing more after that many bytes of the body
    (-1: no answer at all). chunk_pause_s: wait before each 64 KiB. status: answer with it. ranges: know the
    Range header. answers_range: status and Content-Range ("" for none) with which a request for a range is answered,
    whatever the body, which begins where it was asked for. content_type, encoding: headers of the answer. asked:
    (path, Range header or "") of each GET.
    """

    url: str
    only: str = ""
    cut_after: int | None = None
    cuts: int | None = None
    hang_after: int | None = None
    chunk_pause_s: float = 0.0
    status: int | None = None
    ranges: bool = True
    answers_range: tuple[int, str] | None = None
    content_type: str = ""
    encoding: str = ""
    redirect: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)


@contextmanager
def http_store(folder: Path) -> Iterator[HttpStore]:
    """Serve `folder` until the block ends."""
    store = HttpStore("")
    handler = type("Handler", (_Handler,), {"store": store})
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        server.daemon_threads = True
        store.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield store
        finally:
            store.closing.set()
            server.shutdown()
            thread.join()


class _Handler(SimpleHTTPRequestHandler):
    store: HttpStore

    def do_GET(self) -> None:
        """Answer as the faults say."""
        store = self.store
        store.asked.append((self.path, self.headers.get("Range", "")))
        faulty = store.only in self.path
        if faulty and store.hang_after == -1:
            store.closing.wait()
        elif faulty and store.status is not None:
            self.send_error(store.status)
        elif faulty and store.redirect:
            self.send_response(302)
            self.send_header("Location", store.redirect + self.path)
            self.end_headers()
        elif Path(self.translate_path(self.path)).is_dir():
            super().do_GET()
        else:
            self._send_file(Path(self.directory, unquote(urlsplit(self.path).path).lstrip("/")), faulty)

    def _send_file(self, path: Path, faulty: bool) -> None:
        try:
            data = path.read_bytes()
        except OSError:
            self.send_error(404)
            return
        start, wanted = 0, self.headers.get("Range", "")
        if self.store.ranges and wanted:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            if start >= len(data):
                self.send_error(416)
                return
            status, content_range = self.store.answers_range or (
                206,
                f"bytes {start}-{len(data) - 1}/{len(data)}",
            )
            self.send_response(status)
            if content_range:
                self.send_header("Content-Range", content_range)
        else:
            self.send_response(200)
        self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
        if faulty and self.store.content_type:
            self.send_header("Content-Type", self.store.content_type)
        if faulty and self.store.encoding:
            self.send_header("Content-Encoding", self.store.encoding)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        try:
            self._send_body(data[start:], faulty)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send_body(self, body: bytes, faulty: bool) -> None:
        store = self.store
        cut = store.cut_after if faulty and store.cuts != 0 else None
        hang = store.hang_after if faulty else None
        limit = min(x for x in (cut, hang, len(body)) if x is not None)
        for at in range(0, limit, CHUNK):
            if faulty and store.chunk_pause_s:
                store.closing.wait(store.chunk_pause_s)
            self.wfile.write(body[at : min(at + CHUNK, limit)])
        if limit == len(body):
            return
        if limit == hang:
            store.closing.wait()
        elif store.cuts is not None:
            store.cuts -= 1
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""
