# SPDX-License-Identifier: AGPL-3.0-or-later
"""Gathers what an update costs the line, for the records of its swap and of what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from edgeagent.core.events import AppendAudit
from edgeagent.core.update_facts import UpdateFacts
from edgeagent.serving.engine_process import Engine
from edgeagent.serving.frame_tally import FrameTally, FrameWindow


@dataclass
class _Watched:
    """A version on its way in, or on probation. swapped: when it took the slot, None before."""

    version: str
    frames: FrameWindow
    began: float
    memory: int
    swapped: float | None = None


class UpdateWatch:
    """The updates of one model: of the version that comes, and of the one that is on probation."""

    def __init__(self, tally: FrameTally, memory: Callable[[], int], clock: Callable[[], float]) -> None:
        """memory: resident bytes of the model's engine workers, now. clock: seconds."""
        self._tally = tally
        self._memory = memory
        self._clock = clock
        self._coming: _Watched | None = None
        self._serving: _Watched | None = None

    def begin(self, version: str) -> None:
        """Work on this version begins; each try by itself."""
        self._end(self._coming)
        self._coming = _Watched(version, self._tally.open(), self._clock(), self._memory())

    def told(self, record: AppendAudit, on_probation: bool) -> AppendAudit:
        """The record with what the update that it is about has cost until now. on_probation: what serves is."""
        match record.result:
            case "swapped":
                return self._swapped(record, on_probation)
            case "rejected" | "superseded" if self._coming and record.to_version == self._coming.version:
                watched, self._coming = self._coming, None
            case "stable" | "rolled_back" if self._serving:
                watched, self._serving = self._serving, None
            case _:
                return record
        self._end(watched)
        return self._with_facts(record, watched)

    def _swapped(self, record: AppendAudit, on_probation: bool) -> AppendAudit:
        """With the facts of its own way in; one that was warm has those of the version on probation that goes."""
        before, coming = self._serving, self._coming
        self._end(before)
        if coming is None or coming.version != record.to_version:
            self._serving = None
            return self._with_facts(record, before) if before else record
        coming.swapped = self._clock()
        self._coming, self._serving = None, coming if on_probation else None
        if not on_probation:
            self._end(coming)
        return self._with_facts(record, coming)

    def _with_facts(self, record: AppendAudit, of: _Watched) -> AppendAudit:
        now, frames = self._clock(), of.frames
        gap = frames.longest_gap_s
        facts = UpdateFacts(
            seconds=round(now - of.began, 3),
            frames=frames.results,
            lost=frames.lost,
            dropped=frames.dropped,
            longest_gap_ms=None if gap is None else round(gap * 1000, 1),
            memory_before=of.memory,
            memory_after=self._memory(),
        )
        stages = record.stages
        if record.result in ("stable", "rolled_back") and of.swapped is not None:
            stages = {"probation": now - of.swapped, **stages}
        return replace(record, facts=facts, stages=stages)

    def _end(self, watched: _Watched | None) -> None:
        if watched:
            self._tally.close(watched.frames)


def memory_of(engines: Iterable[Engine]) -> int:
    """Resident bytes of the engines' workers, now."""
    return sum(engine.worker.memory_bytes() for engine in engines if engine.worker)
