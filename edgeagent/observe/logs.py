# SPDX-License-Identifier: AGPL-3.0-or-later
"""Logs: structlog to stderr, one JSON object a line; libraries that use `logging` come out the same way.

Lines are written by a thread of their own, from a bounded queue: a paused terminal or a slow journal must
not stop a frame. What doesn't fit is dropped, and counted in the next line that does. So is what repeats itself: of
each kind of line, some are written at once and then one a second.
"""

from __future__ import annotations

import atexit
import logging
import logging.handlers
import queue
import sys
import time
from typing import Any, TextIO

import structlog

from edgeagent.core.text import redact

QUEUE_LINES = 10_000
LAST_LINES_S = 2.0
REPEAT_BURST = 50
REPEAT_PER_S = 1.0
MAX_KINDS = 500
UNLIMITED = "each_line_counts"
"""Field (true) of a line that is data, such as a frame's detections, and is never left out for being one of many."""
_QUIET = ("asyncio", "watchfiles", "fsspec", "aiohttp", "urllib3", "botocore", "s3fs", "grpc", "uvicorn")

_listener: _Listener | None = None


def setup_logging(level: str = "info", fmt: str = "auto", stream: TextIO | None = None) -> None:
    """Send structlog's and the standard library's records to `stream` (stderr if None). May be called again.

    level: debug, info, warning or error. fmt: json, console (for people), or auto: console on a terminal.
    """
    stop_logging()
    out = sys.stderr if stream is None else stream
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.StackInfoRenderer(),
    ]
    render: list[structlog.typing.Processor]
    if fmt == "console" or (fmt == "auto" and out.isatty()):
        render = [
            structlog.dev.ConsoleRenderer(
                colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        ]
    else:
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.PositionalArgumentsFormatter()],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render, _redact_line],
        )
    )
    _start(handler)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    logging.getLogger().setLevel(level.upper())
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


def stop_logging() -> bool:
    """Write what is queued and stop the writing thread. Idempotent; also runs when the process ends.

    Returns whether all of it could be written: False when whoever reads the lines has stopped reading.
    """
    global _listener
    written = True
    if _listener is not None:
        written = _listener.end()
        _listener = None
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, _BoundedQueueHandler):
            logging.getLogger().removeHandler(handler)
    return written


class RepeatLimit:
    """How many lines of a kind are written: `REPEAT_BURST` at once, then one each time that a second has passed."""

    def __init__(self) -> None:
        self._kinds: dict[
            object, tuple[float, float, int]
        ] = {}  # lines that may come, as of when; left out since

    def allow(self, kind: object, now: float) -> int | None:
        """How many of this kind were left out before this one, which is to be written; None: leave it out, too."""
        budget, then, left_out = self._kinds.pop(kind, (float(REPEAT_BURST), now, 0))
        budget = min(float(REPEAT_BURST), budget + (now - then) * REPEAT_PER_S)
        allowed = budget >= 1
        self._kinds[kind] = (budget - allowed, now, 0 if allowed else left_out + 1)
        if len(self._kinds) > MAX_KINDS:
            del self._kinds[next(iter(self._kinds))]
        return left_out if allowed else None


class _BoundedQueueHandler(logging.handlers.QueueHandler):
    """Hands records to the writing thread as they are; never waits."""

    def __init__(self, lines: queue.Queue[Any]) -> None:
        super().__init__(lines)
        self._dropped = 0
        self._repeats = RepeatLimit()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record

    def enqueue(self, record: logging.LogRecord) -> None:
        fields = record.msg if isinstance(record.msg, dict) else None
        if not (fields is not None and fields.pop(UNLIMITED, False)) and record.levelno > logging.DEBUG:
            left_out = self._repeats.allow(_kind(record, fields), time.monotonic())
            if left_out is None:
                return
            if left_out:
                _add(record, fields, "repeated", left_out)
        if self._dropped:
            _add(record, fields, "log_lines_dropped", self._dropped)
        try:
            self.queue.put_nowait(record)
            self._dropped = 0
        except queue.Full:
            self._dropped += 1


def _kind(record: logging.LogRecord, fields: dict[str, Any] | None) -> object:
    """What makes a line one of many: who says it and its event, or the place in the code of a library."""
    return (record.name, fields.get("event")) if fields else (record.name, record.pathname, record.lineno)


def _add(record: logging.LogRecord, fields: dict[str, Any] | None, name: str, count: int) -> None:
    if fields is not None:
        fields[name] = count
    else:
        record.msg, record.args = f"{record.getMessage()} ({name.replace('_', ' ')}: {count})", None


class _Listener(logging.handlers.QueueListener):
    """Its end doesn't wait for ever for a reader that has stopped reading."""

    def end(self) -> bool:
        """Stop; says whether all that was queued is written."""
        if self._thread is None:
            return True
        try:
            self.enqueue_sentinel()
        except queue.Full:
            return False
        self._thread.join(LAST_LINES_S)
        is_alive, self._thread = self._thread.is_alive(), None
        return not is_alive


def _start(handler: logging.Handler) -> None:
    global _listener
    lines: queue.Queue[Any] = queue.Queue(QUEUE_LINES)
    logging.getLogger().addHandler(_BoundedQueueHandler(lines))
    _listener = _Listener(lines, handler)
    _listener.start()


def _redact_line(_logger: Any, _name: str, line: Any) -> Any:
    return redact(line)


atexit.register(stop_logging)
