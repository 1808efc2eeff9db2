# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a run's records say, held against the ground truth."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.demo.measurements import Measurements, latency_ms, longest_gap_ms, rolling_recall
from edgeagent.scenes.conveyor import Truth

BIG = Truth(cls=0, xyxy=(10, 10, 60, 60), tiny=False, part=1)
TINY = Truth(cls=1, xyxy=(100, 10, 112, 22), tiny=True, part=1)


def record(
    seq: int, version: str = "v1", epoch: int = 1, found: tuple[Truth, ...] = (BIG,), **more: Any
) -> Any:
    """A record of the sink, at 10 frames a second, 20 ms each."""
    detections = [{"cls": t.cls, "name": "x", "conf": 0.9, "xyxy": list(t.xyxy)} for t in found]
    told = {"seq": seq, "ts": 1000 + seq / 10, "version": version, "epoch": epoch, "latency_ms": 20.0}
    return {**told, "detections": detections, **more}


def figures_of(*records: Any) -> Measurements:
    """Figures of a line on which each frame shows a big defect and a tiny one."""
    measurements = Measurements(lambda index: [BIG, TINY])
    for each in records:
        measurements.add(each)
    return measurements


def test_recall_is_counted_by_version_and_size() -> None:
    """v1 finds the big one only, v2 both in one of two frames."""
    measurements = figures_of(record(0), record(1), record(2, "v2", 2, (BIG, TINY)), record(3, "v2", 2, ()))
    assert [str(measurements.recall(v, tiny)) for v in ("v1", "v2") for tiny in (False, True)] == [
        "50%", "0%", "50%", "50%",
    ]  # fmt: skip
    assert (measurements.recall("v1", True).found, measurements.recall("v1", True).defects) == (0, 2)
    assert measurements.recall("v9", True).share is None
    assert measurements.versions == ["v1", "v2"]


def test_truth_is_asked_by_seq() -> None:
    """A dropped frame leaves a gap in seq, and does not shift the truth of those after it."""
    asked: list[int] = []

    def truth(index: int) -> list[Truth]:
        asked.append(index)
        return []

    measurements = Measurements(truth)
    for seq in (4, 5, 9):
        measurements.add(record(seq))
    assert asked == [4, 5, 9]


def test_lost_frames_are_gaps_since_the_first_record() -> None:
    """Frames before the first model are nobody's loss; a doubled one is out of order, not found again."""
    measurements = figures_of(record(40), record(41), record(44), record(44), record(45))
    assert (measurements.lost, measurements.disordered) == (2, 1)


def test_swap_is_an_epoch_more() -> None:
    """The gap of a swap lies between results, not captures; another version without an epoch is no swap."""
    measurements = figures_of(
        record(0), record(1, "v2", 2, latency_ms=50.0), record(2, "v2", 2), record(3, "v3", 2)
    )
    [swap] = measurements.swaps
    assert (swap.before, swap.after, swap.seq, swap.epoch) == ("v1", "v2", 1, 2)
    assert swap.gap_ms == pytest.approx(130)
    assert measurements.mixed == 1
    assert measurements.swap_to("v2", after=1000.0) == swap
    assert measurements.swap_to("v2", after=1000.2) is None


def test_rates_gaps_and_quantiles() -> None:
    """Frames a second, latency and the longest gap, over the frames asked for."""
    measurements = figures_of(*(record(i, latency_ms=float(i)) for i in range(50)))
    assert measurements.fps() == pytest.approx(10)
    assert latency_ms(measurements.frames, 0.5) == 25
    assert latency_ms(measurements.frames, 0.99) == 49
    assert latency_ms([], 0.5) is None
    assert [f.seq for f in measurements.between(1001.0, 1001.25)] == [10, 11, 12]
    assert longest_gap_ms(measurements.frames) == pytest.approx(101)
    assert figures_of().fps() == longest_gap_ms([]) == 0


def test_rolling_recall_starts_anew_at_a_swap() -> None:
    """What the version before missed is not held against the next; what is older than the window is forgotten."""
    measurements = figures_of(
        record(0, found=()), record(1), record(2), record(3, "v2", 2, (BIG, TINY)), record(4, "v2", 2)
    )
    assert rolling_recall(measurements.frames, 2) == [(0, 0), (0.25, 0), (0.5, 0), (1, 1), (0.75, 0.5)]
    assert rolling_recall([], 2) == []
