# SPDX-License-Identifier: AGPL-3.0-or-later
"""The log's lines about what happens to models and workers: one for each event of the bus, named after it."""

from __future__ import annotations

from dataclasses import asdict

import structlog

from edgeagent.observe.bus import (
    AlarmChanged,
    AuditAppended,
    Bus,
    PreloadChanged,
    StageEntered,
    Swapped,
    WorkerRestarted,
)

_log = structlog.get_logger(__name__)


def log_events(bus: Bus) -> None:
    """Log them from now on. Sources and sinks log themselves, once for all attempts that fail alike."""
    bus.subscribe(StageEntered, lambda event: _log.info("stage.entered", **asdict(event)))
    bus.subscribe(PreloadChanged, lambda event: _log.info("preload.changed", **asdict(event)))
    bus.subscribe(Swapped, lambda event: _log.info("version.swapped", **asdict(event)))
    bus.subscribe(WorkerRestarted, lambda event: _log.warning("worker.restarted", **asdict(event)))
    bus.subscribe(AuditAppended, _audited)
    bus.subscribe(AlarmChanged, _alarm_changed)


def _audited(event: AuditAppended) -> None:
    fields = asdict(event.record)
    _log.info("audit.appended", event_name=fields.pop("event"), **fields)


def _alarm_changed(event: AlarmChanged) -> None:
    a = event.alarm
    told = {"rule": a.what.rule, "pipeline": a.what.pipeline, "model": a.what.model, "active": a.active}
    log = _log.warning if a.active and a.state == "raised" and a.severity != "info" else _log.info
    log("alarm.changed", id=a.id, state=a.state, severity=a.severity, count=a.count, text=a.what.text, **told)
