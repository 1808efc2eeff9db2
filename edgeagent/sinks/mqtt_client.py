# SPDX-License-Identifier: AGPL-3.0-or-later
"""A connection to an MQTT broker that says `online` while it stands and has the broker say `offline` when it doesn't.

The client's own ways of trying again are off: a connection that ends is thrown away with whatever it had in hand, and
what has no PUBACK is published again from the queue on the disk.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from edgeagent.errors import EdgeAgentError, MissingExtraError, UsageError
from edgeagent.sinks.address import names_a_server, only_encrypted, server_of
from edgeagent.sinks.delivery import DeliveryError
from edgeagent.util.client_tls import client_context
from edgeagent.util.secret import read_secret
from edgeagent.util.settings import Section, TlsConfig

if TYPE_CHECKING:
    from paho.mqtt.client import Client

ONLINE, OFFLINE = b"online", b"offline"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_CONNECT_S = 5.0
_ACK_S = 10.0
_LEAVE_S = 1.0
_BETWEEN_S = 2.0
"""Least time between two connections: two clients of one name would throw each other out as fast as they can."""
_STANDS_S = 30.0
_BAD_VERSION = 132

Topic = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[^/+#$\x00][^+#\x00]*[^/+#\x00]$|^[^/+#$\x00]$")
]


class MqttConfig(Section):
    """Which broker, and how to get in.

    url: mqtt://host:1883 or mqtts://host:8883. prefix: what all topics begin with. username, password_file: if it asks
    for them. keepalive_seconds: a connection over which nothing came for so long is given up, by both sides. version:
    of the protocol.
    """

    url: str
    prefix: Topic = "edgeagent"
    username: str | None = Field(default=None, min_length=1)
    password_file: Path | None = Field(default=None, validate_default=True)
    tls: TlsConfig | None = None
    keepalive_seconds: int = Field(default=30, ge=5, le=3600)
    version: Literal["5", "3.1.1"] = "5"

    @field_validator("url")
    @classmethod
    def _url(cls, url: str) -> str:
        parts = urlsplit(url) if names_a_server(url, _PORTS) else None
        if parts is None or parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError("is no address of a broker; allowed: mqtt://host:port or mqtts://host:port")
        return url

    @field_validator("password_file")
    @classmethod
    def _with_user(cls, password_file: Path | None, info: ValidationInfo) -> Path | None:
        if password_file and info.data.get("username") is None:
            raise ValueError("is given without username; allowed: both, or username alone, or neither")
        return password_file

    @field_validator("tls")
    @classmethod
    def _only_with_tls(cls, tls: TlsConfig | None, info: ValidationInfo) -> TlsConfig | None:
        return only_encrypted(tls, info.data.get("url"), "mqtt", "mqtts://host:port")

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return server_of(self.url, _PORTS)

    def readable_password(self) -> tuple[str, str] | None:
        """The host that gets it in clear text, and what that means; None where nobody can read it, or there is none."""
        if self.encrypted or self.password_file is None:
            return None
        return self.address[0], "the broker is sent the password in clear text; use mqtts"

    @property
    def encrypted(self) -> bool:
        """Whether nobody can read on the way."""
        return self.url.startswith("mqtts:")


@dataclass(frozen=True, slots=True)
class Message:
    """What is published. payload: b"" takes back a retained message."""

    topic: str
    payload: bytes
    retain: bool = False


def check_client() -> None:
    """Raises MissingExtraError without the package that speaks MQTT."""
    try:
        import paho.mqtt.client  # noqa: F401
    except ImportError as e:
        raise MissingExtraError(
            "mqtt", "the package paho-mqtt is not installed", "run pip install 'edgeagent[mqtt]'"
        ) from e


class MqttConnection:
    """One connection at a time; to be used from one thread.

    client_id: the broker knows it by this name, and lets one of a name in. status_topic: retained, `online` or
    `offline`; "": neither is said. on_lost: called from another thread when a connection that stood has ended.
    """

    def __init__(
        self,
        config: MqttConfig,
        client_id: str,
        status_topic: str,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._config, self._client_id, self._status_topic = config, client_id, status_topic
        self._on_lost = on_lost
        self._client: Client | None = None
        self._changed = threading.Condition()
        self._connected = False
        self._ended = ""  # why the connection has
        self._answers: dict[int, str] = {}  # of the broker, by message id: "" or why it refuses
        self._began = -_STANDS_S
        self._short_lived = 0  # connections, one after the other
        self.largest: int | None = None
        """Bytes of the largest packet that the broker takes; None where it doesn't say."""

    def keep(self) -> bool:
        """Be connected. Returns whether it wasn't before. Raises DeliveryError, after some seconds at most."""
        if self._client and not self._ended:
            return False
        self._drop()
        pause = self._began + _BETWEEN_S - time.monotonic()
        if pause > 0:
            self._short_lived += 1
            todo = f"; is another client called {self._client_id}?" if self._short_lived > 2 else ""
            raise DeliveryError(f"{self._ended or 'the connection has ended'}{todo}", retry_s=pause)
        if self._began + _STANDS_S < time.monotonic():
            self._short_lived = 0
        self._began = time.monotonic()
        try:
            client = self._new_client()
            self._ended = ""
            client.connect(*self._config.address, keepalive=self._config.keepalive_seconds)
        except (OSError, ValueError) as e:
            raise DeliveryError(f"can't connect: {getattr(e, 'strerror', None) or e}") from e
        except EdgeAgentError as e:
            raise DeliveryError(str(e)) from e
        self._client = client
        client.loop_start()
        with self._changed:
            self._changed.wait_for(lambda: self._connected or self._ended, _CONNECT_S)
            why = "" if self._connected else self._ended or f"no answer within {_CONNECT_S:g} s"
        if why:
            self._drop()
            raise DeliveryError(f"the broker lets nobody in: {why}")
        if self._status_topic:
            self.publish([Message(self._status_topic, ONLINE, retain=True)])
        return True

    def publish(self, messages: Sequence[Message]) -> None:
        """Return when the broker has acknowledged all. Raises DeliveryError, with how many of the first it has."""
        client = self._client
        assert client is not None
        self._answers.clear()
        # Without the lock: the client's thread takes it while it holds the client's own.
        infos = [client.publish(m.topic, m.payload, qos=1, retain=m.retain) for m in messages]
        with self._changed:
            answered, begun = 0, time.monotonic()
            while not self._ended and len(self._answers) < len(infos) and not any(self._answers.values()):
                if not self._changed.wait(max(0.0, begun + _ACK_S - time.monotonic())):
                    self._ended = f"nothing was acknowledged for {_ACK_S:g} s"
                elif len(self._answers) > answered:  # a slow broker is no broken one
                    answered, begun = len(self._answers), time.monotonic()
            missing = [n for n, info in enumerate(infos) if self._answers.get(info.mid) != ""]
            why = next(filter(None, self._answers.values()), self._ended)
        if missing:
            self._drop()
            raise DeliveryError(f"the broker did not take a message: {why}", delivered=missing[0])

    def abort(self) -> None:
        """Whoever waits for the broker, waits no more. From another thread."""
        with self._changed:
            self._ended = self._ended or "the node stops"
            self._changed.notify_all()

    def close(self) -> None:
        """Say `offline` and leave, within two seconds. Idempotent."""
        client = self._client
        if client and not self._ended:
            with suppress(RuntimeError, ValueError):  # then the broker says it
                if self._status_topic:
                    info = client.publish(self._status_topic, OFFLINE, qos=1, retain=True)
                    info.wait_for_publish(_LEAVE_S)
                client.disconnect()
                with self._changed:
                    self._changed.wait_for(lambda: self._ended, _LEAVE_S)
        self._drop()
        self._began = -_STANDS_S

    def _new_client(self) -> Client:
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

        c = self._config
        protocol = MQTTProtocolVersion.MQTTv5 if c.version == "5" else MQTTProtocolVersion.MQTTv311
        client = Client(
            CallbackAPIVersion.VERSION2, self._client_id, protocol=protocol, reconnect_on_failure=False
        )
        client.connect_timeout = _CONNECT_S
        if c.encrypted:
            client.tls_set_context(client_context(c.tls, f"mqtt broker {c.url}"))
        if c.username is not None:
            client.username_pw_set(c.username, read_secret(c.password_file) if c.password_file else None)
        if self._status_topic:
            client.will_set(self._status_topic, OFFLINE, qos=1, retain=True)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _drop(self) -> None:
        """Throw the connection away, if there is one; without a word, so that the broker says `offline`."""
        client, self._client = self._client, None
        if client:
            client.on_disconnect = client.on_publish = client.on_connect = None
            sock = client.socket()
            if isinstance(sock, socket.socket):
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)  # its thread hears of it, and ends
        with self._changed:
            self._connected = False

    # --- below: in the client's thread

    def _on_connect(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            if reason.is_failure:
                todo = "; set version to 3.1.1" if reason.value == _BAD_VERSION else ""
                self._ended = f"{reason}{todo}"
            else:
                self._connected = True
                self.largest = getattr(properties, "MaximumPacketSize", None)
            self._changed.notify_all()

    def _on_disconnect(self, client: Client, userdata: Any, flags: Any, reason: Any, properties: Any) -> None:
        with self._changed:
            lost = self._connected and not self._ended
            self._ended = self._ended or f"the connection has ended ({reason})"
            self._changed.notify_all()
        if lost:
            self._on_lost()

    def _on_publish(self, client: Client, userdata: Any, mid: int, reason: Any, properties: Any) -> None:
        with self._changed:
            self._answers[mid] = str(reason) if reason.is_failure else ""
            self._changed.notify_all()


def try_broker(config: MqttConfig) -> str:
    """Connect for real, under a name of its own. Says that it worked; raises EdgeAgentError."""
    check_client()
    connection = MqttConnection(config, "edgeagent-doctor", "")  # a broker may let nobody write but nodes
    try:
        connection.keep()
    except DeliveryError as e:
        raise UsageError(config.url, str(e), "see url, username, password_file and tls") from e
    finally:
        connection.close()
    return f"{config.url} lets the node in"
