# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks at the lines once a second: what each did, and which swaps there were, for the last ten minutes."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgeagent.core.series import LENGTH_S, FigureSeries, LineFigures
from edgeagent.observe.bus import AuditAppended, Bus, Swapped
from edgeagent.serving.pipeline import Pipeline
from edgeagent.update.updater import Updater

MAX_SWAPS = 200
"""Swaps that are remembered: of more in ten minutes, the last."""


@dataclass(frozen=True)
class SwapSeen:
    """From `t` (Unix seconds) on another version served. from_version: None where nothing served before; event,
    result, by, reason: as in the audit log, "" where it doesn't say."""

    t: float
    model: str
    from_version: str | None
    to_version: str
    epoch: int
    event: str = ""
    result: str = ""
    by: str = ""
    reason: str = ""


@dataclass
class _Counted:
    """What a line had counted at the last look, and when that was (monotonic seconds)."""

    results: int
    dropped: int
    at: float


class LineSampler:
    """Of all lines of a node. On the event loop's thread; costs some tens of microseconds a line and second.

    on_sample: called with each look; on_swap: with each swap. clock: Unix seconds; ticks: monotonic seconds.
    """

    def __init__(
        self,
        pipelines: Mapping[str, Pipeline],
        updaters: Mapping[str, Updater],
        bus: Bus,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """The mappings are looked at anew each time: lines may come and go."""
        self._pipelines = pipelines
        self._updaters = updaters
        self._clock = clock
        self._ticks = ticks
        self._series = FigureSeries()
        self._before: dict[str, _Counted] = {}
        self._swaps: deque[tuple[float, SwapSeen]] = deque(maxlen=MAX_SWAPS)  # beside each, monotonic seconds
        self._unexplained: dict[str, SwapSeen] = {}
        self._serving: dict[str, str] = {}
        self.on_sample: Callable[[float, Mapping[str, LineFigures]], None] = lambda t, lines: None
        self.on_swap: Callable[[SwapSeen], None] = lambda swap: None
        bus.subscribe(Swapped, self._swapped)
        bus.subscribe(AuditAppended, self._audited)

    async def run(self) -> None:
        """At each full second of the monotonic clock, for ever."""
        while True:
            await asyncio.sleep(1.0 - self._ticks() % 1.0)
            self.sample()

    def sample(self) -> None:
        """Look at all lines now."""
        for swap in list(self._unexplained.values()):
            self._seen(swap)
        now = self._ticks()
        lines = {name: self._figures(name, p, now) for name, p in self._pipelines.items()}
        for gone in self._before.keys() - lines.keys():
            del self._before[gone]
        self._series.add(round(now), lines)
        self.on_sample(self._clock(), lines)

    def series(self, seconds: int) -> dict[str, Any]:
        """The answer of `/api/series` (docs/interface.md); not-a-number for null."""
        window = self._series.window(seconds)
        # Both clocks are read now: after a step of the wall clock the past moves as a whole.
        offset = self._clock() - self._ticks()
        begin = window.end - window.seconds
        return {
            "interval_s": 1,
            "start": begin + 1 + offset,
            "end": window.end + offset,
            "pipelines": window.lines,
            "swaps": [
                asdict(replace(swap, t=round(at + offset, 2))) for at, swap in self._swaps if at > begin
            ],
        }

    def _figures(self, name: str, pipeline: Pipeline, now: float) -> LineFigures:
        counted = _Counted(pipeline.results, sum(pipeline.dropped.values()), now)
        before = self._before.get(name)
        self._before[name] = counted
        updater = self._updaters.get(pipeline.config.model)
        active = updater.state.active if updater else None
        version = active.version if active else None
        if before is None or counted.results < before.results or now <= before.at:  # new under this name
            return LineFigures(None, None, None, None, counted.results, version)
        results = counted.results - before.results
        p50, p95 = pipeline.latency_quantiles(0.50, 0.95, of=results) if results else (None, None)
        return LineFigures(
            fps=round(results / (now - before.at), 1),
            p50_ms=None if p50 is None else round(p50 * 1000, 2),
            p95_ms=None if p95 is None else round(p95 * 1000, 2),
            dropped=max(0, counted.dropped - before.dropped),
            results=counted.results,
            version=version,
        )

    # -- swaps ---------------------------------------------------------------------------------------

    def _swapped(self, event: Swapped) -> None:
        if event.model in self._unexplained:
            self._seen(self._unexplained[event.model])
        before = self._serving.get(event.model)
        self._serving[event.model] = event.version
        swap = SwapSeen(round(self._clock(), 2), event.model, before, event.version, event.epoch)
        self._unexplained[event.model] = swap  # until the record comes that says why

    def _audited(self, event: AuditAppended) -> None:
        record = event.record
        swap = self._unexplained.get(record.model)
        if swap and record.to_version == swap.to_version and record.result in ("swapped", "rolled_back"):
            self._seen(
                replace(
                    swap,
                    from_version=record.from_version or swap.from_version,
                    event=record.event,
                    result=record.result,
                    by=record.who,
                    reason=record.why,
                )
            )

    def _seen(self, swap: SwapSeen) -> None:
        del self._unexplained[swap.model]
        self._swaps.append((self._ticks(), swap))
        while self._swaps and self._swaps[0][0] < self._ticks() - LENGTH_S:
            self._swaps.popleft()
        self.on_swap(swap)
