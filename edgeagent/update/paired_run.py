# SPDX-License-Identifier: AGPL-3.0-or-later
"""A second version on the frames of a line, beside the one that serves: the same picture, seen by both.

It takes what the line has left over. A frame goes to the second engine only when that is idle and the engine that
serves has nothing in hand, at low priority, at a pace that the served frames don't feel (`core.pair_pace`). The frame's
slot is given back with the answer, or after `patience_s`: no line waits for it.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum

import structlog

from edgeagent.core.boxes import Box
from edgeagent.core.contract import ClassMap, Names
from edgeagent.core.pair_pace import PaceLimits, PairPace
from edgeagent.core.pairs import FramePair
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.frame import Frame
from edgeagent.serving.record import boxes_of
from edgeagent.serving.router import Route, Router
from edgeagent.sinks.port import Record
from edgeagent.workers.bootstrap import can_raise_priority, lower_priority_of_all, raise_priority
from edgeagent.workers.messages import Detected

_log = structlog.get_logger(__name__)

_FRAMES = 2
"""Of each pipeline: one that the second version looks at, and one that whoever gets a pair may keep for a while."""
_FIRST_TICKET = 1 << 62
"""The router counts its own from 1; an engine may have frames of both after a swap."""
_WAITS = 3
"""For so many intervals a pair waits for the engine that serves to have nothing in hand."""


_Given = tuple[float, float, float, float, float, float]  # a box as an engine gives it


class Second(Enum):
    """What the version that doesn't serve is: the candidate in SHADOW, the incumbent on probation."""

    CANDIDATE = "candidate"
    INCUMBENT = "incumbent"


@dataclass(frozen=True)
class PairedSettings:
    """pace: how often; patience_s: seconds until a frame counts as not answered."""

    pace: PaceLimits = field(default_factory=PaceLimits)
    patience_s: float = 2.0


@dataclass(frozen=True)
class _Asked:
    ticket: int
    route: Route
    frame: Frame
    record: Record
    at: float


