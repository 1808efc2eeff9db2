# SPDX-License-Identifier: AGPL-3.0-or-later
"""Kafka as the source of intent of a real node, also across a broker that is killed and comes back."""

from __future__ import annotations

import subprocess
import sys

from edgeagent.testing import wait_for
from tests.support.kafka import OPTIONS, KafkaServer
from tests.support.line import NodeHarness, assert_seamless

KEY = "/models/yolo/current"
PIN = "/models/yolo/pins/node-under-test"


def test_a_topic_swaps_a_model(harness: NodeHarness) -> None:
    """Records, pins and tombstones as with any other source; nothing that serves hangs on the broker."""
    for version in ("v1", "v2", "v3"):
        harness.publish(version)
    with KafkaServer() as kafka:
        harness.config["config_store"] = {"url": kafka.url, "options": OPTIONS}
        kafka.write(KEY, b"v1")
        node = harness.start("v1")
        assert node.status()["config_store"] == {"url": kafka.url, "connected": True, "why": None}
        harness.wait_more(10)
        promote = [
            "promote",
            "yolo",
            "v2",
            "--config-store",
            kafka.url,
            "--by",
            "Kim",
            "--reason",
            "more finds",
        ]
        subprocess.run([sys.executable, "-m", "edgeagent", *promote], check=True, timeout=60)
        harness.wait_served("v2")
        swap = harness.wait_history("swapped", "v2")
        assert (swap["who"], swap["why"]) == ("Kim", "more finds")
        kafka.write(PIN, b"v1")
        harness.wait_served("v1")
        kafka.write(PIN, None)
        harness.wait_served("v2")
        harness.wait_state("STABLE")

        kafka.down()
        wait_for(lambda: not node.status()["config_store"]["connected"], "broker missed")
        harness.wait_more(30)
        assert node.active() == "v2"
        kafka.up()
        kafka.write(KEY, b"v3")
        node.wait_active("v3")
        wait_for(lambda: node.status()["config_store"]["connected"], "connected again")

        # A topic that is deleted takes nothing away.
        kafka.delete()
        wait_for(lambda: not node.status()["config_store"]["connected"], "topic missed")
        harness.wait_more(10)
        assert node.active() == "v3"
        kafka.create()
        wait_for(lambda: node.status()["config_store"]["connected"], "empty topic read")
        harness.wait_more(10)
        assert node.active() == "v3"
        assert_seamless(harness.wait_more(5))
