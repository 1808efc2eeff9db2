# SPDX-License-Identifier: AGPL-3.0-or-later
"""The engine worker: one model version, loaded once; a frame's slot in, its detections out.

Settings: weights, variant, threads. Says Control("ready", …) or Control("failed", …) after
loading; then answers each Infer with Detected, or with Control("fault", …) for a frame that can't be inferred.
"""

from __future__ import annotations

import os
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
            EngineOptions(variant.backend, variant.device, s["threads"], variant.precision),
        )
        detector = Detector(runtime)
        detector.warm()
    except EdgeAgentError as e:
        channel.send(Control("failed", {"why": str(e)}))
        return
    if step_back:
        raise_priority(nice)
    channel.send(Control("ready", {"engine": runtime.name}))
    _infer_for_ever(channel, detector)


def _infer_for_ever(channel: WorkerChannel, detector: Detector) -> None:
    rings: dict[int, RingView] = {}
    turn = 0
    while True:
        message = channel.receive(_BEAT_S)
        match message:
            case None:
                turn += 1
                channel.send(Beat(turn))
            case Infer():
                _infer(channel, detector, rings, message)
            case Ring(ring, slots, slot_bytes):
                rings[ring] = RingView(channel.fds.popleft(), slots, slot_bytes)
            case DropRing(ring):
                if ring in rings:
                    rings.pop(ring).close()
            case _:
                raise SystemExit(f"an engine worker has no use for {message!r}")


def _infer(channel: WorkerChannel, detector: Detector, rings: dict[int, RingView], job: Infer) -> None:
    try:
        image = rings[job.ring].image(job.slot, job.height, job.width)
        found = detector.detect(image, job.confidence, job.iou)
    except WeightsError as e:
        channel.send(Control("fault", {"ticket": job.ticket, "why": str(e)}))
        return
    pre, infer, post = found.timings_ms
    boxes = np.ascontiguousarray(found.boxes, dtype="<f4").tobytes()
    channel.send(Detected(job.ticket, pre, infer, post, boxes))


if __name__ == "__main__":
    worker_main(serve)
