# SPDX-License-Identifier: AGPL-3.0-or-later
"""Records of a short run of the demo, in which everything is as it should be."""

from __future__ import annotations

from typing import Any

from edgeagent.demo.measurements import Measurements
from edgeagent.scenes.conveyor import Truth

TINY = Truth(cls=1, xyxy=(300, 100, 312, 112), tiny=True, part=5)


def record(seq: int, version: str, epoch: int, conf: float = 0.0) -> Any:
    """A record; with `conf` it finds the tiny defect."""
    found = [{"cls": 1, "name": "dent", "conf": conf, "xyxy": list(TINY.xyxy)}] if conf else []
    return {
        "seq": seq, "ts": 1000 + seq / 30, "version": version, "epoch": epoch, "latency_ms": 12.0, "detections": found,
    }  # fmt: skip


def good_run() -> list[Any]:
    """v1 misses it, v2 finds it, and both once more after a roll-back."""
    return [
        *(record(i, "v1", 1) for i in range(10)),
        *(record(i, "v2", 2, 0.5 + i / 100) for i in range(10, 20)),
        *(record(i, "v1", 3) for i in range(20, 30)),
        *(record(i, "v2", 4, 0.6) for i in range(30, 40)),
    ]


def figures_of(records: list[Any]) -> Measurements:
    """Figures of a line that always shows one tiny defect."""
    measurements = Measurements(lambda index: [TINY])
    for each in records:
        measurements.add(each)
    return measurements
