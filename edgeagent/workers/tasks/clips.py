# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes between the node and the worker that keeps clips of alarms, beside rings and boxes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgeagent.core.text import FreeText

What = Literal["picture", "clip"]


@dataclass(frozen=True)
class KeepClips:
    """Remember the last frames of each pipeline, and write what is asked for into the folder `root`, until the node is
    gone, or nothing has come for `idle_s` seconds. max_width: pixels of a picture; max_bytes: of a clip, and
    min_free_bytes: that must stay free on the disk: else it isn't written."""

    root: Path
    max_width: int
    max_bytes: int
    min_free_bytes: int
    idle_s: float
    quality: int = 80


@dataclass(frozen=True)
class KeepFrame:
    """Remember the frame in this slot of the ring that came before; what was found on it came as Detected. Answer:
    FrameKept, after which the frame isn't read any more.

    names: of the classes that were found, by number; ts: of the frame, Unix seconds; keep_s: older frames of this
    pipeline need not be remembered any more.
    """

    ticket: int
    slot: int
    height: int
    width: int
    pipeline: str
    version: str
    ts: float
    names: Mapping[str, str]
    keep_s: float


@dataclass(frozen=True)
class FrameKept:
    """The frame isn't needed any more. why: it could not be remembered."""

    ticket: int
    why: FreeText = ""


@dataclass(frozen=True)
class BeginClip:
    """Write a picture and a clip of an alarm: the frames of a pipeline from `before_s` seconds before the frame of `at`
    (Unix seconds) to `after_s` after it. Answers: a ClipNews for the picture, and one for the clip."""

    id: str
    pipeline: str
    at: float
    before_s: float
    after_s: float


@dataclass(frozen=True)
class ClipNews:
    """What became of it. name: of the file in the folder, "" where there is none, and why."""

    id: str
    what: What
    name: str
    why: FreeText = ""


ClipMessage = KeepClips | KeepFrame | FrameKept | BeginClip | ClipNews
MESSAGES: tuple[type[ClipMessage], ...] = get_args(ClipMessage)
