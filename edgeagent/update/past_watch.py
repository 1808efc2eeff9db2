# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counts what a model's pipelines find in blocks of some minutes: under a stable version for the line's past; and under
one on probation with which nothing is compared, to hold it against that past."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime
from math import inf

import structlog

from edgeagent.core.events import Event, PastJudged, ProbationBreached
from edgeagent.core.past import MAX_CLASSES, Block, PastLimits, lacks_blocks, lacks_past, past_breach
from edgeagent.core.state import VersionRef
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.router import Router
from edgeagent.sinks.port import Record
from edgeagent.update.line_past import LinePast

_log = structlog.get_logger(__name__)

LATE = 2.0
"""A block that took so many times as long had no frames for a while, and says nothing."""


class PastWatch:
    """On the event loop's thread. Blocks of a version begin with its swap; what a version does on probation becomes no
    part of the past, whatever comes of it."""

    def __init__(
        self,
        router: Router,
        past: LinePast,
        limits: PastLimits,
        report: Callable[[Event], None],
        clock: Callable[[], float],
        local_time: Callable[[], datetime],
    ) -> None:
        """clock: seconds. local_time: of the site."""
        self._past = past
        self._limits = limits
        self._report = report
        self._clock = clock
        self._local_time = local_time
        self._ref: VersionRef | None = None
        self._names: tuple[str, ...] = ()  # of its classes
        self._stable = self._judged = False
        self._breached = False
        self._run: deque[Block] = deque(maxlen=limits.blocks)
        self._ids: tuple[str, ...] = ()  # class names, by their ids in the records
        self._frames = self._objects = 0
        self._found: dict[int, int] = {}  # boxes by class id
        self._since, self._until = clock(), inf
        self._end_listening = router.tap.listen(self._served)

    def follow(self, engine: Engine | None, stable: bool, judged: bool) -> None:
        """This engine serves. stable: its version has earned its place; judged: it is on probation, and nothing else is
        compared with it."""
        ref = engine.ref if engine else None
        if ref != self._ref:
            self._ref, self._breached = ref, False
            self._names = engine.artifact.contract.names if engine else ()
            self._run.clear()
            self._begin()
        begins = judged and not self._judged
        self._stable, self._judged = stable, judged
        if begins:
            asyncio.get_running_loop().call_soon(self._judge)

    def configure(self, limits: PastLimits, line: str) -> None:
        """Go on with these limits, of this line (see `LinePast`): what was counted says nothing of another."""
        self._limits = limits
        self._past.begin(line)
        self._run = deque(maxlen=limits.blocks)
        self._begin()

    def close(self) -> None:
        """Watch no more."""
        self._ref = None
        self._end_listening()
        self._past.close()

    def _served(self, record: Record) -> None:
        if self._ref is None or record.digest != self._ref.digest:
            return  # of the version before, which finishes what it has
        self._frames += 1
        if record.boxes:
            self._objects += len(record.boxes)
            self._ids, found = record.names, self._found
            for box in record.boxes:
                found[int(box[5])] = found.get(int(box[5]), 0) + 1
        if self._clock() >= self._until:
            self._until = inf
            # Not here, on the path of a frame: what is reported may swap.
            asyncio.get_running_loop().call_soon(self._block_ended, self._ref)

    def _begin(self) -> None:
        self._frames = self._objects = 0
        self._found.clear()
        self._since = self._clock()
        self._until = self._since + self._limits.block_seconds

    def _block_ended(self, ref: VersionRef) -> None:
        if ref != self._ref:
            return
        is_whole = self._clock() - self._since < LATE * self._limits.block_seconds
        block = self._block()
        self._begin()
        if not is_whole or block.frames < self._limits.least_frames:
            self._run.clear()
        else:
            self._run.append(block)
            if self._stable:
                self._past.remember(self._run, self._names, self._limits)
        self._judge()

    def _block(self) -> Block:
        now = self._local_time()
        found: dict[str, int] = {}
        if len(self._names) <= MAX_CLASSES:
            for id, count in self._found.items():
                found[self._ids[id]] = found.get(self._ids[id], 0) + count
        return Block(now.toordinal(), now.hour + now.minute / 60, self._frames, self._objects, found)

    def _judge(self) -> None:
        """Hold what serves against the past, where that is to be."""
        ref, past, limits = self._ref, self._past.value, self._limits
        if ref is None or not self._judged or self._breached:
            return
        if why := past_breach(self._run, past, self._names, limits):
            self._breached = True
            _log.warning("past.breach", version=ref.version, why=why)
            self._report(ProbationBreached(ref, why, by_past=True))
            return
        now = self._local_time()
        if lacks := lacks_past(past, now.hour + now.minute / 60, self._names, limits):
            self._report(PastJudged(ref, lacks))
        else:
            lacks = lacks_blocks(self._run, limits)
            self._report(PastJudged(ref, lacks, waits=bool(lacks)))
