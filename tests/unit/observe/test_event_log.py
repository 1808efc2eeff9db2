# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log's lines about models and workers."""

from __future__ import annotations

from structlog.testing import capture_logs

from edgeagent.core.lifecycle import Stage
from edgeagent.observe.audit import AuditRecord
from edgeagent.observe.bus import AuditAppended, Bus, StageEntered, Swapped, WorkerRestarted
from edgeagent.observe.event_log import log_events


def test_each_event_is_a_line_of_its_name() -> None:
    """With its fields; a restart is a warning, since a worker ended that should not have."""
    bus = Bus()
    log_events(bus)
    with capture_logs() as lines:
        bus.publish(StageEntered("yolo", "v2", "", Stage.FETCHING))
        bus.publish(Swapped("yolo", "v2", "sha256:2", 4))
        bus.publish(WorkerRestarted("engine", "yolo"))
        bus.publish(AuditAppended(AuditRecord("update", "yolo", result="swapped")))
    assert [(line["event"], line["log_level"]) for line in lines] == [
        ("stage.entered", "info"),
        ("version.swapped", "info"),
        ("worker.restarted", "warning"),
        ("audit.appended", "info"),
    ]
    assert (lines[1]["version"], lines[1]["epoch"]) == ("v2", 4)
    assert (lines[3]["event_name"], lines[3]["result"]) == ("update", "swapped")
