# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a preparing worker does to find out how a version runs here: convert, time, compare with the source."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeagent.core.model import Contract
from edgeagent.core.tuning import Parity
from edgeagent.gates.parity import LOWEST, compare, threshold
from edgeagent.runtimes.convert import convert, product
from edgeagent.runtimes.detection.detector import Detector
from edgeagent.runtimes.registry import conversions
from edgeagent.runtimes.variants import Variant
from edgeagent.util.processor_time import ProcessorTime
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.loading import MeasuredLoad
from edgeagent.workers.options import engine_options
from edgeagent.workers.pictures import LineFrames, pattern, pictures_as_they_come, read_golden
from edgeagent.workers.tasks.engine import LoadPlan
from edgeagent.workers.tasks.prepare import BenchmarkResult, Proven, TrialSetup, TrialStarted

_BENCHMARK_ROUNDS = 12
VALIDATION_ROUNDS = 2  # nothing is to be chosen any more, only confirmed
_BENCHMARK_S = 2.0
_MAX_PICTURES = 8
_IOU = 0.7


class Trials:
    """Trials of the variants of one version, which share a folder."""

    def __init__(self, channel: WorkerChannel, setup: TrialSetup, folder: Path) -> None:
        self._channel = channel
        self._setup = setup
        self._folder = folder
        self.loader = MeasuredLoad()

    def run(
        self, variant: Variant, compares: bool = True, rounds: int = _BENCHMARK_ROUNDS
    ) -> tuple[BenchmarkResult, Detector]:
        """What came of one variant, and what it was tried with. compares: also with the source; rounds: frames to
        measure, at most."""
        plan, detector = self._load(variant)
        if rounds > VALIDATION_ROUNDS:  # to be compared; the detector has run the network once already
            detector.warm()
        is_reference = variant == self._setup.reference
        pictures = self._pictures(detector.runtime.metadata.contract)
        parity = None
        if compares:
            boxes = [_boxes(detector, picture) for picture in pictures]
            parity = self._parity(boxes, is_reference)
        times: list[float] = []
        processor = ProcessorTime()
        begin = time.perf_counter()
        while len(times) < rounds and time.perf_counter() - begin < _BENCHMARK_S:
            start = time.perf_counter()
            detector.detect(pictures[len(times) % len(pictures)], 0.25, _IOU)
            times.append(time.perf_counter() - start)
        # The least, not the median: it runs at the lowest priority, beside the version that serves.
        ms = min(times) * 1000
        return BenchmarkResult(plan.weights, plan.compiled, ms, parity, processor.waited()), detector

    def prove(self, variant: Variant, count: int) -> Proven:
        """Compare a variant with the source on `count` pictures, as they come."""
        _, reference = self._load(self._setup.reference)
        plan, candidate = self._load(variant)
        ours, theirs = [], []
        size = reference.runtime.metadata.contract.imgsz
        for picture in pictures_as_they_come(self._channel, self._setup.version.golden, size, count):
            ours.append(_boxes(reference, picture))
            theirs.append(_boxes(candidate, picture))
            self._channel.send(TrialStarted(variant.name))  # a sign of life
        confidence = threshold(ours, self._setup.confidence)
        return Proven(plan.weights, plan.compiled, compare(ours, theirs, confidence, self._setup.tolerance))

    def _load(self, variant: Variant) -> tuple[LoadPlan, Detector]:
        self._channel.send(TrialStarted(variant.name))
        compiled = self._folder / f"{variant.name}.compiled" if variant.keeps_compiled else None
        plan = self._plan(variant, self._weights(variant), compiled)
        return plan, self.loader.load(plan)

    def _plan(self, variant: Variant, weights: Path, compiled: Path | None) -> LoadPlan:
        s = self._setup
        return LoadPlan(variant, weights, s.version.companions, s.threads, s.max_batch, s.imgsz, compiled)

    def _weights(self, variant: Variant) -> Path:
        """What `variant` loads: a file of the version, or what is made from one here."""
        files = self._setup.version.files
        if not variant.needs_conversion(files):
            return files[variant.format]
        made = self._folder / product(variant)
        if made.exists():  # another variant, which loads the same, has had it made
            return made
        # From ONNX where there is some: that needs no torch.
        base = next(
            fmt
            for fmt in ("onnx", *files)
            if fmt in files and (variant.format == fmt or variant.format in conversions(fmt))
        )
        # Beside the folders of versions: what TensorRT measured for one network it knows of the next.
        timings = self._folder.parent / ".tensorrt-timings"
        options = replace(engine_options(self._plan(variant, files[base], None)), timings=timings)
        return convert(files[base], base, variant, self._folder, options)

    def _parity(self, boxes: list[list[Any]], is_reference: bool) -> Parity | None:
        """How alike `boxes` are to those of the reference; None for the reference itself, which leaves them."""
        left = self._folder / "reference.json"
        if is_reference:
            left.write_text(json.dumps(boxes))
            return None
        reference = json.loads(left.read_text())
        confidence = threshold(reference, self._setup.confidence)
        return compare(reference, boxes, confidence, self._setup.tolerance)

    def _pictures(self, contract: Contract) -> list[Any]:
        """The golden pictures, else what the line saw at the first of these trials, else a test pattern."""
        golden = list(read_golden(self._setup.version.golden[:_MAX_PICTURES]))
        if golden:
            return golden
        # The line moves on: the same pictures for each, or there is nothing to compare.
        if left := sorted(self._folder.glob("picture-*.npy")):
            return [np.load(path) for path in left]
        pictures = LineFrames(self._channel).take()[:_MAX_PICTURES] or [pattern(contract.imgsz, 0)]
        for index, picture in enumerate(pictures):
            np.save(self._folder / f"picture-{index}.npy", picture)
        return pictures


def _boxes(detector: Detector, picture: Any) -> list[Any]:
    boxes: list[Any] = detector.detect(picture, LOWEST, _IOU).boxes.tolist()
    return boxes
