# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records that wait on the disk until a receiver has them: what the sinks over a network have in common.

`write` puts a record into the queue on the disk, and never waits for the receiver. A thread of the sink's own delivers
them in order, tries again with growing pauses, and takes one from the queue when the receiver has said that it has it.
After a crash, or an answer that was lost, some are sent twice: each has an id by which that is told.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Protocol

import structlog
from pydantic import Field

from edgeagent.core.text import clean
from edgeagent.sinks.disk_queue import DiskQueue
from edgeagent.sinks.port import Backlog, Record, SinkConfig, SinkError
from edgeagent.util.backoff import Backoff
from edgeagent.util.rotating import NotWrittenError
from edgeagent.util.settings import Megabytes

_log = structlog.get_logger(__name__)

_RETRY_S = (0.5, 30.0)
_SYNC_S = 1.0
"""How long what waits may be in the kernel's hands only: so much a power cut takes at most."""
_DRAIN_S = 2.0
"""How long it is tried to deliver the rest when the node stops, as long as the receiver takes it."""
_CLOSE_S = 4.0
_LOCKED_S = 0.05
_MAX_WORDS = 500

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class StoringConfig(SinkConfig):
    """name: of its queue on the disk, where a pipeline has several sinks of a type. queue_mb: what that may take; when
    it is full, the oldest records go."""

    name: Name = ""
    queue_mb: Megabytes = 64

    def queue_folder(self, below: Path) -> Path:
        """Where its queue is."""
        return below / (self.name or self.type)


class DeliveryError(Exception):
    """The receiver did not take all.

    delivered: so many of the first it has; refused: so many after these it will never take. The others are tried again,
    after `retry_s` seconds where the receiver has said so.
    """

    def __init__(self, why: str, delivered: int = 0, refused: int = 0, retry_s: float | None = None) -> None:
        super().__init__(why)
        self.delivered, self.refused, self.retry_s = delivered, refused, retry_s


class Transport(Protocol):
    """A way to a receiver. Used from one thread, where it may wait for some seconds.

    batch_items, batch_bytes: what it takes at a time. linger_s: how long it is waited for a batch to fill.
    """

    batch_items: int
    batch_bytes: int
    linger_s: float

    def keep(self) -> None:
        """Be connected, where that means something. Raises DeliveryError."""

    def deliver(self, items: Sequence[bytes]) -> None:
        """Returns when the receiver has said that it has all of them. Raises DeliveryError."""

    def abort(self) -> None:
        """Let `keep` and `deliver` raise as soon as they can. From another thread; the next `keep` starts anew."""

    def close(self) -> None:
        """Take leave, within two seconds. Idempotent; `keep` opens it again."""


