# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real etcd that can be killed and frozen, and a proxy before it that can fall silent."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import threading
import time
import urllib.request
from contextlib import suppress
from pathlib import Path


def free_port() -> int:
    """A free TCP port below the ephemeral range.

    A client that keeps dialling a closed port of the ephemeral range may end up connected to itself.
    """
    for _ in range(200):
        port = random.randint(20_000, 32_000)
        with socket.socket() as s, suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    raise RuntimeError("no free port")


class Proxy:
    """Passes connections on to a port, unless it holds what comes (`silent`) or takes none (`cut`)."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._pass = threading.Event()
        self._pass.set()
        self._is_cut = False
        self._open: set[socket.socket] = set()
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def silent(self, is_silent: bool) -> None:
        """Whether nothing comes through, and nobody is told."""
        self._pass.clear() if is_silent else self._pass.set()

    def cut(self, is_cut: bool) -> None:
        """Whether every connection ends at once."""
        self._is_cut = is_cut
        if is_cut:
            self.end_connections()

    def end_connections(self) -> None:
        """Those that are open now."""
        for one in list(self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more."""
        self._listening.close()
        self.end_connections()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            self._pass.wait()
            if self._is_cut:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self._target), 2)
            except OSError:
                return
            with server:
                server.settimeout(None)
                self._open |= {client, server}
                back = threading.Thread(target=self._carry, args=(server, client), daemon=True)
                back.start()
                self._carry(client, server)
                back.join()
                self._open -= {client, server}

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._pass.wait()
                target.sendall(data)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)


class Etcd:
    """A server on ports of its own, which outlive `kill`. flags: further ones; with `secure` it also speaks TLS."""

    def __init__(self, folder: Path, *flags: str, secure: bool = False) -> None:
        folder.mkdir()
        self.data = folder / "data"
        self.port, self.secure_port = free_port(), free_port() if secure else 0
        peer = f"http://127.0.0.1:{free_port()}"
        self.peer = peer
        clients = f"http://127.0.0.1:{self.port}"
        if secure:
            clients += f",https://127.0.0.1:{self.secure_port}"
        self._command = [
            "etcd", "--name", "soak", "--log-level", "error", "--initial-cluster", f"soak={peer}",
            "--listen-client-urls", clients, "--advertise-client-urls", clients,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, *flags,
        ]  # fmt: skip
        self._log = folder / "etcd.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Until it answers."""
        with self._log.open("ab") as log:
            command = [*self._command, "--data-dir", str(self.data)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        give_up = time.monotonic() + 60
        while not self._answers():
            if time.monotonic() > give_up or self._process.poll() is not None:
                raise RuntimeError(f"etcd does not come up: {self._log.read_text()[-1000:]}")
            time.sleep(0.01)

    def _answers(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with suppress(OSError), direct.open(f"http://127.0.0.1:{self.port}/health", timeout=1) as answer:
            return b'"true"' in answer.read()
        return False

    def kill(self) -> None:
        """kill -9."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP, SIGCONT."""
        assert self._process
        self._process.send_signal(number)

    def ctl(self, *args: str) -> str:
        """What etcdctl says."""
        env = {**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": f"127.0.0.1:{self.port}"}
        return subprocess.run(["etcdctl", *args], check=True, capture_output=True, text=True, env=env).stdout
