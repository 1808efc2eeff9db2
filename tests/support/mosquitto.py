# SPDX-License-Identifier: AGPL-3.0-or-later
"""A real mosquitto for tests, and somebody who listens to it."""

from __future__ import annotations

import queue
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.support.etcd import free_port
from tests.support.server_process import ServerProcess

_SBIN = "/usr/sbin/mosquitto"
"""Where Debian puts it, which isn't on everybody's PATH."""


def program() -> str:
    """Where it is; skips the test where it is nowhere."""
    path = shutil.which("mosquitto") or _SBIN
    if not Path(path).exists():
        pytest.skip("mosquitto is not installed: sudo apt install mosquitto")
    return path


class Mosquitto(ServerProcess):
    """One broker. lines: of its configuration, beside its port.

    What it knew is gone when it is killed, retained messages too, unless `lines` say otherwise; but it hands a message
    on before it acknowledges it, however many a listener has yet to acknowledge.
    """

    starts_s = 30.0

    def __init__(self, folder: Path, *lines: str) -> None:
        super().__init__("mosquitto", folder)
        self.port = free_port()
        self._lines = lines or ("allow_anonymous true",)

    @property
    def url(self) -> str:
        """Without TLS."""
        return f"mqtt://127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        config = self._folder / "mosquitto.conf"
        lines = (f"listener {self.port} 127.0.0.1", "user root", "max_inflight_messages 0", *self._lines, "")
        config.write_text("\n".join(lines))
        return [program(), "-c", str(config)]

    def _serves(self) -> bool:
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0


class Listener:
    """What arrives below a topic, in order. Connects again by itself, and the broker keeps what comes meanwhile, as far
    as it lives. payloads, topics: of all messages that came; retained: those that the broker had kept before."""

    def __init__(self, port: int, topic: str, **login: str) -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        self._subscribed: queue.Queue[None] = queue.Queue()
        client = Client(CallbackAPIVersion.VERSION2, f"listener-{topic}", protocol=MQTTProtocolVersion.MQTTv5)
        client.reconnect_delay_set(0.05, 0.1)
        if login:
            client.username_pw_set(login["username"], login["password"])
        client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        client.on_subscribe = lambda *_: self._subscribed.put(None)
        client.on_message = self._take
        client.connect_async("127.0.0.1", port)
        client.loop_start()
        self._client = client
        self.wait_until_subscribed()

    def wait_until_subscribed(self) -> None:
        """After the beginning, and after each time that the broker came back."""
        self._subscribed.get(timeout=60)

    def wait_until_it_hears(self, topic: str) -> None:
        """Until what it publishes there itself comes back to it."""
        give_up = time.monotonic() + 60
        probe = secrets.token_bytes(8)
        while probe not in self.payloads(topic):
            assert time.monotonic() < give_up, "it hears nothing"
            self._client.publish(topic, probe)
            time.sleep(0.05)

    def _take(self, client: Client, userdata: Any, message: Any) -> None:
        self.messages.append((message.topic, message.payload, message.retain))

    def payloads(self, ending: str) -> list[bytes]:
        """Of all messages whose topic ends so."""
        return [payload for topic, payload, _ in self.messages if topic.endswith(ending)]

    def close(self) -> None:
        """Listen no more."""
        self._client.disconnect()
        self._client.loop_stop()


@contextmanager
def listening(port: int, topic: str = "#", **login: str) -> Iterator[Listener]:
    """Somebody who listens, until the end of the context."""
    listener = Listener(port, topic, **login)
    try:
        yield listener
    finally:
        listener.close()
