# SPDX-License-Identifier: AGPL-3.0-or-later
"""The preparing worker: what is heavy and happens once, at the least priority, in a throw-away process.

It gets one task (`tasks.prepare`), reports as it goes, and ends with the task's answer or TaskFailed. It can be killed
at any instant; the cache stays valid.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import MAX_NAMES_BYTES, Contract
from edgeagent.core.tuning import Parity
from edgeagent.core.verified import VerifiedVersion
from edgeagent.errors import EdgeAgentError, IntegrityError, UnavailableError, WeightsError
from edgeagent.workers.bootstrap import worker_main
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.messages import Ring
from edgeagent.workers.ring import RingView
from edgeagent.workers.tasks.engine import LoadPlan
from edgeagent.workers.tasks.prepare import (
    Answer,
    Benchmark,
    BenchmarkResult,
    Fetched,
    FetchProgress,
    FetchVersion,
    Fingerprint,
    FramesLent,
    FramesWanted,
    GateFinished,
    GatesRun,
    GateStarted,
    InspectWeights,
    RunGates,
    SimilarResult,
    StageEntered,
    StoreAccess,
    StoreFingerprint,
    Task,
    TaskFailed,
    TrialSetup,
    TrialStarted,
    ValidateSimilar,
    WeightsInspected,
)

if TYPE_CHECKING:
    from edgeagent.gates.port import GateContext
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.runtimes.variants import Variant
    from edgeagent.store.remote import RemoteStore

_FRAMES_S = 5.0
_BENCHMARK_ROUNDS, _BENCHMARK_S = 12, 2.0
_VALIDATION_ROUNDS = 2  # nothing is to be chosen any more, only confirmed
_MAX_PICTURES = 8
_LOW_CONFIDENCE = 0.001
_IOU = 0.7


def serve(channel: WorkerChannel, task: Task) -> None:
    """Perform the one task of this worker."""
    try:
        channel.send(_perform(channel, task))
    except EdgeAgentError as e:
        channel.send(_failure(task, e))
    except OSError as e:
        error = UnavailableError("disk or memory of this machine", str(e), "look at the disk")
        channel.send(_failure(task, error))


def _perform(channel: WorkerChannel, task: Task) -> Answer:
    match task:
        case FetchVersion():
            return _fetch(channel, task)
        case Fingerprint(store, model, version):
            return StoreFingerprint(_remote(store).fingerprint(model, version))
        case Benchmark(setup, variant, folder):
            return _Trials(channel, setup, folder, _BENCHMARK_ROUNDS).run(variant)[0]
        case ValidateSimilar():
            return _validate_similar(channel, task)
        case RunGates():
            return _run_gates(channel, task)
        case InspectWeights(weights):
            return _inspect(weights)


def _failure(task: Task, e: EdgeAgentError) -> TaskFailed:
    transient, fingerprint = isinstance(e, UnavailableError), ""
    if isinstance(task, FetchVersion) and not transient:
        fingerprint = _try_fingerprint(task)
    return TaskFailed(e.what, e.why, e.todo, transient, fingerprint)


# -- fetch -------------------------------------------------------------------------------------------


def _fetch(channel: WorkerChannel, task: FetchVersion) -> Fetched:
    from edgeagent.store.cache import Cache, CachedVersion
    from edgeagent.store.fetch import Progress, fetch_version

    def report(p: Progress) -> None:
        channel.send(FetchProgress(p.file, p.done_bytes, p.total_bytes, p.resumed_from))

    def fetch() -> CachedVersion:
        return fetch_version(_remote(task.store), cache, task.model, task.version, report)

    cache = Cache(task.cache)
    cached = cache.lookup(task.model, task.version, task.digest) if task.known_good else None
    if cached:
        channel.send(StageEntered(Stage.VERIFYING, cached.manifest.digest))
        try:
            cache.verify(cached)
        except IntegrityError as e:
            # Bit rot on this node's disk: the store may have it whole.
            print(f"fetching anew: {e}", file=sys.stderr)
            cached = fetch()
    else:
        # Hashes every file while it streams, or where it lies already.
        cached = fetch()
        channel.send(StageEntered(Stage.VERIFYING, cached.manifest.digest))
    if task.known_good and cached.manifest.digest != task.digest:
        raise IntegrityError(
            f"version {task.model}/{task.version}",
            f"the store holds {cached.manifest.digest}, what served well here was {task.digest}",
            "promote it, so that it passes the gates",
        )
    return Fetched(cached.verified, "" if task.known_good else _try_fingerprint(task))


def _remote(store: StoreAccess) -> RemoteStore:
    from edgeagent.store.remote import RemoteStore

    return RemoteStore(store.url, timeout_s=store.timeout_s, pace=store.pace, storage_options=store.options)


def _try_fingerprint(task: FetchVersion) -> str:
    try:
        return _remote(task.store).fingerprint(task.model, task.version)
    except EdgeAgentError as e:
        print(f"no fingerprint of the version in the store: {e}", file=sys.stderr)
        return ""


# -- trials ------------------------------------------------------------------------------------------


class _Trials:
    """Trials of the variants of one version, which share a folder. rounds: frames to measure, at most."""

    def __init__(self, channel: WorkerChannel, setup: TrialSetup, folder: Path, rounds: int) -> None:
        self._channel = channel
        self._setup = setup
        self._folder = folder
        self._rounds = rounds

    def run(self, variant: Variant) -> tuple[BenchmarkResult, Detector]:
        """What came of one variant, and what it was tried with."""
        from edgeagent.runtimes.detection.detector import Detector
        from edgeagent.workers.options import load_plan

        self._channel.send(TrialStarted(variant.name))
        compiled = self._folder / f"{variant.name}.compiled" if variant.keeps_compiled else None
        plan = self._plan(variant, self._weights(variant), compiled)
        detector = Detector(load_plan(plan))
        if self._rounds > _VALIDATION_ROUNDS:  # to be compared; the detector has run the network once already
            detector.warm()
        is_reference = variant == self._setup.reference
        pictures = self._pictures(detector.runtime.metadata.contract, is_reference)
        boxes = [detector.detect(p, _LOW_CONFIDENCE, _IOU).boxes.tolist() for p in pictures]
        times: list[float] = []
        begin = time.perf_counter()
        while len(times) < self._rounds and time.perf_counter() - begin < _BENCHMARK_S:
            start = time.perf_counter()
            detector.detect(pictures[len(times) % len(pictures)], 0.25, _IOU)
            times.append(time.perf_counter() - start)
        # The least, not the median: it runs at the lowest priority, beside the version that serves.
        ms = min(times) * 1000
        return BenchmarkResult(plan.weights, compiled, ms, self._parity(boxes, is_reference)), detector

    def _plan(self, variant: Variant, weights: Path, compiled: Path | None) -> LoadPlan:
        s = self._setup
        return LoadPlan(variant, weights, s.version.companions, s.threads, s.max_batch, s.imgsz, compiled)

    def _weights(self, variant: Variant) -> Path:
        """What `variant` loads: a file of the version, or what is made from one here."""
        from edgeagent.runtimes.convert import convert, product
        from edgeagent.runtimes.registry import conversions
        from edgeagent.workers.options import engine_options

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
        from edgeagent.gates.parity import compare, threshold

        left = self._folder / "reference.json"
        if is_reference:
            left.write_text(json.dumps(boxes))
            return None
        reference = json.loads(left.read_text())
        confidence = threshold(reference, self._setup.confidence)
        return compare(reference, boxes, confidence, self._setup.tolerance)

    def _pictures(self, contract: Contract, is_reference: bool) -> list[Any]:
        """The golden pictures, else what the line saw when the reference was measured, else a test pattern."""
        import cv2
        import numpy as np

        golden = [cv2.imread(str(p), cv2.IMREAD_COLOR) for p in self._setup.version.golden[:_MAX_PICTURES]]
        pictures = [p for p in golden if p is not None]
        if pictures:
            return pictures
        if not is_reference:  # the line has moved on: the same pictures, or there is nothing to compare
            return [np.load(path) for path in sorted(self._folder.glob("picture-*.npy"))]
        pictures = _recent_frames(self._channel)[:_MAX_PICTURES]
        if not pictures:
            height, width = contract.imgsz
            noise = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
            pictures = [cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)]
        for index, picture in enumerate(pictures):
            np.save(self._folder / f"picture-{index}.npy", picture)
        return pictures


def _recent_frames(channel: WorkerChannel) -> list[Any]:
    """Frames that the line has seen just now; the node lends their slots while this worker lives."""
    channel.send(FramesWanted())
    rings: dict[int, RingView] = {}
    while True:
        message = channel.receive(_FRAMES_S)
        match message:
            case Ring(ring, slots, slot_bytes):
                rings[ring] = RingView(channel.fds.popleft(), slots, slot_bytes)
            case FramesLent(frames):
                return [rings[f.ring].image(f.slot, f.height, f.width) for f in frames]
            case _:
                raise SystemExit(f"asked for frames, got {message!r}")


# -- gates -------------------------------------------------------------------------------------------


def _run_gates(channel: WorkerChannel, task: RunGates) -> GatesRun:
    from edgeagent.gates.port import GateContext
    from edgeagent.runtimes.detection.detector import Detector
    from edgeagent.workers.options import load_plan

    _check_still_there(task.version)
    context = GateContext(
        version=task.version,
        terms=task.terms,
        parity=task.parity,
        tolerance=task.tolerance,
        load=lambda: Detector(load_plan(task.plan)),
        see_frames=lambda: _recent_frames(channel),
    )
    return GatesRun(_judge(channel, context))


def _validate_similar(channel: WorkerChannel, task: ValidateSimilar) -> SimilarResult:
    from edgeagent.gates.port import GateContext

    _check_still_there(task.setup.version)
    trials = _Trials(channel, task.setup, task.folder, _VALIDATION_ROUNDS)
    result, detector = trials.run(task.setup.reference)
    results = [result]
    if task.variant != task.setup.reference:
        result, detector = trials.run(task.variant)
        results.append(result)
    context = GateContext(
        version=task.setup.version,
        terms=task.terms,
        parity=result.parity,
        tolerance=task.setup.tolerance,
        load=lambda: detector,
        see_frames=lambda: _recent_frames(channel),
    )
    return SimilarResult(tuple(results), _judge(channel, context))


def _judge(channel: WorkerChannel, context: GateContext) -> tuple[GateResult, ...]:
    from edgeagent.gates import GATES, plug_ins, run_gates

    gates = (*GATES, *plug_ins.load(context.terms.plug_ins))
    return run_gates(
        gates,
        context,
        on_start=lambda name: channel.send(GateStarted(name)),
        on_finish=lambda result: channel.send(GateFinished(result)),
    )


def _check_still_there(version: VerifiedVersion) -> None:
    """Raises UnavailableError: the disk's doing, or somebody's rm. The next try fetches it."""
    if not all(path.is_file() for path in (*version.files.values(), *version.companions.values())):
        raise UnavailableError(f"version {version.model}/{version.version}", "is not in the cache any more")


# -- inspect -----------------------------------------------------------------------------------------


def _inspect(weights: Path) -> WeightsInspected:
    from edgeagent.runtimes.inspect import read_metadata

    metadata = read_metadata(weights)
    size = len(json.dumps(metadata.contract.names))
    if size > MAX_NAMES_BYTES:  # nor would a node take its manifest
        raise WeightsError(
            f"weights {weights}", f"the class names take {size} bytes, more than {MAX_NAMES_BYTES}"
        )
    return WeightsInspected(metadata.contract, metadata.format)


if __name__ == "__main__":
    worker_main(serve, *get_args(Task))
