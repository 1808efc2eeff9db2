# SPDX-License-Identifier: AGPL-3.0-or-later
"""A receiver of messages: what happens waits on the disk until it is there; what is now is only kept up to date."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeagent.core.alarms.alarm import SEVERITIES, Alarm
from edgeagent.errors import UsageError
from edgeagent.notify.config import NotifyConfig, NotifyMqtt, NotifyWebhook
from edgeagent.sinks.delivery import Courier, DeliveryError, Transport
from edgeagent.sinks.disk_queue import DiskQueue
from edgeagent.sinks.http_client import HttpPoster
from edgeagent.sinks.mqtt import MqttTransport
from edgeagent.sinks.mqtt_client import Message, MqttConnection, check_client, try_broker


class Retained:
    """What is retained at a broker, by topic; of each the last value counts, whatever was before. Thread-safe.

    What is over before a broker has heard of it is forgotten, so that one that is away for weeks costs no memory.
    """

    def __init__(self) -> None:
        self._values: dict[str, bytes] = {}
        self._changed: set[str] = set()
        self._there: set[str] = set()  # of these the broker may have something
        self._lock = threading.Lock()

    def set(self, topic: str, payload: bytes, from_before: bool = False) -> bool:
        """What is so from now on; b"": nothing any more. from_before: an earlier run may have published it. Returns
        whether there is something to publish."""
        with self._lock:
            if from_before:
                self._there.add(topic)
            if self._values.get(topic) == payload:
                return False
            if not payload and topic not in self._there:
                self._values.pop(topic, None)
                self._changed.discard(topic)
                return False
            self._values[topic] = payload
            self._changed.add(topic)
            return True

    def publish(self, connection: MqttConnection, all_of_them: bool) -> None:
        """What has changed, or everything to a broker that may have forgotten it. Raises DeliveryError."""
        with self._lock:
            topics = sorted(self._values if all_of_them else self._changed)
            messages = [Message(topic, self._values[topic], retain=True) for topic in topics]
            self._changed.clear()
            self._there.update(topics)
        try:
            if messages:
                connection.publish(messages)
        except DeliveryError:
            with self._lock:
                self._changed |= set(topics)
            raise
        with self._lock:
            for message in messages:
                if not message.payload and not self._values.get(message.topic):
                    self._values.pop(message.topic, None)
                    self._there.discard(message.topic)
                    self._changed.discard(message.topic)


class StateTransport(MqttTransport):
    """Events on one topic, and beside them what is retained."""

    def __init__(self, connection: MqttConnection, topic: str, retained: Retained) -> None:
        super().__init__(connection, topic)
        self._retained = retained

    def keep(self) -> None:
        """Be connected, and have the broker know what is now."""
        is_new = self._connection.keep()
        self._retained.publish(self._connection, all_of_them=is_new)


class PostTransport:
    """Events as posts, one each."""

    batch_items = 1
    batch_bytes = 1 << 16
    linger_s = 0.0

    def __init__(self, poster: HttpPoster) -> None:
        self._poster = poster

    def keep(self) -> None:
        """It connects when there is something to post."""

    def deliver(self, items: Sequence[bytes]) -> None:
        """Post them."""
        for n, item in enumerate(items):
            try:
                self._poster.post(item)
            except DeliveryError as e:
                raise DeliveryError(str(e), n, e.refused, e.retry_s) from e

    def abort(self) -> None:
        """Wait for no answer any more."""
        self._poster.abort()

    def close(self) -> None:
        """Close the connection."""
        self._poster.close()


@dataclass(frozen=True)
class Receiver:
    """One of those who are told. root: of its topics; retained: None where nothing is."""

    config: NotifyConfig
    name: str
    queue: DiskQueue
    courier: Courier
    root: str = ""
    retained: Retained | None = None

    def wants(self, alarm: Alarm) -> bool:
        """Whether it is told of such an alarm."""
        least = self.config.alarms
        return least != "off" and SEVERITIES.index(alarm.severity) >= SEVERITIES.index(least)

    def retain(self, topic: str, payload: bytes, from_before: bool = False) -> None:
        """What is so from now on, at a topic below its root; b"": nothing any more. from_before: an earlier run may
        have published it."""
        if self.retained and self.retained.set(f"{self.root}/{topic}", payload, from_before):
            self.courier.wake()

    def status(self) -> dict[str, Any]:
        """What `/api/status` shows of it, in messages."""
        courier = self.courier
        return {
            "receiver": self.name,
            "type": self.config.type,
            "delivered": courier.delivered,
            "waiting": self.queue.items,
            "lost": courier.dropped,
            "error": courier.why or None,
        }


def try_receiver(config: NotifyConfig) -> str:
    """Connects for real, and tells nothing. Says that it worked; raises EdgeAgentError."""
    match config:
        case NotifyMqtt():
            return try_broker(config)
        case NotifyWebhook():
            return HttpPoster(config).try_out()
    return f"{config.type} can't be tried"


def open_receiver(config: NotifyConfig, node: str, folder: Path) -> Receiver:
    """Connects to nothing yet. folder: for its queue. Raises EdgeAgentError when a package is missing."""
    queue = DiskQueue(folder / config.called, config.queue_mb * 1_000_000)
    transport: Transport
    match config:
        case NotifyMqtt():
            check_client()
            root, retained = f"{config.prefix}/{node}", Retained()
            client_id = "-".join(filter(None, ("edgeagent", node, "notify", config.name)))
            connection = MqttConnection(config, client_id, f"{root}/status", lambda: courier.wake())
            transport = StateTransport(connection, f"{root}/events", retained)
            name = f"{config.url}/{root}"
            courier = Courier(name, queue, transport)
            return Receiver(config, name, queue, courier, root, retained)
        case NotifyWebhook():
            transport = PostTransport(HttpPoster(config))
            url = config.shown_url
            return Receiver(config, url, queue, Courier(url, queue, transport))
    raise UsageError(f"notify {config.type}", "is of no kind that is known", "use mqtt or webhook")