class Courier:
    """Delivers what is put into a queue on the disk. The node's own, for a sink or for messages.

    on_failed(why): once for each attempt that failed. on_dropped(items): they won't arrive. Both from a thread of this.
    """

    def __init__(
        self,
        name: str,
        queue: DiskQueue,
        transport: Transport,
        on_failed: Callable[[str], None] = lambda why: None,
        on_dropped: Callable[[int], None] = lambda items: None,
        backoff: Backoff | None = None,
    ) -> None:
        self.delivered = 0
        self.refused = 0
        self.why = ""
        self._queue, self._transport = queue, transport
        self._on_failed, self._on_dropped = on_failed, on_dropped
        self._backoff = backoff or Backoff(*_RETRY_S)
        self._log = _log.bind(sink=name)
        self._name = name
        self._wake = threading.Event()
        self._closing = False
        self._drain_until = 0.0
        self._telling = threading.Lock()
        self._told_dropped = 0
        self._full_at = 0
        self._told_full = False
        self._synced_at = 0.0
        self._thread: threading.Thread | None = None

    @property
    def dropped(self) -> int:
        """Items that were taken and will never arrive."""
        return self._queue.dropped + self.refused

    def wake(self) -> None:
        """Look again: there is something new, or the connection has ended. From any thread."""
        self._wake.set()

    def start(self) -> None:
        """Begin to deliver. Idempotent."""
        if self._thread is None or not self._thread.is_alive():
            self._closing = False
            self._thread = threading.Thread(target=self._run, name=f"to {self._name}", daemon=True)
            self._thread.start()

    def put(self, items: Sequence[bytes]) -> None:
        """Keep items on the disk until they are delivered. Raises NotWrittenError.

        Waits for another that has the folder open, as long as that may take to close.
        """
        self.start()
        end = time.monotonic() + _CLOSE_S
        try:
            while True:
                try:
                    self._queue.append(items)
                    break
                except NotWrittenError as e:
                    if e.errno != errno.EAGAIN or time.monotonic() >= end:
                        raise
                    time.sleep(
                        _LOCKED_S
                    )  # the sink before it, after a change of the configuration, is about to close
        finally:
            self._tell_dropped()
        self._sync()
        self.wake()

    def close(self) -> None:
        """Deliver for some seconds, as long as that works; leave the rest to the next start. Idempotent."""
        if self._thread:
            self._drain_until = time.monotonic() + _DRAIN_S
            self._closing = True
            self.wake()
            self._thread.join(_DRAIN_S + 0.5)
            if self._thread.is_alive():
                self._transport.abort()
                self._thread.join(_CLOSE_S - _DRAIN_S)

    # --- below: in the thread

    def _run(self) -> None:
        while not (self._closing and self._is_over()):
            self._wake.clear()
            try:
                if not self._step():
                    self._wait(None)
            except DeliveryError as e:
                if e.delivered + e.refused:
                    self._backoff.reset()
                if e.refused:
                    self._log.error("sink.refused", items=e.refused, why=clean(str(e), _MAX_WORDS))
                    self._on_failed(str(e))
                    continue
                self._failed(str(e) or type(e).__name__)
                self._wait(self._backoff.next_s() if e.retry_s is None else e.retry_s)
            except Exception as e:  # noqa: BLE001  (whatever it is, what waits is to be tried again)
                self._failed(f"{type(e).__name__}: {e}")
                self._wait(self._backoff.next_s())
        for let_go in (self._transport.close, self._queue.close):
            try:
                let_go()
            except Exception as e:  # noqa: BLE001  (the node stops: nobody is left who could do something)
                self._log.debug("sink.closed_badly", why=str(e))

    def _is_over(self) -> bool:
        return bool(self.why) or not self._queue.items or time.monotonic() >= self._drain_until

    def _step(self) -> bool:
        """Deliver one batch. Returns whether there was one."""
        transport = self._transport
        transport.keep()
        batch = self._queue.peek(transport.batch_items, transport.batch_bytes)
        if batch and transport.linger_s and len(batch.items) < transport.batch_items and not self._closing:
            self._linger(transport.linger_s)
            batch = self._queue.peek(transport.batch_items, transport.batch_bytes)
        self._tell_dropped()
        if batch is None:
            self._well()
            return False
        delivered = refused = 0
        try:
            transport.deliver(batch.items)
            delivered = len(batch.items)
        except DeliveryError as e:
            delivered, refused = e.delivered, e.refused
            raise
        finally:
            self._queue.done(batch, delivered + refused)
            self.delivered += delivered
            self.refused += refused
            self._tell_dropped()
        self._well()
        self._sync()
        return True

    def _linger(self, seconds: float) -> None:
        """Until a batch is full, or so long."""
        end = time.monotonic() + seconds
        while not self._closing and self._queue.items < self._transport.batch_items:
            left = end - time.monotonic()
            if left <= 0 or not self._wake.wait(left):
                return
            self._wake.clear()

    def _wait(self, seconds: float | None) -> None:
        """For something to do, or, after a failure, so long whatever comes."""
        end = None if seconds is None else time.monotonic() + seconds
        while not self._closing:
            self._sync()
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return
            if self._queue.unsynced:
                left = _SYNC_S if left is None else min(left, _SYNC_S)
            if self._wake.wait(left) and end is None:
                return
            self._wake.clear()

    def _sync(self) -> None:
        """From either thread; at most once a second, and only when something waits."""
        now = time.monotonic()
        if not self._queue.unsynced:
            self._synced_at = now
        elif now - self._synced_at >= _SYNC_S:
            self._synced_at = now
            try:
                self._queue.sync()
            except OSError as e:
                self._failed(f"the queue on the disk: {e.strerror or e}")

    def _failed(self, why: str) -> None:
        why = clean(why, _MAX_WORDS)
        if not self.why and not self._closing:
            self._log.error("sink.away", why=why, waiting=self._queue.items)
        self.why = why
        self._on_failed(why)

    def _well(self) -> None:
        self._backoff.reset()
        if self.why:
            self.why, self._told_full = "", False
            self._log.info("sink.back", waiting=self._queue.items, delivered=self.delivered)

    def _tell_dropped(self) -> None:
        with self._telling:
            new = self.dropped - self._told_dropped
            self._told_dropped += new
            full = self._queue.dropped > self._full_at and not self._told_full
            self._full_at = self._queue.dropped
            self._told_full = self._told_full or full
        if full:
            self._log.error("sink.queue_full", items=new, why=self.why, todo="raise queue_mb")
        if new:
            self._on_dropped(new)


class DeliveringSink:
    """A sink whose records a Courier delivers; `encode` makes of a record what the transport takes."""

    def __init__(
        self, name: str, courier: Courier, queue: DiskQueue, encode: Callable[[Record], bytes]
    ) -> None:
        self.name = name
        self._courier, self._queue, self._encode = courier, queue, encode

    def start(self) -> None:
        """Begin to deliver what is left from before."""
        self._courier.start()

    def write(self, batch: Sequence[Record]) -> None:
        """Keep records on the disk until they are delivered. Raises SinkError where the disk refuses."""
        items, why = [], ""
        for record in batch:
            try:
                item = self._encode(record)
            except TypeError as e:
                why = f"a record is not JSON: {e}"
                continue
            if len(item) > self._queue.largest:
                why = f"a record of {len(item)} bytes is too large for its queue"
                continue
            items.append(item)
        kept = len(items)
        try:
            self._courier.put(items)
        except NotWrittenError as e:
            kept, why = e.written, e.strerror or str(e)
        if kept < len(batch):
            raise SinkError(why, len(batch) - kept)

    def backlog(self) -> Backlog:
        """How far it is."""
        courier = self._courier
        return Backlog(self._queue.items, self._queue.bytes, courier.delivered, courier.dropped, courier.why)

    def close(self) -> None:
        """Deliver for some seconds; the rest is delivered after the next start."""
        self._courier.close()
