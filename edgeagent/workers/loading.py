# SPDX-License-Identifier: AGPL-3.0-or-later
"""Loads a version as it is to serve, and sees what that takes."""

from __future__ import annotations

from time import perf_counter

from edgeagent.core.memory import Loading
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.util.memory import free_bytes, gpu_free_bytes, growth, own_bytes
from edgeagent.workers.options import load_plan
from edgeagent.workers.tasks.engine import LoadPlan


class MeasuredLoad:
    """last: what the last load took; None before, and where the machine doesn't tell."""

    def __init__(self) -> None:
        self.last: Loading | None = None

    def load(self, plan: LoadPlan) -> Detector:
        """The detector, which has inferred once with as many pictures as it takes. Raises what `load_plan` does."""
        self.last = None
        # This process is gone before the version is loaded to serve.
        free, own, gpu_free = free_bytes(), own_bytes(), gpu_free_bytes(plan.variant.device)
        begun = perf_counter()
        detector, needs = growth(lambda: _load(plan))
        seconds = perf_counter() - begun
        left = gpu_free_bytes(plan.variant.device)
        if free is not None:
            # What is read from the disk again, or was free in this process, doesn't show in its growth.
            needs = max(needs, plan.weights.stat().st_size if plan.weights.is_file() else 0)
            gpu_needs = 0 if gpu_free is None or left is None else max(gpu_free - left, 0)
            self.last = Loading(needs, free + own, seconds, gpu_needs, gpu_free)
        return detector


def _load(plan: LoadPlan) -> Detector:
    detector = Detector(load_plan(plan))
    if detector.max_batch > 1:  # else it has done so to see which head it has
        detector.warm()
    return detector
