# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is retained at a broker, while it is there and while it isn't."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from edgeagent.notify.receivers import Retained
from edgeagent.sinks.delivery import DeliveryError
from edgeagent.sinks.mqtt_client import Message


class Broker:
    """Keeps what it is given, while it is there."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}
        self.there = True

    def publish(self, messages: Sequence[Message]) -> None:
        if not self.there:
            raise DeliveryError("away")
        for message in messages:
            self.retained[message.topic] = message.payload
            if not message.payload:
                del self.retained[message.topic]


def hand_over(retained: Retained, broker: Broker) -> None:
    """As the thread of the receiver does it."""
    retained.publish(cast(Any, broker), all_of_them=False)


def test_alarms_that_come_and_go_while_the_broker_is_away_leave_nothing() -> None:
    """But of one that it knows it is told that it is over, be it from an earlier run."""
    retained, broker = Retained(), Broker()
    broker.retained["earlier"] = b"raised"
    retained.set("known", b"raised")
    hand_over(retained, broker)
    broker.there = False
    retained.set("tried", b"raised")  # it may be there: only the answer may have been lost
    with pytest.raises(DeliveryError):
        hand_over(retained, broker)
    retained.set("earlier", b"", from_before=True)
    for n in range(1000):
        assert retained.set(f"alarm-{n}", b"raised")
        assert not retained.set(f"alarm-{n}", b"")
    retained.set("known", b"")
    retained.set("tried", b"")
    assert sorted(retained._values) == ["earlier", "known", "tried"]
    broker.there, broker.retained["tried"] = True, b"raised"
    hand_over(retained, broker)
    assert (broker.retained, retained._values, retained._there) == ({}, {}, set())
