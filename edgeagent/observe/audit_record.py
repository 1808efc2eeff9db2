# SPDX-License-Identifier: AGPL-3.0-or-later
"""One record of the audit log, and its form on disk."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from typing import Any

from edgeagent.core.gating import GateResult
from edgeagent.core.text import redact
from edgeagent.core.update_facts import UpdateFacts
from edgeagent.util.codec import from_json

_CHAIN = ("seq", "hash")


def utc_now() -> str:
    """Now as ISO 8601 in UTC, to the millisecond: `2026-01-31T12:00:00.123Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class AuditRecord:
    """One decision. Texts are "" where they don't apply; stages are seconds by stage; gates: what they found
    in `to_version`; count: of a refusal that came again and again, how often it came.

    digest: of `to_version`, from_digest: of `from_version`; epoch: number of the swap that it is about, 0: none;
    moment: how the moment of the swap was chosen; watches: what shadow and probation saw of pairs, by their names;
    facts: what the update cost the line. seq, hash: the record's place in the chain, 0 and "" while it is not on the
    disk.
    """

    event: str
    model: str = ""
    who: str = ""
    from_version: str = ""
    to_version: str = ""
    source_url: str = ""
    digest: str = ""
    result: str = ""
    why: str = ""
    stages: Mapping[str, float] = field(default_factory=dict)
    gates: tuple[GateResult, ...] = ()
    when: str = field(default_factory=utc_now)
    count: int = 1
    from_digest: str = ""
    epoch: int = 0
    moment: str = ""
    watches: Mapping[str, Any] = field(default_factory=dict)
    facts: UpdateFacts | None = None
    seq: int = 0
    hash: str = ""


def record_text(record: AuditRecord) -> str:
    """The record as JSON, without secrets, and without a place in the chain unless it has one."""
    doc = asdict(record)
    if not record.seq:
        for name in _CHAIN:  # its seal will say it
            del doc[name]
    return redact(json.dumps(doc, ensure_ascii=False)).encode("utf-8", "replace").decode()


def parse_record(line: bytes) -> AuditRecord | None:
    """The record that a line of the log holds, also of another release; None when it holds none."""
    try:
        doc = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(doc, dict) or not isinstance(doc.get("event"), str):
        return None
    known = {f.name for f in fields(AuditRecord)}
    parts = {"gates": _parse_gates(doc), "facts": _parse_facts(doc)}
    return AuditRecord(**{k: v for k, v in doc.items() if k in known} | parts)


def _parse_gates(doc: dict[str, Any]) -> tuple[GateResult, ...]:
    """None where another release wrote them in another form: the rest of the record is worth keeping."""
    try:
        return tuple(from_json(GateResult, gate) for gate in doc.get("gates", []))
    except (ValueError, TypeError):
        return ()


def _parse_facts(doc: dict[str, Any]) -> UpdateFacts | None:
    try:
        return from_json(UpdateFacts, doc["facts"]) if doc.get("facts") else None
    except ValueError:
        return None
