# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real etcd server for tests."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType


def free_port() -> int:
    """A free TCP port below the ephemeral range.

    A client that keeps dialling a closed port of the ephemeral range may end up connected to itself.
    """
    for _ in range(200):
        port = random.randint(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port")


class EtcdServer:
    """One etcd process on ports and a data folder of its own, which outlive `kill`: `start` brings it back.

    Use it as a context manager. Start it from the main thread: it dies with the thread that started it.
    secure: another "host:port" to listen on, with TLS as the flags say.
    """

    def __init__(self, folder: Path, *flags: str, secure: str = "") -> None:
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.url = f"etcd://{self.endpoint}"
        self._peer = f"http://127.0.0.1:{free_port()}"
        self._folder = folder
        self._flags = flags
        self._urls = f"http://{self.endpoint}" + (f",https://{secure}" if secure else "")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> EtcdServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, deadline_s: float = 60.0) -> None:
        """Start it and wait until it serves."""
        with_parent = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        command = [
            *with_parent, "etcd", "--name", "test", "--log-level", "error", "--data-dir", str(self._folder / "data"),
            "--listen-client-urls", self._urls, "--advertise-client-urls", self._urls,
            "--listen-peer-urls", self._peer, "--initial-advertise-peer-urls", self._peer,
            "--initial-cluster", f"test={self._peer}", *self._flags,
        ]  # fmt: skip
        self._folder.mkdir(parents=True, exist_ok=True)
        log_path = self._folder / "etcd.log"
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        give_up = time.monotonic() + deadline_s
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.kill()
                raise RuntimeError(f"etcd does not come up:\n{log_path.read_text()[-2000:]}")
            time.sleep(0.05)

    def _healthy(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"http://{self.endpoint}/health", timeout=2) as answer:
                return b'"true"' in answer.read()
        except (OSError, urllib.error.URLError):
            return False

    def kill(self) -> None:
        """kill -9; the data stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """End it in good order; the data stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def freeze(self) -> None:
        """Stop the process without a word to its clients, as a broken network does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "etcd does not run"
        self._process.send_signal(number)

    def etcdctl(self, *args: str, stdin: bytes = b"") -> str:
        """The output of etcdctl, as an operator types it; fails if it fails."""
        env = {**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": self.endpoint}
        done = subprocess.run(
            ["etcdctl", *args], input=stdin, capture_output=True, env=env, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"etcdctl {' '.join(args)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace")
