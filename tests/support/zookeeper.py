# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real ZooKeeper server for tests: Debian's package, started without its scripts."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from kazoo.client import KazooClient

from tests.support.etcd import free_port

JARS = Path("/usr/share/java")
_NAMES = (
    "zookeeper.jar", "zookeeper-jute.jar", "slf4j-api.jar", "slf4j-simple.jar", "metrics-core.jar", "snappy-java.jar",
    "commons-cli.jar", "netty-common.jar", "netty-buffer.jar", "netty-resolver.jar", "netty-transport.jar",
    "netty-transport-native-unix-common.jar", "netty-transport-native-epoll.jar", "netty-codec.jar",
    "netty-handler.jar",
)  # fmt: skip


class ZooKeeperServer:
    """One ZooKeeper process on a port and a data folder of its own, which outlive `kill`: `start` brings it back.

    Use it as a context manager. Start it from the main thread: it dies with the thread that started it.
    settings: further lines of zoo.cfg. properties: of Java (`-D`).
    """

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.endpoint = f"127.0.0.1:{self.port}"
        self.url = f"zk://{self.endpoint}"
        self._folder = folder
        self._settings = dict(settings or {})
        self._properties = dict(properties or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._operator: KazooClient | None = None

    def __enter__(self) -> ZooKeeperServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self.kill()

    def start(self, deadline_s: float = 90.0) -> None:
        """Start it and wait until it serves."""
        (self._folder / "data").mkdir(parents=True, exist_ok=True)
        settings = {
            "dataDir": str(self._folder / "data"),
            "clientPort": str(self.port),
            "clientPortAddress": "127.0.0.1",
            "tickTime": "500",  # sessions of 1 to 10 s
            "admin.enableServer": "false",
            **self._settings,
        }
        config = self._folder / "zoo.cfg"
        config.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        with_parent = ["setpriv", "--pdeathsig", "KILL", "--"] if shutil.which("setpriv") else []
        command = [
            *with_parent, "java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *(f"-D{name}={value}" for name, value in self._properties.items()),
            "-cp", ":".join(str(JARS / name) for name in _NAMES),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config),
        ]  # fmt: skip
        log_path = self._folder / "zookeeper.log"
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        give_up = time.monotonic() + deadline_s
        while not self._serves():
            time.sleep(0.05)
            if self._process.poll() is not None or time.monotonic() > give_up:
                self.kill()
                raise RuntimeError(f"ZooKeeper does not come up:\n{log_path.read_text()[-3000:]}")

    def _serves(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), 1) as s:
                s.sendall(b"srvr")
                return b"Mode:" in s.recv(4096)
        except OSError:
            return False

    def operator(self) -> KazooClient:
        """A client as an operator has it, connected; it ends with the server."""
        if self._operator is None:
            self._operator = KazooClient(self.endpoint)
            self._operator.start(timeout=30)
        return self._operator

    def write(self, key: str, value: bytes) -> None:
        """As `zkCli.sh` does: create or set."""
        client = self.operator()
        if client.exists(key):
            client.set(key, value)
        else:
            client.create(key, value, makepath=True)

    def clear(self) -> None:
        """Delete every key."""
        client = self.operator()
        for name in client.get_children("/"):
            if name != "zookeeper":
                client.delete(f"/{name}", recursive=True)

    def expire(self, session: int, password: bytes) -> None:
        """End a client's session behind its back, as a server does that heard nothing for too long."""
        other = KazooClient(self.endpoint, client_id=(session, password))
        other.start(timeout=30)
        other.stop()
        other.close()

    def kill(self) -> None:
        """kill -9; the data stay."""
        if self._operator is not None:
            self._operator.stop()
            self._operator.close()
            self._operator = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop the process without a word to its clients, as a broken network does."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "ZooKeeper does not run"
        self._process.send_signal(number)
