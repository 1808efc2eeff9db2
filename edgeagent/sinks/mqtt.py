# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records as messages of an MQTT broker, a topic for each pipeline; what the broker doesn't take waits on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from edgeagent.sinks.delivery import Courier, DeliveringSink, DeliveryError, StoringConfig
from edgeagent.sinks.disk_queue import DiskQueue
from edgeagent.sinks.messages import record_json
from edgeagent.sinks.mqtt_client import Message, MqttConfig, MqttConnection, check_client, try_broker
from edgeagent.sinks.port import SinkPlace, SinkType

_OVERHEAD = 512
"""Bytes of a packet beside its payload, at most: the topic and the header."""


class MqttSinkConfig(StoringConfig, MqttConfig):
    """One message a frame to `{prefix}/{node}/{pipeline}/detections`, and `online` or `offline` to `…/status`."""

    type: Literal["mqtt"] = "mqtt"

    def sends_secret_to(self) -> tuple[str, str] | None:
        """The password, without TLS."""
        return self.readable_password()


class MqttTransport:
    """One connection, and the topic that all records go to."""

    batch_items = 64
    batch_bytes = 1 << 18
    linger_s = 0.0

    def __init__(self, connection: MqttConnection, topic: str) -> None:
        self._connection, self._topic = connection, topic

    def keep(self) -> None:
        """Be connected."""
        self._connection.keep()

    def deliver(self, items: Sequence[bytes]) -> None:
        """Publish them; one that is larger than the broker takes is refused for good."""
        largest = self._connection.largest
        fitting = 0
        while fitting < len(items) and (largest is None or len(items[fitting]) + _OVERHEAD <= largest):
            fitting += 1
        if fitting:
            self._connection.publish([Message(self._topic, item) for item in items[:fitting]])
        if fitting < len(items):
            size = len(items[fitting])
            why = f"the broker takes no message of {size} bytes, at most {largest} with its topic"
            raise DeliveryError(why, delivered=fitting, refused=1)

    def abort(self) -> None:
        """Wait for no answer any more."""
        self._connection.abort()

    def close(self) -> None:
        """Say `offline`, and leave."""
        self._connection.close()


def _open(config: MqttSinkConfig, place: SinkPlace) -> DeliveringSink:
    check_client()
    topic = f"{config.prefix}/{place.node}/{place.pipeline}"
    client_id = "-".join(filter(None, ("edgeagent", place.node, place.pipeline, config.name)))
    queue = DiskQueue(config.queue_folder(place.folder), config.queue_mb * 1_000_000)
    name = f"{config.url}/{topic}"
    connection = MqttConnection(config, client_id, f"{topic}/status", lambda: courier.wake())
    transport = MqttTransport(connection, f"{topic}/detections")
    courier = Courier(name, queue, transport, place.on_failed, place.on_dropped)
    return DeliveringSink(name, courier, queue, lambda record: record_json(place, record))


SINK = SinkType(MqttSinkConfig, try_out=try_broker, open_at=_open)
