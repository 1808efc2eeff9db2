# SPDX-License-Identifier: AGPL-3.0-or-later
"""Between the path of a frame and what writes: for each sink a bounded queue and a thread of its own.

A sink that is slow, hangs or fails costs its own records only: neither the sink beside it nor a live line notices. A
line that must lose nothing waits for the sinks that are lossless, as long as these make progress.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from edgeagent.core.text import clean
from edgeagent.sinks.port import Backlog, Record, Sink, SinkConfig, SinkError, SinkPlace, StoringSink
from edgeagent.sinks.registry import open_sink

_log = structlog.get_logger(__name__)

QUEUE_RECORDS = 4096  # two minutes at 30 frames a second, some megabytes
BATCH_RECORDS = 256
CLOSE_S = 5.0
_MAX_WORDS = 500  # of an error, which status and log show


class SinkQueue:
    """One sink, with its queue and its thread. `put` is for the event loop's thread; never blocks.

    on_change(): it is behind, or no more, or has written after it hung, or has ended. on_lost(records, refused): so
    many records are lost; refused: the sink did not take a batch, else they found the queue full. Both are called from
    either thread.
    """

    def __init__(
        self,
        pipeline: str,
        config: SinkConfig,
        sink: Sink,
        on_change: Callable[[], None],
        on_lost: Callable[[int, bool], None],
        limit: int = QUEUE_RECORDS,
    ) -> None:
        self.config = config
        self.name = sink.name
        self.behind = False  # the queue is more than half full, and was not less than a quarter full since
        self.ended = False
        self.written = 0
        self.lost = 0
        self._sink = sink
        self._storing = sink if isinstance(sink, StoringSink) else None
        self._on_change, self._on_lost = on_change, on_lost
        self._limit = limit
        self._log = _log.bind(pipeline=pipeline, sink=sink.name)
        self._queue: deque[Record] = deque()
        self._ready = threading.Condition()
        self._closing = False
        self._writing = 0  # records in the thread's hands,
        self._since = 0.0  # and since when (monotonic seconds)
        self._refused = ""  # why the last batch was not written
        self._hangs = False
        self._full = False
        threading.Thread(target=self._run, name=f"sink {sink.name}", daemon=True).start()

    @property
    def error(self) -> str:
        """What is wrong with it now; "" when nothing is."""
        overdue = self._writing and time.monotonic() >= self._since + self.config.patience_seconds
        if self._hangs or overdue:
            return f"hangs: nothing was written for {self.config.patience_seconds:g} s"
        full = "can't keep up: its queue is full" if self._full else ""
        return self._refused or full or self._backlog.why

    @property
    def _backlog(self) -> Backlog:
        return self._storing.backlog() if self._storing else Backlog(delivered=self.written)

    def put(self, record: Record) -> None:
        """Queue a record; one that finds the queue full, or closed, is lost."""
        with self._ready:
            accepted = not self._closing and len(self._queue) < self._limit
            if accepted:
                self._queue.append(record)
                self._ready.notify()
            pressed = accepted and not self.behind and len(self._queue) > self._limit // 2
            self.behind = self.behind or pressed
            overflows = not accepted and not self._closing and not self._full
            self._full = self._full or overflows
            self.lost += not accepted
        if overflows:
            self._log.error("sink.overflows", why=self.error, queued=self._limit)
        if not accepted:
            self._on_lost(1, False)
        if pressed:
            self._on_change()

    def holds_until(self, now: float) -> float | None:
        """Until when (monotonic seconds) a line must wait for this sink unless something changes; None: not at all."""
        if not (self.config.lossless and self.behind):
            return None
        with self._ready:
            until = (self._since if self._writing else now) + self.config.patience_seconds
            hangs = now >= until and not self._hangs
            self._hangs = self._hangs or hangs
        if hangs:
            self._log.error("sink.hangs", why=self.error, queued=len(self._queue))
        return None if self._hangs else until

    def status(self) -> dict[str, Any]:
        """What `/api/status` shows of this sink; `written` is what arrived, `queued` what waits, also on the disk."""
        backlog = self._backlog
        return {
            "sink": self.name,
            "type": self.config.type,
            "lossless": self.config.lossless,
            "written": backlog.delivered,
            "lost": self.lost + backlog.dropped,
            "queued": len(self._queue) + backlog.records,
            "behind": self.behind,
            "error": self.error or None,
        }

    def close(self) -> None:
        """Take no more records, write those that wait, and let go of the sink; then `ended` is true."""
        with self._ready:
            self._closing = True
            self._ready.notify()

    def give_up(self) -> None:
        """What waits still is lost."""
        with self._ready:
            left = len(self._queue)
            self._queue.clear()
            self.lost += left
        self._log.error("sink.given_up", why="not done in time", queued=left, in_work=self._writing)

    # --- below: in the thread

    def _run(self) -> None:
        if self._storing:
            with contextlib.suppress(Exception):  # the first write says what is wrong
                self._storing.start()
        while batch := self._next_batch():
            self._write(batch)
        with contextlib.suppress(BaseException):  # nobody is left who could do something about it
            self._sink.close()
        self.ended = True
        self._on_change()

    def _next_batch(self) -> list[Record]:
        """Waits for records; empty when there will be none any more."""
        with self._ready:
            while not self._queue and not self._closing:
                self._ready.wait()
            batch = [self._queue.popleft() for _ in range(min(BATCH_RECORDS, len(self._queue)))]
            self._writing, self._since = len(batch), time.monotonic()
            eased = self.behind and len(self._queue) < self._limit // 4
            if eased:
                self.behind = self._full = False
        if eased:
            self._on_change()
        return batch

    def _write(self, batch: list[Record]) -> None:
        lost, why = 0, ""
        try:
            self._sink.write(batch)
        except SinkError as e:
            lost, why = min(max(e.lost, 0), len(batch)), _words(e) or type(e).__name__
        except BaseException as e:  # noqa: BLE001  (another's sink: its faults cost records, not the thread)
            lost, why = len(batch), f"{type(e).__name__}: {_words(e)}"
        with self._ready:
            self.lost += lost
            self.written += len(batch) - lost
            self._writing = 0
            before, self._refused = self._refused, why
            hung, self._hangs = self._hangs, False
        if why and not before:
            self._log.error("sink.failed", why=why)
        if (before or hung) and not why:
            self._log.info("sink.recovered", lost=self.lost)
        if why:
            self._on_lost(lost, True)
        if hung:
            self._on_change()


def _words(error: BaseException) -> str:
    try:
        return clean(str(error), _MAX_WORDS)
    except Exception:  # noqa: BLE001  (another's error, which can't even be said)
        return ""


@dataclass(frozen=True)
class SinkHost:
    """The node on which sinks work. folder: below it each pipeline has one for what must outlive a restart."""

    node: str
    folder: Path


class Sinks:
    """The sinks of one pipeline. To be built and used on the event loop.

    on_pressure(behind): a lossless sink is behind, or none is any more; one that hangs for longer than its patience
    doesn't count. on_error(sink): a batch was not written. on_lost(sink, records): so many are lost, however that came.
    """

    def __init__(
        self,
        pipeline: str,
        configs: Sequence[SinkConfig],
        on_pressure: Callable[[bool], None],
        on_error: Callable[[str], None] = lambda sink: None,
        on_lost: Callable[[str, int], None] = lambda sink, records: None,
        *,
        host: SinkHost,
        queue_records: int = QUEUE_RECORDS,
    ) -> None:
        """Raises EdgeAgentError when something that a sink needs is missing on this machine."""
        self._loop = asyncio.get_running_loop()
        self._on_pressure, self._on_error, self._on_lost = on_pressure, on_error, on_lost
        self._pressed = False
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._queues: list[SinkQueue] = []
        here = SinkPlace(host.node, pipeline, secrets.token_hex(4), host.folder / pipeline)
        # All, before one has a thread.
        opened = [(config, open_sink(config, self._place(here, n))) for n, config in enumerate(configs)]
        for n, (config, sink) in enumerate(opened):
            lost = partial(self._tell, self._count_lost, n)
            queue = SinkQueue(pipeline, config, sink, partial(self._tell, self._look), lost, queue_records)
            self._queues.append(queue)

    def write(self, record: Record) -> None:
        """Queue a record for each sink. Never blocks."""
        for queue in self._queues:
            queue.put(record)

    async def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write what is queued, for at most so long (seconds, all sinks together), and let go of them. Idempotent."""
        for queue in self._queues:
            queue.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not all(queue.ended for queue in self._queues):
                    self._changed.clear()
                    await self._changed.wait()
        for queue in self._queues:
            if not queue.ended:
                queue.give_up()
        if self._timer:
            self._timer.cancel()

    def status(self) -> dict[str, Any]:
        """What `/api/status` shows of the sinks: sums over all, and each by itself."""
        each = [queue.status() for queue in self._queues]
        return {
            "written": sum(sink["written"] for sink in each),
            "lost": sum(sink["lost"] for sink in each),
            "queued": sum(sink["queued"] for sink in each),
            "behind": any(sink["behind"] for sink in each),
            "errors": {sink["sink"]: sink["error"] for sink in each if sink["error"]},
            "each": each,
        }

    def _tell(self, callback: Callable[..., None], *values: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left who could be told
            self._loop.call_soon_threadsafe(callback, *values)

    def _place(self, here: SinkPlace, number: int) -> SinkPlace:
        """Where the sink of this number works."""
        return replace(
            here,
            on_failed=lambda why: self._tell(self._count_lost, number, 0, True),
            on_dropped=lambda records: self._tell(self._count_lost, number, records, False),
        )

    def _count_lost(self, number: int, records: int, refused: bool) -> None:
        sink = self._queues[number].name
        if refused:
            self._on_error(sink)
        self._on_lost(sink, records)

    def _look(self) -> None:
        """Whether the line has to wait; again when a sink's patience is over."""
        self._changed.set()
        if self._timer:
            self._timer.cancel()
            self._timer = None
        now = time.monotonic()
        waits = [until for queue in self._queues if (until := queue.holds_until(now)) is not None]
        if bool(waits) != self._pressed:
            self._pressed = bool(waits)
            self._on_pressure(self._pressed)
        if waits:
            self._timer = self._loop.call_later(min(waits) - now, self._look)
