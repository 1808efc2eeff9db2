# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real ZooKeeper server for tests: Debian's package, started without its scripts."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from kazoo.client import KazooClient

from tests.support.etcd import free_port
from tests.support.server_process import ServerProcess

JARS = Path("/usr/share/java")
_NAMES = (
    "zookeeper.jar", "zookeeper-jute.jar", "slf4j-api.jar", "slf4j-simple.jar", "metrics-core.jar", "snappy-java.jar",
    "commons-cli.jar", "netty-common.jar", "netty-buffer.jar", "netty-resolver.jar", "netty-transport.jar",
    "netty-transport-native-unix-common.jar", "netty-transport-native-epoll.jar", "netty-codec.jar",
    "netty-handler.jar",
)  # fmt: skip


class ZooKeeperServer(ServerProcess):
    """One ZooKeeper process.

    settings: further lines of zoo.cfg. properties: of Java (`-D`).
    """

    starts_s = 90.0

    def __init__(
        self,
        folder: Path,
        settings: Mapping[str, str] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__("ZooKeeper", folder)
        self.port = free_port()
        self.endpoint = f"127.0.0.1:{self.port}"
        self.url = f"zk://{self.endpoint}"
        self._settings = dict(settings or {})
        self._properties = dict(properties or {})
        self._operator: KazooClient | None = None

    def _command(self) -> list[str]:
        (self._folder / "data").mkdir(exist_ok=True)
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
        return [
            "java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            *(f"-D{name}={value}" for name, value in self._properties.items()),
            "-cp", ":".join(str(JARS / name) for name in _NAMES),
            "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(config),
        ]  # fmt: skip

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
        """kill -9, and the operator's client with it; the data stay."""
        if self._operator is not None:
            self._operator.stop()
            self._operator.close()
            self._operator = None
        super().kill()
