# SPDX-License-Identifier: AGPL-3.0-or-later
"""What an engine worker says of its pace."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.variants import Variant
from edgeagent.workers.engine import _frame_ms
from edgeagent.workers.tasks.engine import LoadPlan


class Timed:
    """A detector that takes 80 ms in one thread."""

    def measure(self, cpu_threads: int) -> float:
        return 80.0 / cpu_threads


@pytest.mark.parametrize(
    ("device", "threads", "frame_ms"),
    [("cpu", 2, 40.0), ("cpu", 0, 80.0), ("cuda:0", 2, 0.0), ("gpu", 2, 0.0)],
)
def test_only_on_a_cpu_the_pace_can_be_told(device: str, threads: int, frame_ms: float) -> None:
    """A GPU works for the line at the same time: an equally fast version would look slower than what serves."""
    plan = LoadPlan(Variant("onnxruntime", device, "fp32", "onnx"), Path("w.onnx"), {}, threads, 1)
    assert _frame_ms(cast("Detector", Timed()), plan) == frame_ms
