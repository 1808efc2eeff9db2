# SPDX-License-Identifier: AGPL-3.0-or-later
"""What receives a line's records, in processes of their own: a web server, one that never answers, and a broker."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from bench.etcd_server import free_port
from edgeagent.sinks.registry import sink_names
from edgeagent.testing import wait_for

_SBIN = "/usr/sbin/mosquitto"


class _Takes(BaseHTTPRequestHandler):
    """Takes whatever is posted."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Read it, and say so."""
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is written down."""


def main() -> None:
    """Serve at the lowest priority until stdin ends; say the port."""
    os.nice(19)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Takes)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextmanager
def all_sinks(folder: Path) -> Iterator[list[dict[str, Any]]]:
    """Sinks of every kind there is, as a pipeline's configuration has them, beside the one that is measured with; their
    receivers are there while the context lasts. The webhook named `dead` has one that never answers."""
    folder.mkdir(parents=True, exist_ok=True)
    known, sinks = sink_names(), list[dict[str, Any]]()
    with ExitStack() as stack:
        sinks.append({"type": "log"})
        if "csv" in known:
            sinks.append({"type": "csv", "path": str(folder / "records.csv")})
        if "snapshot" in known:
            sinks.append({"type": "snapshot", "path": str(folder / "snapshots")})
        if "webhook" in known:
            silent = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=64))
            alive = stack.enter_context(_web_server())
            for name, port in (("alive", alive), ("dead", silent.getsockname()[1])):
                sinks.append({"type": "webhook", "name": name, "url": f"http://127.0.0.1:{port}/{name}"})
        if "mqtt" in known and (program := shutil.which("mosquitto") or (Path(_SBIN).exists() and _SBIN)):
            port = stack.enter_context(_broker(program, folder))
            sinks.append({"type": "mqtt", "url": f"mqtt://127.0.0.1:{port}"})
        yield sinks


@contextmanager
def _web_server() -> Iterator[int]:
    command = [sys.executable, "-m", "bench.view_receivers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def _broker(program: str, folder: Path) -> Iterator[int]:
    port, config = free_port(), folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    command = ["nice", "-n", "19", program, "-c", str(config)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for(lambda: _answers(port), "mosquitto")
            yield port
        finally:
            process.kill()


def _answers(port: int) -> bool:
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
