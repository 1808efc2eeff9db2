# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a version has shown since its swap."""

from __future__ import annotations

from collections import deque
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeagent.core.gating import GateResult
from edgeagent.fleet.figures import LineFigures
from edgeagent.serving.frame_tally import FrameTally
from edgeagent.serving.pipeline import Pipeline


class PaperPipeline(Pipeline):
    """Takes the times of frames; has neither camera nor sinks."""

    def __init__(self, name: str, tally: FrameTally) -> None:
        self.config = cast("Any", SimpleNamespace(name=name))
        self.results = 0
        self._latencies = deque(maxlen=512)
        self._tally = tally

    def takes(self, frames: int, seconds: float, boxes: int) -> None:
        """So many frames, each so long under way, with so many boxes."""
        for _ in range(frames):
            self.results += 1
            self._latencies.append(seconds)
            self._tally.result(self.config.name, float(self.results), boxes)


class Line:
    """One model with two pipelines."""

    def __init__(self) -> None:
        self.tally = FrameTally()
        self.pipelines = [PaperPipeline(name, self.tally) for name in ("a", "b")]
        self.slot = SimpleNamespace(engine=None)
        updater = SimpleNamespace(
            state=SimpleNamespace(model="yolo"), router=SimpleNamespace(tally=self.tally), slot=self.slot
        )
        self.figures = LineFigures(cast("Any", updater), lambda: self.pipelines)


def test_only_what_came_after_the_swap_counts() -> None:
    """Frames and boxes of all pipelines, and the time of the slowest."""
    line = Line()
    assert (line.figures.now().frames, line.figures.now().latency_ms, line.figures.now().boxes) == (0, 0, 0)
    line.pipelines[0].takes(100, seconds=9.0, boxes=7)
    line.figures.swapped()
    assert (line.figures.now().frames, line.figures.now().latency_ms, line.figures.now().boxes) == (0, 0, 0)
    line.pipelines[0].takes(30, seconds=0.020, boxes=1)
    line.pipelines[1].takes(10, seconds=0.030, boxes=3)
    now = line.figures.now()
    assert (now.frames, now.boxes) == (40, 1.5)
    assert now.latency_ms == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("gates", "recall"),
    [
        ((), -1.0),
        ((GateResult("smoke", True),), -1.0),
        ((GateResult("golden", True, {"objects": 0, "found": 0}),), -1.0),
        ((GateResult("golden", True, {"note": "of another release"}),), -1.0),
        ((GateResult("smoke", True), GateResult("golden", True, {"objects": 40, "found": 38})), 0.95),
    ],
)
def test_what_it_found_on_the_golden_pictures(gates: tuple[GateResult, ...], recall: float) -> None:
    """As its gate saw it, where that ran."""
    line = Line()
    assert line.figures.now().golden == -1.0
    line.slot.engine = SimpleNamespace(artifact=SimpleNamespace(gates=gates))
    assert line.figures.now().golden == recall