class PairedRun:
    """Runs from `start` to `stop`, on the event loop's thread.

    on_pair: gets each pair, and the frame, which it must `retain` if it goes on using it. What it keeps holds the pairs
    of that pipeline up.
    """

    def __init__(
        self,
        router: Router,
        engine: Engine,
        second: Second,
        on_pair: Callable[[FramePair, Frame], None],
        settings: PairedSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """engine: loaded, and not in the slot. second: what it is."""
        self.pace = PairPace(settings.pace)
        self._router = router
        self._engine = engine
        self._second = second
        self._on_pair = on_pair
        self._settings = settings
        self._clock = clock
        self._may_lower = can_raise_priority()
        self._asked: _Asked | None = None
        self._tickets = _FIRST_TICKET
        self._due = 0.0
        self._last_work = (
            -math.inf,
            -math.inf,
        )  # when the second version was last at work, monotonic seconds
        self._turns: dict[str, float] = {}  # by pipeline: when it had its last pair
        self._lowered = 0  # process of low priority
        self._timer: asyncio.TimerHandle | None = None
        self._end: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin. Raises ValueError when the rings have no slots for it."""
        self._due = self._clock()
        tap = self._router.tap
        subscription = tap.subscribe(self._offered, self._ended, fps=1000.0, frames=_FRAMES)
        self._end = [subscription.close, tap.listen(self._served)]
        self._lower()

    def stop(self) -> None:
        """End: the frame goes back, and the second engine has its priority again before this returns. Idempotent."""
        for end in self._end:
            end()
        self._end = []
        self._give_back()
        if self._lowered:
            with suppress(OSError):  # its worker is gone
                raise_priority(os.getpriority(os.PRIO_PROCESS, 0), self._lowered)
            self._lowered = 0

    # -- what the line says ----------------------------------------------------------------------------

    def _served(self, record: Record) -> None:
        """Any frame of the line was served, whether it is to be paired or not."""
        now = self._clock()
        begun, ended = self._last_work
        overlapped = self._asked is not None or ended > now - record.latency_ms / 1000 > begun
        self.pace.served(record.latency_ms, overlapped)

    def _offered(self, frame: Frame, record: Record) -> None:
        now = self._clock()
        ref = self._engine.ref
        same = (record.version, record.digest) == (ref.version, ref.digest)
        if same or not self._is_due(frame.pipeline, now):
            frame.release()
            return
        if self._asked is None and self._engine.ready and not self._engine.in_flight:
            if self._router.idle or now >= self._due + _WAITS * self.pace.interval_s:
                self._ask(frame, record, now)
            else:
                frame.release()
            return
        if self._asked is None:  # its worker is gone, or still owes the answer to a frame before
            self._took_turn(frame.pipeline, now)
            self._say(frame, record, None, 0.0)
        frame.release()

    def _ended(self, pipeline: str) -> None:
        self._turns.pop(pipeline, None)
        if self._asked and self._asked.frame.pipeline == pipeline:
            self._give_back()

    # -- what the second engine says (Asker) -------------------------------------------------------------

    def detected(self, engine: Engine, result: Detected) -> None:
        """Its answer. One that nobody waits for any more is left alone. What counts of it is what would count if this
        version served."""
        names = engine.artifact.contract.names
        try:
            boxes = boxes_of(result, ClassMap.of(names))
        except ValueError as e:
            self.fault(engine, result.ticket, str(e))
            return
        if asked := self._asked:
            boxes = asked.route.kept(self._router.settings, asked.frame, boxes, names)
        self._answer(result.ticket, boxes)

    def fault(self, engine: Engine, ticket: int, why: str) -> None:
        """It can't infer the frame, or its worker ended over it."""
        self._answer(ticket, None)

    # -- pairs -----------------------------------------------------------------------------------------

    def _is_due(self, pipeline: str, now: float) -> bool:
        """Pipelines take turns: one that has just had a pair waits for those that are as often due."""
        others = max(1, len(self._router.routes))
        own = self._turns.get(pipeline, -math.inf) + (others - 0.5) * self.pace.interval_s
        return now >= self._due and (others == 1 or now >= own)

    def _took_turn(self, pipeline: str, now: float) -> None:
        self._due = now + self.pace.interval_s
        self._turns[pipeline] = now

    def _ask(self, frame: Frame, record: Record, now: float) -> None:
        route = next((r for r in self._router.routes if r.name == frame.pipeline), None)
        if route is None:
            frame.release()
            return
        self._lower()
        self._took_turn(frame.pipeline, now)
        self._tickets += 1
        self._asked = _Asked(self._tickets, route, frame, record, now)
        self._timer = asyncio.get_running_loop().call_later(
            self._settings.patience_s, self._overdue, self._tickets
        )
        self._engine.infer(self._tickets, frame, *route.limits(self._router.settings), self)

    def _overdue(self, ticket: int) -> None:
        """No answer: what comes now would have seen a slot that belongs to another frame."""
        _log.warning("pair.overdue", version=self._engine.ref.version, seconds=self._settings.patience_s)
        self._answer(ticket, None)

    def _answer(self, ticket: int, boxes: Sequence[_Given] | None) -> None:
        asked = self._asked
        if asked is None or asked.ticket != ticket:
            return
        now = self._clock()
        self._asked = None
        self._last_work = asked.at, now
        if self._timer:
            self._timer.cancel()
        try:
            self._say(asked.frame, asked.record, boxes, (now - asked.at) * 1000)
        finally:
            asked.frame.release()

    def _say(self, frame: Frame, record: Record, boxes: Sequence[_Given] | None, ms: float) -> None:
        try:
            self._on_pair(self._pair(frame, record, boxes, ms), frame)
        except Exception:  # noqa: BLE001  (whatever happens to who looks on, the line goes on)
            _log.exception("pair.failed", pipeline=frame.pipeline)

    def _pair(
        self, frame: Frame, record: Record, given: Sequence[_Given] | None, second_ms: float
    ) -> FramePair:
        """Classes are numbered as the incumbent numbers them."""
        names = self._engine.artifact.contract.names
        reference = record.names if self._second is Second.CANDIDATE else names
        served = renumbered(record.boxes, record.names, reference)
        second = None if given is None else renumbered(given, names, reference)
        where = frame.pipeline, frame.seq, frame.mono, frame.width, frame.height
        if self._second is Second.CANDIDATE:
            return FramePair(*where, served, second, record.latency_ms, second_ms)
        return FramePair(*where, second, served, second_ms, record.latency_ms)

    def _give_back(self) -> None:
        asked, self._asked = self._asked, None
        if self._timer:
            self._timer.cancel()
        if asked:
            asked.frame.release()

    def _lower(self) -> None:
        """Its worker runs at low priority meanwhile, where it may be raised again; also one that was started anew."""
        worker = self._engine.worker
        if worker is None or not worker.alive or worker.pid == self._lowered or not self._may_lower:
            return
        with suppress(OSError):  # it is gone
            lower_priority_of_all(worker.pid)
            self._lowered = worker.pid


def renumbered(boxes: Iterable[_Given], names: Names, reference: Names) -> tuple[Box, ...]:
    """Boxes of a version with the classes `names`, numbered as `reference` numbers them; a class that it doesn't have
    gets a number behind its last."""
    numbers = ClassMap.onto(reference, names)
    return tuple((x1, y1, x2, y2, score, int(cls)) for x1, y1, x2, y2, score, cls in numbers.boxes(boxes))
