# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a sink is given, and what it keeps to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

Box = tuple[float, float, float, float, float, float]
"""One detection as the engine gives it: x1, y1, x2, y2 in pixels of the frame, confidence, class id."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was found in one frame, by which version; docs/interface.md, "Detections", says what each field means.

    names: of all the model's classes; boxes: best first, each of a class that has a name. Made on the path of a frame:
    what costs time per detection is left to whoever writes it down (`as_dict`, `to_json`).
    """

    pipeline: str
    seq: int
    ts: float
    model: str
    version: str
    digest: str
    epoch: int
    latency_ms: float
    names: tuple[str, ...]
    boxes: tuple[Box, ...]

    def as_dict(self) -> dict[str, Any]:
        """The record as docs/interface.md promises it, of plain values."""
        names = self.names
        return {
            "pipeline": self.pipeline,
            "seq": self.seq,
            "ts": self.ts,
            "model": self.model,
            "version": self.version,
            "digest": self.digest,
            "epoch": self.epoch,
            "latency_ms": self.latency_ms,
            "detections": [
                {
                    "cls": int(cls),
                    "name": names[int(cls)],
                    "conf": round(conf, 4),
                    "xyxy": [round(x1, 1), round(y1, 1), round(x2, 1), round(y2, 1)],
                }
                for x1, y1, x2, y2, conf, cls in self.boxes
            ],
        }

    def to_json(self) -> bytes:
        """The same as JSON in UTF-8: one line, without a newline."""
        return orjson.dumps(self.as_dict())


class Sink(Protocol):
    """Writes records somewhere. Used from one thread of its own; may block."""

    name: str
    """How status, log and metrics call it; one pipeline's sinks have different ones."""

    def write(self, batch: Sequence[Record]) -> None:
        """Write whole records, in order. Raises SinkError when some are not written: they are not given again."""

    def close(self) -> None:
        """Let go of the file or the connection. Idempotent."""


class SinkError(Exception):
    """`lost` records of a batch are not written."""

    def __init__(self, why: str, lost: int) -> None:
        super().__init__(why)
        self.lost = lost
