# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one form of message in which a node tells of alarms, updates and models; docs/interface.md describes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import orjson

from edgeagent.core.alarms import Alarm
from edgeagent.core.text import MAX_BY, clean
from edgeagent.observe.audit_record import AuditRecord

TOLD = frozenset(("swapped", "rejected", "rolled_back", "approved", "stable", "drifted", "agrees"))
"""Results of the audit log that the plant is told of."""
_NOT_TOLD = frozenset(("rebuild", "preload", "intent", "audit", "alarm"))
"""Events of the audit log that are the node's own business."""


def message(
    kind: Literal["alarm", "update", "model"], node: str, id: str, time: float, what: Mapping[str, Any]
) -> bytes:
    """JSON in UTF-8: `{"id", "node", "kind", "time", <kind>: what}`. id: the same for the same message sent again."""
    return orjson.dumps(
        {"id": f"{node}/{kind}/{id}", "node": node, "kind": kind, "time": round(time, 3), kind: what}
    )


def alarm_message(node: str, alarm: Alarm) -> bytes:
    """An alarm as it is now."""
    id = f"{alarm.id}/{alarm.change}"
    return message("alarm", node, id, alarm.changed_at, alarm.as_dict())


def is_told(record: AuditRecord) -> bool:
    """Whether the plant wants to hear of it."""
    return record.result in TOLD and record.event not in _NOT_TOLD


def update_message(node: str, id: str, time: float, record: AuditRecord) -> bytes:
    """What became of a version."""
    what = {
        "model": record.model,
        "event": record.event,
        "result": record.result,
        "from_version": record.from_version,
        "to_version": record.to_version,
        "digest": record.digest,
        "epoch": record.epoch,
        "who": clean(record.who, MAX_BY),
        "why": clean(record.why),
    }
    return message("update", node, id, time, what)
