# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit log: what happened to which model, on whose word, and why. Append-only, one JSON line each.

What changed is on the disk when `append` returns, or is kept in memory until the disk takes it again. What was refused
is kept apart, for anybody can have any number of things refused: however many, they push out only each other.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from edgeagent.core.gating import GateResult
from edgeagent.core.text import redact
from edgeagent.util.codec import from_json
from edgeagent.util.rotating import NotWrittenError, RotatingFile

FILE_NAME = "audit.jsonl"
REFUSED_FILE_NAME = "refused.jsonl"
REFUSALS = ("rejected", "superseded", "invalid", "not rebuilt")
"""Results of what changed nothing."""
TAIL_RECORDS = 1000
TAIL_BYTES = 2 << 20
REPEAT_S = 600.0
"""A refusal that comes again within so many seconds is counted. Each tenth, hundredth, … of them is written."""
MAX_REPEATING = 64
_log = structlog.get_logger(__name__)


def utc_now() -> str:
    """Now as ISO 8601 in UTC, to the millisecond: `2026-01-31T12:00:00.123Z`."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True)
class AuditRecord:
    """One thing that happened. Texts are "" where they don't apply; stages are seconds by stage; gates: what they found
    in `to_version`; count: of a refusal that came again and again, how often it came."""

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


class AuditLog:
    """`<folder>/audit.jsonl` for what changed and `refused.jsonl` for what was refused, each rotated to `.1` and so on.
    Thread-safe.

    `append` waits for the disk: call it off the event loop. It raises nothing for a disk that is full or
    read-only: the record stays in the tail, and is written by `flush`, or before the next one that finds room. clock:
    monotonic.
    """

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int = 10 << 20,
        keep: int = 5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        changed = RotatingFile(folder / FILE_NAME, max_bytes, keep, durable=True)
        refused = RotatingFile(folder / REFUSED_FILE_NAME, max_bytes, 1)
        # Earlier releases wrote both into one file.
        known = sorted([*_read_tail(changed.files), *_read_tail(refused.files)], key=lambda r: str(r.when))
        self._numbers = itertools.count()
        self._changed, self._refused = _Records(changed), _Records(refused)
        for record in known:
            records = self._refused if record.result in REFUSALS else self._changed
            records.remember(self._line(record))
        self._repeating: dict[tuple[str, ...], _Repeating] = {}  # the longest unseen first
        self._lock = threading.Lock()
        self._clock = clock

    @property
    def unsaved(self) -> int:
        """How many records wait for the disk."""
        return len(self._changed.unsaved) + len(self._refused.unsaved)

    def append(self, record: AuditRecord) -> bool:
        """Write a record durably; says whether the disk has it. A refusal that repeats itself is counted instead."""
        if record.result not in REFUSALS:
            return self._changed.append(self._line(record))
        with self._lock:
            what, now = _what(record), self._clock()
            before = self._repeating.pop(what, None)
            if before and now - before.when > REPEAT_S:
                before = None
            count = before.count + 1 if before else 1
            line = self._line(replace(record, count=count))
            self._repeating[what] = _Repeating(line, count, now)
            if len(self._repeating) > MAX_REPEATING:
                del self._repeating[next(iter(self._repeating))]
            last = before.line if before else None
            return self._refused.append(line, last, on_disk=_is_power_of_ten(count))

    def flush(self) -> bool:
        """Write what waits for the disk; says whether it has all of it."""
        return all([self._changed.flush(), self._refused.flush()])

    def tail(self, count: int) -> list[str]:
        """The last `count` records (1000 at most), oldest first, each as JSON; also from before a restart.

        Refusals are half of them at most, as long as there is enough that changed. Never waits for the disk.
        """
        changed, refused = self._changed.tail(count), self._refused.tail(count)
        refused = _last(refused, max(count // 2, count - len(changed)))
        both = sorted([*_last(changed, count - len(refused)), *refused], key=lambda line: line.number)
        return [line.text for line in both]

    def _line(self, record: AuditRecord) -> _Line:
        text = redact(json.dumps(asdict(record), ensure_ascii=False))
        return _Line(next(self._numbers), text.encode("utf-8", "replace").decode())


@dataclass(frozen=True, eq=False)
class _Line:
    """A record as JSON, without secrets. number: grows from one to the next."""

    number: int
    text: str


@dataclass(frozen=True)
class _Repeating:
    """The latest record of a refusal that may come again, how often it came, and when last (monotonic)."""

    line: _Line
    count: int
    when: float


class _Records:
    """Records of one kind: their file, and the last of them in memory. Thread-safe."""

    def __init__(self, file: RotatingFile) -> None:
        self._file = file
        self._lock = threading.Lock()  # held while the disk writes
        self._tail_lock = threading.Lock()  # never held for long: `tail` is called on the event loop
        self._tail: deque[_Line] = deque()
        self._tail_bytes = 0
        self.unsaved: deque[bytes] = deque(maxlen=TAIL_RECORDS)

    def append(self, line: _Line, instead_of: _Line | None = None, on_disk: bool = True) -> bool:
        """Into the tail, where it may take another's place, and on the disk; says whether the disk has it."""
        with self._lock:
            with self._tail_lock:
                if instead_of and instead_of in self._tail:
                    self._tail.remove(instead_of)
                    self._tail_bytes -= len(instead_of.text)
                self.remember(line)
            if on_disk:
                self.unsaved.append(line.text.encode() + b"\n")
            return self._write()

    def flush(self) -> bool:
        """Write what waits; says whether the disk has all of it."""
        with self._lock:
            return self._write()

    def tail(self, count: int) -> list[_Line]:
        """The last `count`, oldest first."""
        with self._tail_lock:
            return _last(list(self._tail), count)

    def _write(self) -> bool:
        if not self.unsaved:
            return True
        try:
            self._file.append(self.unsaved)
        except NotWrittenError as e:
            path = str(self._file.files[0])
            _log.error("audit.write_failed", path=path, why=str(e), waiting=len(self.unsaved))
            return False
        finally:
            self._file.close()  # records are rare: nothing is held open meanwhile
        self.unsaved.clear()
        return True

    def remember(self, line: _Line) -> None:
        """Into the tail, as what has happened before."""
        self._tail.append(line)
        self._tail_bytes += len(line.text)
        while len(self._tail) > TAIL_RECORDS or self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft().text)


def _what(record: AuditRecord) -> tuple[str, ...]:
    """What makes two refusals the same, whenever they came and however long they took."""
    texts = (f.name for f in fields(record) if f.type == "str" and f.name != "when")
    return tuple(getattr(record, name) for name in texts)


def _is_power_of_ten(count: int) -> bool:
    return str(count).rstrip("0") == "1"


def _last(lines: list[_Line], count: int) -> list[_Line]:
    return lines[-count:] if count > 0 else []


def _read_tail(files: list[Path]) -> list[AuditRecord]:
    """The last records of the files (newest file first), oldest first; skips lines that are not whole."""
    records: list[AuditRecord] = []
    torn = 0
    for path in files:
        try:
            with path.open("rb") as f:
                size = f.seek(0, os.SEEK_END)
                f.seek(max(0, size - TAIL_BYTES))
                lines = f.read().split(b"\n")[1 if size > TAIL_BYTES else 0 :]
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
