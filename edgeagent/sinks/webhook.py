# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records posted to a receiver over HTTP, some at a time, signed; what it doesn't take waits on the disk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import orjson
from pydantic import Field

from edgeagent.sinks.delivery import Courier, DeliveringSink, DeliveryError, StoringConfig
from edgeagent.sinks.disk_queue import DiskQueue
from edgeagent.sinks.http_client import TOO_LARGE, HttpConfig, HttpPoster, RefusedError
from edgeagent.sinks.messages import record_json
from edgeagent.sinks.port import SinkPlace, SinkType

_BATCH_BYTES = 200_000
"""Of the records: with what stands around them a body is within the 256 KiB that a node's own hooks take."""


class WebhookSinkConfig(StoringConfig, HttpConfig):
    """Batches of records as JSON, each signed.

    batch_records: in one post, at most. every_seconds: how long it is waited for that many.
    """

    type: Literal["webhook"] = "webhook"
    batch_records: int = Field(default=100, ge=1, le=10_000)
    every_seconds: Annotated[float, Field(ge=0, le=60, allow_inf_nan=False)] = 1.0

    def sends_secret_to(self) -> tuple[str, str] | None:
        """The token, without TLS."""
        return self.readable_token()


class WebhookTransport:
    """One receiver, which gets the records of one pipeline."""

    batch_bytes = _BATCH_BYTES

    def __init__(self, poster: HttpPoster, place: SinkPlace, batch_records: int, every_s: float) -> None:
        self.batch_items, self.linger_s = batch_records, every_s
        self._poster = poster
        head = orjson.dumps({"node": place.node, "pipeline": place.pipeline, "records": []})
        self._head, self._tail = head[:-2], head[-2:]

    def keep(self) -> None:
        """It connects when there is something to post."""

    def deliver(self, items: Sequence[bytes]) -> None:
        """Post them; in halves where that is too much for the receiver."""
        try:
            self._poster.post(self._head + b",".join(items) + self._tail)
        except RefusedError as e:
            if e.status == TOO_LARGE and len(items) > 1:
                self._in_halves(items)
                return
            raise DeliveryError(str(e), refused=len(items)) from e

    def _in_halves(self, items: Sequence[bytes]) -> None:
        half = len(items) // 2
        self.deliver(items[:half])
        try:
            self.deliver(items[half:])
        except DeliveryError as e:
            raise DeliveryError(str(e), half + e.delivered, e.refused, e.retry_s) from e

    def abort(self) -> None:
        """Wait for no answer any more."""
        self._poster.abort()

    def close(self) -> None:
        """Close the connection."""
        self._poster.close()


def _open(config: WebhookSinkConfig, place: SinkPlace) -> DeliveringSink:
    queue = DiskQueue(config.queue_folder(place.folder), config.queue_mb * 1_000_000)
    transport = WebhookTransport(HttpPoster(config), place, config.batch_records, config.every_seconds)
    courier = Courier(config.shown_url, queue, transport, place.on_failed, place.on_dropped)
    return DeliveringSink(config.shown_url, courier, queue, lambda record: record_json(place, record))


SINK = SinkType(WebhookSinkConfig, try_out=lambda config: HttpPoster(config).try_out(), open_at=_open)
