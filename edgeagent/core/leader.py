# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who leads the roll-outs: the value of the key of the one that does."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from edgeagent.core.model import parse_json
from edgeagent.core.text import clean

_MAX_BYTES = 4096
_MAX_HOST = 200


@dataclass(frozen=True)
class Leader:
    """A coordinator that leads. id: its own, made at random when it began; host: its machine, or the name that it was
    given; since: when it took the lead, Unix seconds, by its own clock.
    """

    id: str
    host: str
    pid: int
    since: float


def encode_leader(leader: Leader) -> bytes:
    """The value to write."""
    return json.dumps(asdict(leader), separators=(",", ":")).encode()


def decode_leader(value: bytes) -> Leader | None:
    """Who wrote the value; None where it doesn't say: somebody leads even so."""
    try:
        doc = parse_json(value[: _MAX_BYTES + 1].decode()) if len(value) <= _MAX_BYTES else None
        if not isinstance(doc, dict):
            return None
        host = clean(str(doc["host"]), _MAX_HOST)
        return Leader(clean(str(doc["id"]), _MAX_HOST), host, int(doc["pid"]), float(doc["since"]))
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None
