# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes between the node and an engine worker, beside frames and detections."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edgeagent.core.text import FreeText
from edgeagent.runtimes.variants import Variant


@dataclass(frozen=True)
class LoadPlan:
    """How weights are loaded: the file, the variant that reads it, and its options (see `EngineOptions`).

    companions: files that belong to an OpenVINO graph, by format; imgsz: (height, width), None: the file's own.
    """

    variant: Variant
    weights: Path
    companions: Mapping[str, Path]
    threads: int
    max_batch: int
    imgsz: tuple[int, int] | None = None
    compiled: Path | None = None


@dataclass(frozen=True)
class LoadEngine:
    """Load, then infer until the node is gone. nice: the priority to take after loading, None: none."""

    plan: LoadPlan
    nice: int | None


@dataclass(frozen=True)
class EngineReady:
    """It can take frames. engine: the runtime's name; max_batch: frames in one run; streams: frames side by side;
    frame_ms: what it needs for a frame at least, milliseconds; 0 if that was not measured."""

    engine: str
    max_batch: int
    streams: int
    frame_ms: float = 0.0

    def __post_init__(self) -> None:
        """Raises ValueError when it could take none, or takes less than no time."""
        if self.max_batch < 1 or self.streams < 1 or not self.frame_ms >= 0:
            raise ValueError(f"max_batch {self.max_batch}, streams {self.streams}, frame_ms {self.frame_ms}")


@dataclass(frozen=True)
class LoadFailed:
    """The weights are refused."""

    why: FreeText


@dataclass(frozen=True)
class FrameFailed:
    """The frame of this ticket can't be inferred."""

    ticket: int
    why: FreeText


EngineMessage = LoadEngine | EngineReady | LoadFailed | FrameFailed
MESSAGES: tuple[type[EngineMessage], ...] = get_args(EngineMessage)
