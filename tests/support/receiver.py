# SPDX-License-Identifier: AGPL-3.0-or-later
"""A receiver of webhooks: in a thread, told what to answer; or as a process that can be killed, which keeps a file."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from edgeagent.core.webhook import check_delivery
from tests.support.etcd import free_port
from tests.support.server_process import ServerProcess

SECRET = "a secret that both sides know"
Answer = tuple[int, dict[str, str], bytes]
"""Status, headers, body."""


class Receiver(ThreadingHTTPServer):
    """Checks signatures as a node does, and keeps what came. answer(body): what is said to each; by default 200.

    While `goes_on` is cleared nothing is answered.
    """

    daemon_threads = True

    def __init__(self, port: int = 0, on_body: Callable[[bytes], None] = lambda body: None) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.posts: list[tuple[dict[str, str], bytes]] = []
        self.taken: list[Any] = []
        """The bodies that were answered with 200, decoded."""
        self.answer: Callable[[bytes], Answer] = lambda body: (200, {}, b"")
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.on_body = on_body

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.server_address[1]}/in"

    def records(self) -> list[Any]:
        """Of all batches that were taken, in order."""
        return [record for body in list(self.taken) for record in body["records"]]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Who posts may go away."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.goes_on.wait()
        self.server.posts.append((headers, body))
        if "x-edgeagent-signature" in headers:
            check_delivery("generic", SECRET, headers, body, now=time.time(), tolerance_s=300)
        status, more, answer = self.server.answer(body)
        if status == 200:
            self.server.taken.append(json.loads(body))
            self.server.on_body(body)
        self.send_response(status)
        for name, value in {"Content-Length": str(len(answer)), **more}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver in a thread of this process."""
    receiver = Receiver()
    threading.Thread(target=receiver.serve_forever, args=[0.02], daemon=True).start()
    try:
        yield receiver
    finally:
        receiver.goes_on.set()
        receiver.shutdown()
        receiver.server_close()


class ReceiverProcess(ServerProcess):
    """The same as a process of its own. What it took is in a file, a line each, before it answers."""

    starts_s = 60.0

    def __init__(self, folder: Path) -> None:
        super().__init__("receiver", folder)
        self.port = free_port()
        self.file = folder / "taken.jsonl"

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}/in"

    def records(self) -> list[Any]:
        """Of all batches that were taken, in order."""
        # A last line without its end is still being written.
        lines = self.file.read_bytes().split(b"\n")[:-1] if self.file.exists() else []
        return [record for line in lines for record in json.loads(line)["records"]]

    def _command(self) -> Sequence[str]:
        return [sys.executable, "-m", "tests.support.receiver", str(self.port), str(self.file)]

    def _serves(self) -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0


def _main(port: int, path: Path) -> None:
    with path.open("ab", buffering=0) as f:
        Receiver(port, lambda body: _append(f.write, body)).serve_forever()


def _append(write: Callable[[bytes], int], body: bytes) -> None:
    write(body + b"\n")


if __name__ == "__main__":
    _main(int(sys.argv[1]), Path(sys.argv[2]))
