# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit log: what happened to which model, on whose word, and why. Append-only, one JSON line each.

A record is on the disk when `append` returns, or is kept in memory until the disk takes it again.
"""

from __future__ import annotations

import json
import os
import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from edgeagent.core.gating import GateResult
from edgeagent.observe.redact import redact
from edgeagent.util.codec import from_json
from edgeagent.util.rotating import NotWrittenError, RotatingFile

FILE_NAME = "audit.jsonl"
TAIL_RECORDS = 1000
_TAIL_BYTES = 2 << 20
_log = structlog.get_logger(__name__)


def utc_now() -> str:
    """Now as ISO 8601 in UTC, to the millisecond: `2026-01-31T12:00:00.123Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class AuditRecord:
    """One thing that happened. Texts are "" where they don't apply; stages are seconds by stage; gates: what they found
    in `to_version`."""

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


class AuditLog:
    """`<folder>/audit.jsonl`, rotated to `audit.jsonl.1` and so on. Thread-safe.

    `append` waits for the disk: call it off the event loop. It raises nothing for a disk that is full or
    read-only: the record stays in the tail, and is written before the next one that finds room.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 10 << 20, keep: int = 5) -> None:
        self._path = folder / FILE_NAME
        self._file = RotatingFile(self._path, max_bytes, keep, durable=True)
        self._lock = threading.Lock()  # held while the disk writes
        self._tail_lock = threading.Lock()  # never held for long: `tail` is called on the event loop
        self._tail: deque[AuditRecord] = deque(_read_tail(self._file.files), TAIL_RECORDS)
        self._unsaved: deque[bytes] = deque(maxlen=TAIL_RECORDS)

    @property
    def unsaved(self) -> int:
        """How many records wait for the disk."""
        return len(self._unsaved)

    def append(self, record: AuditRecord) -> bool:
        """Write a record durably; says whether the disk has it."""
        line = redact(json.dumps(asdict(record), ensure_ascii=False)).encode("utf-8", "replace") + b"\n"
        with self._lock:
            with self._tail_lock:
                self._tail.append(record)
            self._unsaved.append(line)
            try:
                self._file.append(self._unsaved)
            except NotWrittenError as e:
                _log.error("audit.write_failed", path=str(self._path), why=str(e), waiting=len(self._unsaved))
                return False
            finally:
                self._file.close()  # records are rare: nothing is held open meanwhile
            self._unsaved.clear()
            return True

    def tail(self, count: int) -> list[AuditRecord]:
        """The last `count` records (1000 at most), oldest first; also from before a restart.

        Never waits for the disk.
        """
        with self._tail_lock:
            return list(self._tail)[-count:] if count > 0 else []


def _read_tail(files: list[Path]) -> list[AuditRecord]:
    """The last records of the files (newest file first), oldest first; skips lines that are not whole."""
    records: list[AuditRecord] = []
    torn = 0
    for path in files:
        try:
            with path.open("rb") as f:
                size = f.seek(0, os.SEEK_END)
                f.seek(max(0, size - _TAIL_BYTES))
                lines = f.read().split(b"\n")[1 if size > _TAIL_BYTES else 0 :]
        except FileNotFoundError:
            continue
        except OSError as e:
            _log.error("audit.read_failed", path=str(path), why=str(e))
            continue
        parsed = [_parse(line) for line in lines if line.strip()]
        torn += parsed.count(None)
        records = [r for r in parsed if r is not None] + records
        if len(records) >= TAIL_RECORDS:
            break
    if torn:
        _log.warning("audit.lines_skipped", count=torn, why="not whole; a power cut can do that")
    return records[-TAIL_RECORDS:]


def _parse(line: bytes) -> AuditRecord | None:
    try:
        doc = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(doc, dict) or not isinstance(doc.get("event"), str):
        return None
    known = {f.name for f in fields(AuditRecord)}
    return AuditRecord(**{k: v for k, v in doc.items() if k in known} | {"gates": _parse_gates(doc)})


def _parse_gates(doc: dict[str, Any]) -> tuple[GateResult, ...]:
    """None where another release wrote them in another form: the rest of the record is worth keeping."""
    try:
        return tuple(from_json(GateResult, gate) for gate in doc.get("gates", []))
    except (ValueError, TypeError):
        return ()
