# SPDX-License-Identifier: AGPL-3.0-or-later
"""What happens on a node, told to whoever listens: an in-process bus of typed events.

For what happens now and then: a stage, a swap, a worker that was started again. What happens with every frame is
counted by direct calls: a bus has no place on the path of frames.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog

from edgeagent.core.alarms import Alarm
from edgeagent.core.lifecycle import Stage
from edgeagent.observe.audit import AuditRecord

_log = structlog.get_logger(__name__)

STREAM_EVENTS = 256
"""Events that wait for a slow reader; then the oldest are dropped."""


@dataclass(frozen=True, slots=True)
class StageEntered:
    """A model's candidate entered a stage. digest: "" until its manifest is read."""

    model: str
    version: str
    digest: str
    stage: Stage


@dataclass(frozen=True, slots=True)
class PreloadChanged:
    """A version that is made ready ahead entered a stage; READY: all is done that can be. why: it waits, or was
    refused."""

    model: str
    version: str
    stage: Stage
    why: str


@dataclass(frozen=True, slots=True)
class Swapped:
    """From the next frame on this version serves, under this epoch."""

    model: str
    version: str
    digest: str
    epoch: int


@dataclass(frozen=True, slots=True)
class AuditAppended:
    """Something was decided about a model: what `result` says (swapped, rejected, rolled back, …), and why."""

    record: AuditRecord


@dataclass(frozen=True, slots=True)
class WorkerRestarted:
    """A worker was started in place of one that ended or hung. of: pipeline of a `capture`, model of an `engine`."""

    kind: str
    of: str


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """One attempt to open or read a pipeline's source failed (`absent`, `lost`, `unreadable`), or it is `frozen`."""

    pipeline: str
    state: str


@dataclass(frozen=True, slots=True)
class SinkFailed:
    """A sink of a pipeline could not write a batch of records."""

    pipeline: str
    sink: str


@dataclass(frozen=True, slots=True)
class AlarmChanged:
    """An alarm was raised, cleared, acknowledged, shelved, closed, or got its picture or clip: as it is now."""

    alarm: Alarm


@dataclass(frozen=True, slots=True)
class ConfigChanged:
    """Another configuration is in force. by: who asked for it; said: what changed, a line each; added, removed,
    changed: names of pipelines, and one that went to another model is both removed and added."""

    by: str
    said: tuple[str, ...]
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


Event = (
    StageEntered
    | PreloadChanged
    | Swapped
    | AuditAppended
    | WorkerRestarted
    | SourceFailed
    | SinkFailed
    | AlarmChanged
    | ConfigChanged
)
E = TypeVar("E", bound=Event)


class Bus:
    """Hands events on, in the order in which they are published. Everything happens on the event loop's thread."""

    def __init__(self) -> None:
        self._handlers: dict[type[Any], list[Callable[[Any], None]]] = {}
        self._streams: list[EventStream] = []

    def subscribe(self, kind: type[E], handler: Callable[[E], None]) -> None:
        """Call `handler` with each event of this kind, within `publish`: it must not wait for anything."""
        self._handlers.setdefault(kind, []).append(handler)

    @contextmanager
    def stream(self, *kinds: type[Event], size: int = STREAM_EVENTS) -> Iterator[EventStream]:
        """All events of these kinds from now on, for `async for`, until the block is left."""
        stream = EventStream(kinds, size)
        self._streams.append(stream)
        try:
            yield stream
        finally:
            self._streams.remove(stream)

    def publish(self, event: Event) -> None:
        """Tell everyone. Never blocks and raises nothing: whoever can't take it is logged, and the others are told."""
        for handler in self._handlers.get(type(event), ()):
            try:
                handler(event)
            except Exception:  # noqa: BLE001  (whatever it is, it is the subscriber's, and not the publisher's)
                _log.exception("subscriber.failed", subscriber=repr(handler), about=type(event).__name__)
        for stream in self._streams:
            stream.put(event)


class EventStream(AsyncIterator[Event]):
    """Events as they come, for one reader. One that is slow misses the oldest, and knows how many."""

    def __init__(self, kinds: tuple[type[Event], ...], size: int) -> None:
        self.dropped = 0
        self._kinds = kinds
        self._events: deque[Event] = deque(maxlen=size)
        self._ready = asyncio.Event()

    def put(self, event: Event) -> None:
        """Queue an event of the kinds that are wanted; others are left aside."""
        if isinstance(event, self._kinds):
            self.dropped += len(self._events) == self._events.maxlen
            self._events.append(event)
            self._ready.set()

    async def __anext__(self) -> Event:
        """The oldest that waits, or the next to come."""
        while not self._events:
            self._ready.clear()
            await self._ready.wait()
        return self._events.popleft()
