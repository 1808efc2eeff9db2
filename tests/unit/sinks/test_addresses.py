# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where sinks send to: what is no host, and how an address is called that holds a secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from edgeagent.notify.config import NotifyWebhook
from edgeagent.notify.receivers import open_receiver
from edgeagent.sinks.mqtt import MqttSinkConfig
from edgeagent.sinks.port import SinkPlace
from edgeagent.sinks.webhook import SINK, WebhookSinkConfig

SECRET = "https://hooks.plant/x?token=abc"


@pytest.mark.parametrize("host", ["a..b", "x" * 64])
def test_what_nobody_can_look_up_is_no_host(host: str) -> None:
    """Said when the configuration is read, not by the thread that would connect."""
    with pytest.raises(ValidationError, match="no address to post to"):
        WebhookSinkConfig(url=f"http://{host}/x")
    with pytest.raises(ValidationError, match="no address of a broker"):
        MqttSinkConfig(url=f"mqtt://{host}")


def test_hosts_of_all_kinds() -> None:
    """Names, addresses, one that ends with a dot."""
    for host in ("hooks.plant", "hooks.plant.", "10.0.0.1", "[::1]", "hook_1"):
        assert WebhookSinkConfig(url=f"http://{host}:80/x").address[1] == 80


def test_a_secret_in_an_address_is_not_said(tmp_path: Path) -> None:
    """In the status, events and metrics; it is posted to all the same."""
    sink = SINK.open_in(WebhookSinkConfig(url=SECRET), SinkPlace("n1", "line-1", "r", tmp_path))
    assert sink.name == "https://hooks.plant/x?token=***"
    assert open_receiver(NotifyWebhook(type="webhook", url=SECRET), "n1", tmp_path).name == sink.name
