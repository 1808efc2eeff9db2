# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine worker: one model version, loaded once; a frame's slot in, its detections out.

Settings: weights, parts, variant, threads, max_batch. Says Control("ready", …) or Control("failed", …) after
loading; then answers each Infer with Detected, or with Control("fault", …) for a frame that can't be inferred.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeagent.engines.detector import Detector
from edgeagent.engines.load import load_runtime
from edgeagent.engines.port import EngineOptions
from edgeagent.engines.variants import Variant
from edgeagent.errors import EdgeAgentError, WeightsError
from edgeagent.workers.channel import WorkerChannel
from edgeagent.workers.child import can_raise_priority, lower_priority, raise_priority, worker_main
from edgeagent.workers.messages import Beat, Control, Detected, DropRing, Infer, Ring
from edgeagent.workers.ring import RingView

_BEAT_S = 1.0


def serve(channel: WorkerChannel, settings: Control) -> None:
    """Load, say so, then infer until the node is gone."""
    s = settings.body
    # Loading competes with the version that serves: it steps back where it may come forward again afterwards.
    step_back, nice = can_raise_priority(), os.getpriority(os.PRIO_PROCESS, 0)
    if step_back:
        lower_priority()
    variant = Variant(**s["variant"])
    try:
        runtime = load_runtime(
            Path(s["weights"]),
            variant.format,
            EngineOptions(
                variant.backend, variant.device, s["threads"], variant.precision, max_batch=s["max_batch"]
            ),
            {fmt: Path(path) for fmt, path in s["parts"].items()},
        )
        detector = Detector(runtime)
        detector.warm()
    except EdgeAgentError as e:
        channel.send(Control("failed", {"why": str(e)}))
        return
    if step_back:
        raise_priority(nice)
    channel.send(Control("ready", {"engine": runtime.name, "max_batch": detector.max_batch}))
    _infer_for_ever(channel, detector)


def _infer_for_ever(channel: WorkerChannel, detector: Detector) -> None:
    rings: dict[int, RingView] = {}
    turn = 0
    while True:
        # Frames that wait already go together, as far as the network takes them; none waits for company.
        jobs: list[Infer] = []
        while len(jobs) < detector.max_batch:
            message = channel.receive(0 if jobs else _BEAT_S)
            match message:
                case None:
                    break
                case Infer():
                    jobs.append(message)
                case Ring(ring, slots, slot_bytes):
                    rings[ring] = RingView(channel.fds.popleft(), slots, slot_bytes)
                case DropRing(ring):
                    if ring in rings:
                        rings.pop(ring).close()
                case _:
                    raise SystemExit(f"an engine worker has no use for {message!r}")
        if jobs:
            _infer(channel, detector, rings, jobs)
        else:
            turn += 1
            channel.send(Beat(turn))


def _infer(
    channel: WorkerChannel, detector: Detector, rings: dict[int, RingView], jobs: Sequence[Infer]
) -> None:
    try:
        images = [rings[job.ring].image(job.slot, job.height, job.width) for job in jobs]
        found = detector.detect_many(images, [job.confidence for job in jobs], [job.iou for job in jobs])
    except WeightsError as e:
        if len(jobs) == 1:
            channel.send(Control("fault", {"ticket": jobs[0].ticket, "why": str(e)}))
        else:  # one frame may be to blame: the others are to have their results
            for job in jobs:
                _infer(channel, detector, rings, [job])
        return
    for job, result in zip(jobs, found, strict=True):
        boxes = np.ascontiguousarray(result.boxes, dtype="<f4").tobytes()
        channel.send(Detected(job.ticket, *result.timings_ms, boxes))


if __name__ == "__main__":
    worker_main(serve)
