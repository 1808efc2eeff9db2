# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this machine can do for the demo's line, and how much of it other programs take.

`python -m edgeagent.demo.machine WEIGHTS` prints the seconds that nine of ten frames stay below.
"""

from __future__ import annotations

import math
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

from edgeagent.errors import UnavailableError

RATES = (30, 25, 20, 15, 10, 5)
"""Frames a second that the demo's line may have."""
_SPARE = 0.5  # of the engine's time stays free: versions are prepared beside it, and what else runs varies
_LATE = 0.9  # the quantile of the times of a frame by which the machine is judged
_WARM_FRAMES = 5
_MEASURED_S = 1.5
_PATIENCE_S = 120.0
_CONFIDENCE, _IOU = 0.25, 0.45
_CPU_TIMES = Path("/proc/stat")
_IDLE = (3, 4)  # fields of its first line: idle, and waiting for a disk


def choose_rate(frame_s: float) -> int:
    """The highest of RATES that keeps an engine half idle, which takes `frame_s` seconds a frame; else the lowest."""
    return next((rate for rate in RATES if rate * frame_s <= _SPARE), RATES[-1])


def measured_frame_s(weights: Path) -> float:
    """Seconds that nine of ten frames stay below with these weights, one thread, as busy as the machine is now.

    Measured in a process of its own: the demo needs no runtime. Raises UnavailableError when that fails.
    """
    command = [sys.executable, "-m", "edgeagent.demo.machine", str(weights)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=True)
        return float(done.stdout)
    except (subprocess.SubprocessError, OSError, ValueError) as e:
        said = getattr(e, "stderr", "") or ""
        why = f"can't be measured: {e} {said[-500:]}".rstrip()
        raise UnavailableError("this machine's speed", why, "run edgeagent doctor") from e


class OtherLoad:
    """What other programs take of this machine's processors, from its making to `share`."""

    def __init__(self) -> None:
        self._busy, self._all = _processor_s()
        self._own = _own_s()

    def share(self) -> float:
        """0 to 1 of all processors; 0 where it can't be known. A child counts as another program until it has ended."""
        busy, everything = _processor_s()
        spent = everything - self._all
        return max(0.0, busy - self._busy - (_own_s() - self._own)) / spent if spent > 0 else 0.0


def _processor_s() -> tuple[float, float]:
    """Seconds of all processors since the start of the machine: at work, with what other guests took; and in all."""
    try:
        with _CPU_TIMES.open(encoding="ascii") as stat:
            times = [int(field) / os.sysconf("SC_CLK_TCK") for field in stat.readline().split()[1:9]]
    except (OSError, ValueError):
        return 0.0, 0.0
    return sum(t for field, t in enumerate(times) if field not in _IDLE), sum(times)


def _own_s() -> float:
    """Processor seconds of this process, and of its children that have ended."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(u.ru_utime + u.ru_stime for u in used)


def _measure(weights: Path) -> float:
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.load import load_runtime
    from edgeagent.runtimes.port import EngineOptions
    from edgeagent.scenes.conveyor import Conveyor

    detector = Detector(load_runtime(weights, "onnx", EngineOptions("onnxruntime", "cpu", 1)))
    frame = Conveyor().frame(0)
    times: list[float] = []
    for _ in range(_WARM_FRAMES):
        detector.detect(frame, _CONFIDENCE, _IOU)
    end = time.perf_counter() + _MEASURED_S
    while not times or time.perf_counter() < end:
        began = time.perf_counter()
        detector.detect(frame, _CONFIDENCE, _IOU)
        times.append(time.perf_counter() - began)
    return sorted(times)[math.ceil(_LATE * len(times)) - 1]


if __name__ == "__main__":
    sys.stdout.write(f"{_measure(Path(sys.argv[1]))}\n")
