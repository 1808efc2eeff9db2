# SPDX-License-Identifier: AGPL-3.0-or-later
"""What comes out of the path of a frame: the record of what was found in it, and where its time went."""

from __future__ import annotations

from dataclasses import dataclass

from edgeagent.core.contract import ClassMap
from edgeagent.serving.frame import Frame
from edgeagent.serving.slot import Lease
from edgeagent.sinks.port import Box, Record
from edgeagent.workers.messages import BOX_STRUCT, Detected


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of one frame went, in seconds."""

    wait: float
    pre: float
    infer: float
    post: float
    total: float


def boxes_of(result: Detected, classes: ClassMap) -> tuple[Box, ...]:
    """The detections of an engine's answer, best first, with the class ids of the contract in force.

    Raises ValueError when one has a class that the version doesn't have.
    """
    return classes.boxes(BOX_STRUCT.iter_unpack(result.boxes))


def record_of(frame: Frame, model: str, lease: Lease, boxes: tuple[Box, ...], now: float) -> Record:
    """The record of a frame that was inferred under this lease. now: monotonic seconds."""
    artifact = lease.engine.artifact
    return Record(
        pipeline=frame.pipeline,
        seq=frame.seq,
        ts=round(frame.ts, 3),
        model=model,
        version=artifact.ref.version,
        digest=artifact.ref.digest,
        epoch=lease.epoch,
        latency_ms=round((now - frame.mono) * 1000, 2),
        names=lease.classes.names,
        boxes=boxes,
        width=frame.width,
        height=frame.height,
    )


def timing_of(frame: Frame, dispatched: float, result: Detected, now: float) -> Timing:
    """Where the time of a frame went that was dispatched then (monotonic seconds)."""
    return Timing(
        wait=dispatched - frame.mono,
        pre=result.pre_ms / 1000,
        infer=result.infer_ms / 1000,
        post=result.post_ms / 1000,
        total=now - frame.mono,
    )
