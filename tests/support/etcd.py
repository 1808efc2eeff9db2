# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real etcd server for tests."""

from __future__ import annotations

import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.etcd_server import free_port as free_port
from tests.support.server_process import ServerProcess

PATIENCE = {"ETCDCTL_DIAL_TIMEOUT": "60s", "ETCDCTL_COMMAND_TIMEOUT": "60s"}
"""Of etcdctl, which gives up after two and five seconds of its own accord."""


class EtcdServer(ServerProcess):
    """One etcd process.

    secure: another "host:port" to listen on, with TLS as the flags say. name: its own, in a cluster.
    """

    starts_s = 60.0

    def __init__(self, folder: Path, *flags: str, secure: str = "", name: str = "test") -> None:
        super().__init__("etcd", folder)
        self.endpoint = f"127.0.0.1:{free_port()}"
        self.url = f"etcd://{self.endpoint}"
        self.name = name
        self.peer = f"http://127.0.0.1:{free_port()}"
        self.cluster = f"{name}={self.peer}"
        """All its members, as etcd is told them; to be set before the first start."""
        self._flags = flags
        self._urls = f"http://{self.endpoint}" + (f",https://{secure}" if secure else "")

    def _command(self) -> list[str]:
        return [
            "etcd", "--name", self.name, "--log-level", "error", "--data-dir", str(self._folder / "data"),
            "--listen-client-urls", self._urls, "--advertise-client-urls", self._urls,
            "--listen-peer-urls", self.peer, "--initial-advertise-peer-urls", self.peer,
            "--initial-cluster", self.cluster, *self._flags,
        ]  # fmt: skip

    def _serves(self) -> bool:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with direct.open(f"http://{self.endpoint}/health", timeout=2) as answer:
                return b'"true"' in answer.read()
        except (OSError, urllib.error.URLError):
            return False

    def stop(self) -> None:
        """End it in good order; the data stay."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def etcdctl(self, *args: str, stdin: bytes = b"") -> str:
        """The output of etcdctl, as an operator types it; fails if it fails."""
        env = {**os.environ, "ETCDCTL_API": "3", "ETCDCTL_ENDPOINTS": self.endpoint, **PATIENCE}
        done = subprocess.run(
            ["etcdctl", *args], input=stdin, capture_output=True, env=env, timeout=180, check=False
        )
        if done.returncode:
            raise RuntimeError(f"etcdctl {' '.join(args)}: {done.stderr.decode(errors='replace')}")
        return done.stdout.decode(errors="replace")


@contextmanager
def etcd_cluster(folder: Path, size: int, *flags: str) -> Iterator[list[EtcdServer]]:
    """So many members that serve together, one process each; they end with the context."""
    members = [EtcdServer(folder / f"m{n}", *flags, name=f"m{n}") for n in range(size)]
    try:
        for member in members:
            member.cluster = ",".join(f"{each.name}={each.peer}" for each in members)
            member.launch()
        for member in members:
            member.wait_until_it_serves()
        yield members
    finally:
        for member in members:
            member.kill()
