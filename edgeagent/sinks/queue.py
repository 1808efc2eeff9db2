# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a pipeline's detections go: a rotating file of JSON lines, the log. A thread writes, never the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import structlog

from edgeagent.config import JsonlSink, LogSink
from edgeagent.sinks.port import Record, Sink, SinkError

_log = structlog.get_logger(__name__)

QUEUE_RECORDS = 4096  # two minutes at 30 frames a second, some megabytes
BATCH_RECORDS = 256
_RETRY_S = 1.0

T = TypeVar("T")


class Sinks:
    """The sinks of one pipeline, with one queue and one thread.

    on_pressure(behind), on the event loop: the queue is more than half full, or less than a quarter again. Records
    that find the queue full, or that a sink can't write, are counted in `lost` (one for each such sink) and the
    line goes on. on_error(sink), on the event loop: it lost records just now. To be built on the event loop.
    """

    def __init__(
        self,
        pipeline: str,
        configs: Sequence[JsonlSink | LogSink],
        on_pressure: Callable[[bool], None],
        on_error: Callable[[str], None] = lambda sink: None,
        *,
        queue_records: int = QUEUE_RECORDS,
    ) -> None:
        self.behind = False
        self.lost = 0
        self.written = 0
        self.errors: dict[str, str] = {}  # by sink: why it can't be written now
        self._pipeline = pipeline
        self._on_pressure, self._on_error = on_pressure, on_error
        self._limit = queue_records
        self._writers = [_writer(config) for config in configs]
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Record] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"sinks {pipeline}", daemon=True)
        if self._writers:
            self._thread.start()

    def write(self, record: Record) -> None:
        """Queue a record. Never blocks."""
        if not self._writers:
            return
        with self._ready:
            if self._closing or len(self._queue) >= self._limit:
                self.lost += len(self._writers)
                return
            self._queue.append(record)
            self._ready.notify()
            pressed = not self.behind and len(self._queue) > self._limit // 2
            self.behind = self.behind or pressed
        if pressed:
            self._loop.call_soon(self._on_pressure, True)

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is queued, for at most `timeout_s` seconds, and let go of the files. Idempotent."""
        with self._ready:
            self._closing = True
            self._ready.notify()
        if not self._writers:
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            left = len(self._queue)
            self.lost += left
            _log.error(
                "sinks given up", pipeline=self._pipeline, why=f"not done after {timeout_s:g} s", records=left
            )

    def status(self) -> dict[str, Any]:
        """What `/api/status` shows of the sinks."""
        return {
            "written": self.written,
            "lost": self.lost,
            "queued": len(self._queue),
            "behind": self.behind,
            "errors": dict(self.errors),
        }

    # --- below: in the thread

    def _run(self) -> None:
        while batch := self._next_batch():
            for writer in self._writers:
                self._write(writer, batch)
        for writer in self._writers:
            writer.close()

    def _next_batch(self) -> list[Record]:
        """Waits for records; empty when there will be none any more."""
        with self._ready:
            while not self._queue and not self._closing:
                self._ready.wait()
            batch = [self._queue.popleft() for _ in range(min(BATCH_RECORDS, len(self._queue)))]
            eased = self.behind and len(self._queue) < self._limit // 4
            self.behind = self.behind and not eased
        if eased:
            self._tell(self._on_pressure, False)
        return batch

    def _tell(self, callback: Callable[[T], None], value: T) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left who could be told
            self._loop.call_soon_threadsafe(callback, value)

    def _write(self, writer: Sink, batch: list[Record]) -> None:
        lost = 0
        try:
            writer.write(batch)
        except SinkError as e:
            lost = e.lost
            self._tell(self._on_error, writer.name)
            if writer.name not in self.errors:
                _log.error("sink can't be written", pipeline=self._pipeline, sink=writer.name, why=str(e))
            self.errors[writer.name] = str(e)
        else:
            if self.errors.pop(writer.name, None):
                _log.info("sink is written again", pipeline=self._pipeline, sink=writer.name, lost=self.lost)
        with self._ready:
            self.lost += lost
            self.written += len(batch) - lost


class JsonlWriter:
    """Appends to one file, which becomes `path`.1 when it is full, and so on up to `path`.<keep>.

    Only whole lines: what a full disk cuts off is taken back, what a power cut left is ended with a newline.
    """

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self.name = str(path)
        self._path, self._max_bytes, self._keep = path, max_bytes, keep
        self._fd = -1
        self._size = 0
        self._retry_at = 0.0
        self._why = ""

    def write(self, batch: Sequence[Record]) -> None:
        """Raises SinkError; tries the disk again a second after it refused."""
        if time.monotonic() < self._retry_at:
            raise SinkError(self._why, len(batch))
        written = 0
        try:
            lines: list[bytes] = []
            for record in batch:
                try:
                    lines.append(record.to_json() + b"\n")
                except TypeError as e:
                    self._why = f"a record is not JSON: {e}"
            self._open_if_needed()
            if self._size and self._size + sum(map(len, lines)) > self._max_bytes:
                self._rotate()
            written = self._append(b"".join(lines))
        except OSError as e:
            self.close()
            self._retry_at = time.monotonic() + _RETRY_S
            self._why = f"{e.strerror or e}"
        if written < len(batch):
            raise SinkError(self._why, len(batch) - written)

    def close(self) -> None:
        """Close the file; the next write opens it again."""
        if self._fd >= 0:
            with contextlib.suppress(
                OSError
            ):  # what it may report was reported for the write; the descriptor is gone
                os.close(self._fd)
            self._fd = -1

    def _open_if_needed(self) -> None:
        if self._fd >= 0:
            if _is_file(self._path, self._fd):
                return
            self.close()  # moved or removed by somebody: what is written must be found under its name
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._size += os.write(self._fd, b"\n")

    def _append(self, data: bytes) -> int:
        """Append lines. Returns how many are written: not all of them when the disk is full."""
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:])
        except OSError as e:
            whole = data.rfind(b"\n", 0, done) + 1
            os.ftruncate(self._fd, self._size + whole)
            self._size += whole
            self._retry_at, self._why = time.monotonic() + _RETRY_S, f"{e.strerror or e}"
            return data.count(b"\n", 0, whole)
        self._size += done
        return data.count(b"\n")

    def _rotate(self) -> None:
        self.close()
        older = [self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._keep + 1)]
        for source, target in reversed(list(zip([self._path, *older], older, strict=False))):
            if source.exists():
                os.replace(source, target)
        if not older:
            self._path.unlink()
        self._open_if_needed()


class LogWriter:
    """One line of the node's log a frame."""

    name = "log"

    def write(self, batch: Sequence[Record]) -> None:
        """As one field, so that the record's time stays beside the line's own."""
        for record in batch:
            _log.info("detections", record=record.as_dict())

    def close(self) -> None:
        """Nothing to let go of."""


def _writer(config: JsonlSink | LogSink) -> Sink:
    if isinstance(config, JsonlSink):
        return JsonlWriter(config.path, config.max_mb * 1_000_000, config.keep)
    return LogWriter()


def _is_file(path: Path, fd: int) -> bool:
    try:
        there, ours = os.stat(path), os.fstat(fd)
    except OSError as e:
        if e.errno == errno.ENOENT:
            return False
        raise
    return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)
