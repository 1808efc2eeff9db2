# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads the records of a line under an open-loop load: what was lost, late, doubled; latency from when a frame was due.

A frame's latency counts from the instant at which the clock asked for it, not from when a program got round to
capturing it: a stall can't hide by delaying its own measurement.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Window = tuple[float, float]


@dataclass(frozen=True)
class Shot:
    """One frame's result. due, done: Unix seconds."""

    seq: int
    due: float
    done: float
    version: str

    @property
    def latency_ms(self) -> float:
        return (self.done - self.due) * 1000


@dataclass(frozen=True)
class Phase:
    """Latencies of the frames that were due in some windows, milliseconds; `worst` is all that p99.9 can be below a
    thousand frames."""

    frames: int
    p50: float
    p99: float
    p999: float


@dataclass(frozen=True)
class Reading:
    """One strategy's run. lost: frames that were due and have no result; late: results more than two intervals after
    their frame was due; longest_gap in ms, between results."""

    shots: list[Shot]
    lost: list[float]
    late: int
    doubled: int
    longest_gap_ms: float

    def phase(self, windows: Sequence[Window]) -> Phase:
        """The latencies within windows of Unix seconds."""
        times = [s.latency_ms for s in self.shots if any(a <= s.due <= b for a, b in windows)]
        if not times:
            return Phase(0, float("nan"), float("nan"), float("nan"))
        p50, p99, p999 = (float(np.percentile(times, q, method="higher")) for q in (50, 99, 99.9))
        return Phase(len(times), p50, p99, p999)


def read(records: Sequence[dict[str, Any]], fps: float, window: Window) -> Reading:
    """Judge the frames that were due within `window`. `records` hold seq, ts, latency_ms, version."""
    found = [
        (int(r["seq"]), float(r["ts"]), float(r["ts"]) + float(r["latency_ms"]) / 1000, str(r["version"]))
        for r in records
    ]
    # The clock of the camera: nobody is ever early, so the earliest frames show it (the earliest thousandth: the
    # time in a record is rounded).
    origin = float(np.percentile([ts - seq / fps for seq, ts, _, _ in found], 1))
    shots = [Shot(seq, origin + seq / fps, done, version) for seq, _, done, version in found]
    shots = [s for s in shots if window[0] <= s.due <= window[1]]
    seqs = [s.seq for s in shots]
    missing = set(range(min(seqs), max(seqs) + 1)) - set(seqs)
    done = sorted(s.done for s in shots)
    return Reading(
        shots,
        sorted(origin + seq / fps for seq in missing),
        sum(s.latency_ms > 2000 / fps for s in shots),
        len(seqs) - len(set(seqs)),
        1000 * float(np.max(np.diff(done))) if len(done) > 1 else float("nan"),
    )
