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
from edgeagent.sinks.port import (
    Backlog,
    PictureSink,
    Record,
    Sink,
    SinkConfig,
    SinkError,
    SinkPlace,
    StoringSink,
)
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
        """Records can be put at once; they are written from `start` on."""
        self.config = config
        self.name = sink.name
        self.behind = False  # the queue is more than half full, and was not less than a quarter full since
        self._over = threading.Event()
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

    def start(self, after: Sequence[SinkQueue] = ()) -> None:
        """Begin to write, once these have ended: they may hold the same file. To be called once."""
        name = f"sink {self.name}"
        threading.Thread(target=self._run, args=(tuple(after),), name=name, daemon=True).start()

    @property
    def ended(self) -> bool:
        """Whether it has let go of its sink."""
        return self._over.is_set()

    @property
    def error(self) -> str:
        """What is wrong with it now; "" when nothing is."""
        overdue = self._writing and time.monotonic() >= self._since + self.config.patience_seconds
        if self._hangs or overdue:
            return f"hangs: nothing was written for {self.config.patience_seconds:g} s"
        full = "can't keep up: its queue is full" if self._full else ""
        return self._refused or full or self._backlog.why

    @property
    def pictures(self) -> PictureSink | None:
        """The sink, if it wants pictures of frames in place of records."""
        return self._sink if isinstance(self._sink, PictureSink) else None

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

    def _run(self, after: Sequence[SinkQueue]) -> None:
        patience_until = time.monotonic() + CLOSE_S  # one that hangs is waited for as when a node stops
        for queue in after:
            queue._over.wait(max(0.0, patience_until - time.monotonic()))
        if self._storing:
            with contextlib.suppress(Exception):  # the first write says what is wrong
                self._storing.start()
        while batch := self._next_batch():
            self._write(batch)
        with contextlib.suppress(BaseException):  # nobody is left who could do something about it
            self._sink.close()
        self._over.set()
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
        self._queue_records = queue_records
        self._on_pressure, self._on_error, self._on_lost = on_pressure, on_error, on_lost
        self.pressed = False
        """Whether the line has to wait."""
        self._changed = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self.queues: list[SinkQueue] = []
        self._leaving: list[SinkQueue] = []
        self._writing: list[SinkQueue] = []
        self._picturing: list[PictureSink] = []
        self._place = SinkPlace(host.node, pipeline, secrets.token_hex(4), host.folder / pipeline)
        self._names: list[str] = []  # of all sinks that there ever were
        self.begin(configs)

    def leave(self, configs: Sequence[SinkConfig]) -> list[SinkQueue]:
        """Take no more records for sinks that aren't among these, and have them written out; `left` waits for that."""
        going = [queue for queue in self.queues if queue.config not in configs]
        self.queues = [queue for queue in self.queues if queue not in going]
        self._leaving += going
        self._sort()
        for queue in going:
            queue.close()
        self._look()
        return going

    def begin(self, configs: Sequence[SinkConfig], after: Sequence[SinkQueue] = ()) -> None:
        """Open those of these sinks that there aren't yet; each writes when all of `after` have ended.

        Raises EdgeAgentError when something that a sink needs is missing on this machine; then none is opened.
        """
        there = [queue.config for queue in self.queues]
        opened: list[tuple[SinkConfig, Sink, int]] = []
        for config in configs:
            if config not in there:
                number = len(self._names) + len(opened)
                opened.append((config, open_sink(config, self._place_of(number)), number))
        for config, sink, number in opened:
            self._names.append(sink.name)
            lost, look = partial(self._tell, self._count_lost, number), partial(self._tell, self._look)
            queue = SinkQueue(self._place.pipeline, config, sink, look, lost, self._queue_records)
            self.queues.append(queue)
            queue.start(after)
        self._sort()

    async def left(self, timeout_s: float = CLOSE_S) -> None:
        """Return when the sinks that leave are written out; what isn't within so long (seconds) is lost."""
        await self._ended(self._leaving, timeout_s)
        self._leaving = []

    @property
    def picturing(self) -> list[PictureSink]:
        """Those that want pictures of frames, and no records."""
        return self._picturing

    def write(self, record: Record) -> None:
        """Queue a record for each sink that writes records. Never blocks."""
        for queue in self._writing:
            queue.put(record)

    async def close(self, timeout_s: float = CLOSE_S) -> None:
        """Write what is queued, for at most so long (seconds, all sinks together), and let go of them. Idempotent."""
        for queue in self.queues:
            queue.close()
        await self._ended([*self._leaving, *self.queues], timeout_s)
        if self._timer:
            self._timer.cancel()

    def status(self) -> dict[str, Any]:
        """What `/api/status` shows of the sinks: sums over all, and each by itself."""
        each = [queue.status() for queue in self.queues]
        return {
            "written": sum(sink["written"] for sink in each),
            "lost": sum(sink["lost"] for sink in each),
            "queued": sum(sink["queued"] for sink in each),
            "behind": any(sink["behind"] for sink in each),
            "errors": {sink["sink"]: sink["error"] for sink in each if sink["error"]},
            "each": each,
        }

    async def _ended(self, queues: Sequence[SinkQueue], timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not all(queue.ended for queue in queues):
                    self._changed.clear()
                    await self._changed.wait()
        for queue in queues:
            if not queue.ended:
                queue.give_up()

    def _sort(self) -> None:
        self._writing = [queue for queue in self.queues if queue.pictures is None]
        self._picturing = [sink for queue in self.queues if (sink := queue.pictures)]

    def _tell(self, callback: Callable[..., None], *values: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left who could be told
            self._loop.call_soon_threadsafe(callback, *values)

    def _place_of(self, number: int) -> SinkPlace:
        """Where the sink of this number works."""
        return replace(
            self._place,
            on_failed=lambda why: self._tell(self._count_lost, number, 0, True),
            on_dropped=lambda records: self._tell(self._count_lost, number, records, False),
        )

    def _count_lost(self, number: int, records: int, refused: bool) -> None:
        sink = self._names[number]
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
        waits = [until for queue in self.queues if (until := queue.holds_until(now)) is not None]
        if bool(waits) != self.pressed:
            self.pressed = bool(waits)
            self._on_pressure(self.pressed)
        if waits:
            self._timer = self._loop.call_later(min(waits) - now, self._look)
