# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whoever tells the plant, while the disk takes nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgeagent.core.alarms import Alarm, Condition
from edgeagent.notify import service
from edgeagent.notify.config import NotifyWebhook
from edgeagent.notify.service import Notifier
from edgeagent.observe.bus import AlarmChanged, Bus

ALARM = Alarm("a1", Condition("person", "present", "critical", "a person"), "raised", True, 5.0)


def test_what_waits_for_a_disk_that_hangs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is lost, and counted, of each receiver by itself."""
    monkeypatch.setattr(service, "MAX_UNWRITTEN", 3)
    bus = Bus()
    configs = [
        NotifyWebhook(url="http://127.0.0.1:9/all", name="all"),
        NotifyWebhook(url="http://127.0.0.1:9/all", name="none", alarms="off"),
    ]
    notifier = Notifier(configs, "node-7", tmp_path, bus, dict)  # not started: nothing is written
    for change in range(5):
        bus.publish(AlarmChanged(replace(ALARM, change=change)))
    assert [status["lost"] for status in notifier.status()] == [2, 0]
