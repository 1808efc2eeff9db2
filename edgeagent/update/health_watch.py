# SPDX-License-Identifier: AGPL-3.0-or-later
"""Sums up what a model's pipelines do, in windows of some seconds, and holds a version on probation against what the
one before it did when it was stable. No second version need see anything for that."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from math import inf
from pathlib import Path

from edgeagent.core.health import HealthLimits, HealthWindow, health_breach
from edgeagent.core.quantiles import quantile
from edgeagent.core.state import VersionRef
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.frame_tally import FrameWindow
from edgeagent.serving.router import Router
from edgeagent.sinks.port import Record
from edgeagent.update.line_past import LinePast
from edgeagent.util.processor_time import ProcessorTime

WINDOW_S = 5.0
STABLE_WINDOWS, WINDOWS = 60, 720
"""Of a stable version, and of one on probation, so many are kept: five minutes, an hour."""
STARVED = 0.2
"""A worker that waited for a processor for more than this share of its time isn't slow: the machine is busy."""
_NO_ENGINE = ("busy", "no_engine", "stale")


class HealthWatch:
    """On the event loop's thread. Windows of a version begin with its swap."""

    def __init__(
        self,
        router: Router,
        limits: HealthLimits,
        breached: Callable[[VersionRef, str], None],
        clock: Callable[[], float],
        past: LinePast,
    ) -> None:
        """breached: is told why a version must not go on serving. clock: seconds. past: has the longest silence."""
        self._router = router
        self._limits = limits
        self._breached = breached
        self._clock = clock
        self._past = past
        self._windows: dict[VersionRef, deque[HealthWindow]] = {}
        self._engine: Engine | None = None
        self._pid = 0
        self._may_be_slow = False
        self._before: VersionRef | None = None  # that which serves is held against
        self._frames: FrameWindow | None = None
        self._latencies: list[float] = []
        self._since = self._found_at = clock()
        self._silence = 0.0
        self._stable = False
        self._processor: ProcessorTime | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._end_listening = router.tap.listen(self._served)

    def follow(
        self,
        engine: Engine | None,
        before: VersionRef | None,
        may_be_slow: bool = False,
        stable: bool = False,
    ) -> None:
        """This engine serves; before: the version that was stable before it, None when the one that serves isn't on
        probation. may_be_slow: the operator lets it be slower, and drop the frames that it has no time for. stable: it
        has earned its place."""
        self._may_be_slow, self._stable = may_be_slow, stable
        if engine is not self._engine:
            self._engine = engine
            self._open()
        self._before = before
        if engine:  # what was stopped to make room is what the next one is held against
            kept = (engine.ref, before)
            self._windows = {ref: windows for ref, windows in self._windows.items() if ref in kept}

    def configure(self, limits: HealthLimits) -> None:
        """Go on with these limits, and perhaps other pipelines: what one did beside others is no measure any more. No
        version is judged until one was stable for long enough to compare with."""
        self._limits = limits
        self._windows.clear()
        if self._frames:
            self._open()

    def close(self) -> None:
        """Watch no more."""
        self._end_listening()
        if self._timer:
            self._timer.cancel()
        if self._frames:
            self._router.tally.close(self._frames)

    def _served(self, record: Record) -> None:
        self._latencies.append(record.latency_ms)
        if record.boxes:
            now = self._clock()
            self._silence = max(self._silence, now - self._found_at)
            self._found_at = now

    def _open(self) -> None:
        if self._frames:
            self._router.tally.close(self._frames)
        if self._timer:
            self._timer.cancel()
        worker = self._engine.worker if self._engine else None
        self._frames = self._router.tally.open()
        self._latencies = []
        self._since, self._silence = self._clock(), 0.0
        self._pid = worker.pid if worker else 0
        self._processor = ProcessorTime(Path(f"/proc/{self._pid}/task")) if self._pid else None
        self._timer = asyncio.get_running_loop().call_later(WINDOW_S, self._look)

    def _look(self) -> None:
        """A window is over."""
        engine, window = self._engine, self._window()
        self._open()
        if engine is None:
            return
        if self._stable:
            self._past.silent(window.silence_s)
        most = STABLE_WINDOWS if self._before is None else WINDOWS
        windows = deque(self._windows.get(engine.ref, ()), most)
        windows.append(window)
        self._windows[engine.ref] = windows
        if self._before is None:
            return
        before = self._windows.get(self._before, deque())
        usual = self._past.value.longest_silence_s
        limits = replace(self._limits, slower_ms=inf, dropped=1.0) if self._may_be_slow else self._limits
        if why := health_breach(list(windows), list(before), limits, usual):
            self._breached(engine.ref, why)

    def _window(self) -> HealthWindow:
        now = self._clock()
        if not self._latencies:
            self._found_at += now - self._since  # without frames there is nothing to find
        ordered, dropped = sorted(self._latencies), self._frames.dropped if self._frames else {}
        worker = self._engine.worker if self._engine else None
        starved = self._processor is not None and self._processor.waited() > STARVED
        ran_ms = self._processor.ran_s() * 1000 if self._processor else 0.0
        p95, p99 = (quantile(ordered, q) if ordered and not starved else 0.0 for q in (0.95, 0.99))
        return HealthWindow(
            seconds=now - self._since,
            frames=len(ordered),
            dropped=sum(dropped.get(reason, 0) for reason in _NO_ENGINE),
            failed=dropped.get("failed", 0),
            restarts=int(worker is not None and worker.pid != self._pid),
            p95_ms=p95,
            p99_ms=p99,
            processor_ms=ran_ms / len(ordered) if ordered else 0.0,
            memory_mb=worker.memory_bytes() / (1 << 20) if worker else 0.0,
            silence_s=max(self._silence, now - self._found_at),
        )
