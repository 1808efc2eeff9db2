# SPDX-License-Identifier: AGPL-3.0-or-later
"""The audit log: what happened to which model, on whose word, and why. Append-only, one JSON line each.

What changed is on the disk when `append` returns, or is kept in memory until the disk takes it again. What was refused
is kept apart, for anybody can have any number of things refused: however many, they push out only each other. Each of
the two is a chain (core/receipts.py): what was changed, removed or put in by hand is found by `check`.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import structlog

from edgeagent.core.receipts import MAX_SEAL, ChainReport, Link
from edgeagent.errors import UnavailableError
from edgeagent.observe.audit_check import (
    FILE_NAME,
    KEEP,
    KEEP_REFUSED,
    REFUSED_FILE_NAME,
    check_snapshot,
)
from edgeagent.observe.audit_record import AuditRecord, parse_record, record_text
from edgeagent.observe.chained_file import ChainedFile, Snapshot
from edgeagent.util.rotating import NotWrittenError

__all__ = ["FILE_NAME", "REFUSED_FILE_NAME", "AuditLog", "AuditRecord"]

MAX_BYTES = 10 << 20
"""Of each file."""
REFUSALS = ("rejected", "superseded", "invalid", "not rebuilt")
"""Results of what changed nothing."""
TAIL_RECORDS = 1000
TAIL_BYTES = 2 << 20
REPEAT_S = 600.0
"""A refusal that comes again within so many seconds is counted. Each tenth, hundredth, … of them is written."""
MAX_REPEATING = 64
SETTLE_S = 5.0
"""How long the head of what was refused may be behind its file: each time is a sync of the disk."""
LOCK_S = 5.0
"""How long whoever checks the log waits for a disk that hangs."""
_log = structlog.get_logger(__name__)


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
        max_bytes: int = MAX_BYTES,
        keep: int = KEEP,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        changed = ChainedFile(folder / FILE_NAME, max_bytes, keep, durable=True)
        refused = ChainedFile(folder / REFUSED_FILE_NAME, max_bytes, KEEP_REFUSED, durable=False)
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

    @property
    def head(self) -> str:
        """The last record of what changed that is on the disk, as `NUMBER:HASH`, "" before the first."""
        return str(self._changed.head)

    @property
    def settled(self) -> bool:
        """Whether the heads on the disk name all that was written."""
        return not (self._changed.head_waits or self._refused.head_waits)

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

    def settle(self) -> bool:
        """Have the heads on the disk name all that was written; says whether they do. To be called every SETTLE_S."""
        return all([self._changed.settle(), self._refused.settle()])

    def check(self, anchors: Sequence[Link] = ()) -> dict[str, ChainReport]:
        """What became of both chains, by the name of their files; anchors: of the records that changed something. Takes
        seconds, and one part in four of a processor: for a thread of its own.

        Raises UnavailableError when the disk hangs, or can't be read.
        """
        try:
            return {
                FILE_NAME: check_snapshot(self._changed.snapshot(), anchors, gently=True),
                REFUSED_FILE_NAME: check_snapshot(self._refused.snapshot(), gently=True),
            }
        except (OSError, TimeoutError) as e:
            raise UnavailableError("the audit log", f"can't be read ({e})", "look at the disk") from e

    def tail(self, count: int) -> list[str]:
        """The last `count` records (1000 at most), oldest first, each as JSON; also from before a restart.

        Refusals are half of them at most, as long as there is enough that changed. Never waits for the disk.
        """
        changed, refused = self._changed.tail(count), self._refused.tail(count)
        refused = _last(refused, max(count // 2, count - len(changed)))
        both = sorted([*_last(changed, count - len(refused)), *refused], key=lambda line: line.number)
        return [line.text for line in both]

    def _line(self, record: AuditRecord) -> _Line:
        return _Line(next(self._numbers), text := record_text(record), len(text) + MAX_SEAL)


@dataclass(eq=False)
class _Line:
    """A record as JSON, without secrets; with its seal, once it is on the disk. number: grows from one to the next;
    size: what it takes at most."""

    number: int
    text: str
    size: int


@dataclass(frozen=True)
class _Repeating:
    """The latest record of a refusal that may come again, how often it came, and when last (monotonic)."""

    line: _Line
    count: int
    when: float


class _Records:
    """Records of one kind: their file, and the last of them in memory. Thread-safe."""

    def __init__(self, file: ChainedFile) -> None:
        self._file = file
        self._lock = threading.Lock()  # held while the disk writes
        self._tail_lock = threading.Lock()  # never held for long: `tail` is called on the event loop
        self._tail: deque[_Line] = deque()
        self._tail_bytes = 0
        self._forgotten = 0
        self.unsaved: deque[_Line] = deque()

    @property
    def head(self) -> Link:
        """Of what is on the disk."""
        return self._file.head.last

    @property
    def head_waits(self) -> bool:
        """Whether the head on the disk is behind."""
        return self._file.head_waits

    def append(self, line: _Line, instead_of: _Line | None = None, on_disk: bool = True) -> bool:
        """Into the tail, where it may take another's place, and on the disk; says whether the disk has it."""
        with self._lock:
            with self._tail_lock:
                if instead_of and instead_of in self._tail:
                    self._tail.remove(instead_of)
                    self._tail_bytes -= instead_of.size
                self.remember(line)
            if on_disk:
                self.unsaved.append(line)
                if len(self.unsaved) > TAIL_RECORDS:
                    self.unsaved.popleft()
                    self._forgotten += 1
            return self._write()

    def flush(self) -> bool:
        """Write what waits; says whether the disk has all of it."""
        with self._lock:
            return self._write()

    def settle(self) -> bool:
        """Bring the head on the disk up to date; says whether it is."""
        with self._lock:
            try:
                self._file.save_head()
            except OSError as e:
                self._told(e)
        return not self._file.head_waits

    def snapshot(self) -> Snapshot:
        """The chain as it is now. Raises OSError, TimeoutError when the disk hangs."""
        if not self._lock.acquire(timeout=LOCK_S):
            raise TimeoutError("a write to it hangs")
        try:
            return self._file.snapshot()
        finally:
            self._lock.release()

    def tail(self, count: int) -> list[_Line]:
        """The last `count`, oldest first."""
        with self._tail_lock:
            return _last(list(self._tail), count)

    def _write(self) -> bool:
        if not self.unsaved:
            return True
        lines = list(self.unsaved)
        if self._forgotten:
            lines.insert(0, _Line(0, record_text(_gap(self._forgotten)), 0))
        try:
            written = self._file.append([line.text for line in lines])
        except NotWrittenError as e:
            self._told(e)
            written = []
            for line in lines[: e.written]:
                self._taken(line)
            return False
        for line, text in zip(lines, written, strict=True):
            self._taken(line)
            line.text = text
        if self._file.durable:
            last = self.head
            _log.info(
                "audit.sealed", seq=last.seq, hash=last.hash
            )  # whoever keeps the log elsewhere has an anchor
            try:
                self._file.save_head()
            except OSError as e:  # the records are there: their head follows with the next, or with `settle`
                self._told(e)
        return True

    def _taken(self, line: _Line) -> None:
        """The disk has this one."""
        if self.unsaved and line is self.unsaved[0]:
            self.unsaved.popleft()
        else:
            self._forgotten = 0

    def _told(self, error: OSError) -> None:
        path = str(self._file.files[0])
        _log.error("audit.write_failed", path=path, why=str(error), waiting=len(self.unsaved))

    def remember(self, line: _Line) -> None:
        """Into the tail, as what has happened before."""
        self._tail.append(line)
        self._tail_bytes += line.size
        while len(self._tail) > TAIL_RECORDS or self._tail_bytes > TAIL_BYTES:
            self._tail_bytes -= self._tail.popleft().size


def _gap(count: int) -> AuditRecord:
    """What is told of records that no disk had room for."""
    why = f"{count} records are lost: the disk took none, and memory holds {TAIL_RECORDS}"
    return AuditRecord("audit", who="edgeagent", result="lost", why=why)


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
        parsed = [parse_record(line) for line in lines if line.strip()]
        torn += parsed.count(None)
        records = [r for r in parsed if r is not None] + records
        if len(records) >= TAIL_RECORDS:
            break
    if torn:
        _log.warning("audit.lines_skipped", count=torn, why="not whole; a power cut can do that")
    return records[-TAIL_RECORDS:]
