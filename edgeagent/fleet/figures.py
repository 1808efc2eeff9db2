# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the version that serves a model has shown since its swap: for the fleet, that compares versions by it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from edgeagent.core.fleet_phase import Figures
from edgeagent.serving.pipeline import Pipeline
from edgeagent.update.updater import Updater


class LineFigures:
    """Of one model and the pipelines that use it, which may come and go. On the event loop's thread."""

    def __init__(self, updater: Updater, pipelines: Callable[[], Iterable[Pipeline]]) -> None:
        self._updater = updater
        self._pipelines = pipelines
        self._before: dict[str, int] = {}  # results of each pipeline before the swap
        self._frames_before = self._boxes_before = 0
        self._since = 0

    def now(self) -> Figures:
        """What it has shown so far."""
        tally = self._updater.router.tally
        frames = tally.results - self._frames_before
        boxes = tally.boxes - self._boxes_before
        results = [(p, p.results - self._before.get(p.config.name, 0)) for p in self._pipelines()]
        p95 = [p.latency_quantiles(0.95, of=max(own, 0))[0] for p, own in results]
        return Figures(
            since=self._since,
            frames=frames,
            latency_ms=max((seconds * 1000 for seconds in p95 if seconds is not None), default=0.0),
            boxes=boxes / frames if frames else 0.0,
            golden=self._golden(),
        )

    def _golden(self) -> float:
        engine = self._updater.slot.engine
        found = next((g.figures for g in engine.artifact.gates if g.name == "golden"), {}) if engine else {}
        objects, hits = found.get("objects"), found.get("found")
        if not isinstance(objects, int) or not isinstance(hits, int) or not objects:
            return -1.0
        return round(hits / objects, 4)

    def swapped(self) -> None:
        """Another version serves from now on."""
        tally = self._updater.router.tally
        self._before = {p.config.name: p.results for p in self._pipelines()}
        self._frames_before, self._boxes_before = tally.results, tally.boxes
        self._since = int(time.time())
