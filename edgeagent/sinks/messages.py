# SPDX-License-Identifier: AGPL-3.0-or-later
"""What leaves the node for receivers that may get it twice: a record with its node and an id."""

from __future__ import annotations

from typing import Any

import orjson

from edgeagent.sinks.port import Record, SinkPlace


def record_id(place: SinkPlace, record: Record) -> str:
    """The same for the same frame at each sink, and each time it is sent; no other frame has it."""
    return f"{place.node}/{record.pipeline}/{place.run}/{record.seq}"


def record_message(place: SinkPlace, record: Record) -> dict[str, Any]:
    """A record as docs/interface.md, "Detections", promises it to receivers."""
    return {"id": record_id(place, record), "node": place.node, **record.as_dict()}


def record_json(place: SinkPlace, record: Record) -> bytes:
    """The same as JSON in UTF-8. Raises TypeError for what isn't."""
    return orjson.dumps(record_message(place, record))
