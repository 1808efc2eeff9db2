# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes between the node and a capture worker, beside frames."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from edgeagent.core.text import FreeText


@dataclass(frozen=True)
class TakenPictures:
    """What was taken of a folder that is watched: all pictures changed before `since` (see `Upload.changed_ns`), and of
    those changed later these `contents` (see `Upload.content`)."""

    since: int = 0
    contents: tuple[int, ...] = ()


@dataclass(frozen=True)
class CaptureSource:
    """Film `url` from frame `position` on, for ever. fps: to be given, None: the source's own; stall_s: seconds after
    which a source that gives nothing is lost; max_age_s: how old a frame of a live source may be, seconds;
    trust_timestamps: the times in a stream tell how old its frames are; watch: a folder's end is none; taken: what
    of such a folder isn't to be taken again, in place of `position`."""

    url: str
    fps: float | None
    loop: bool
    live: bool
    stall_s: float
    max_age_s: float
    position: int
    trust_timestamps: bool = True
    watch: bool = False
    taken: TakenPictures = TakenPictures()


@dataclass(frozen=True)
class SourceBusy:
    """The worker may be silent for so many seconds."""

    seconds: float


@dataclass(frozen=True)
class SourceState:
    """How the source is. position: the frame to go on with, None: where it was; skipped: frames without a slot since
    the last message."""

    state: Literal["running", "absent", "lost", "unreadable", "frozen", "waiting", "ended"]
    why: FreeText
    position: int | None = None
    skipped: int = 0

    def __post_init__(self) -> None:
        """Raises ValueError for less than nothing."""
        if self.skipped < 0 or (self.position or 0) < 0:
            raise ValueError(f"position {self.position}, {self.skipped} skipped")


@dataclass(frozen=True)
class FirstFrameBegun:
    """The first frame is being read, that at `position`: if the worker dies now, this frame is to blame."""

    position: int


@dataclass(frozen=True)
class PictureBegun:
    """A picture of a watched folder is being read (see `Upload`). It is done for good with the next message that says
    how many frames were `skipped`; if the worker dies before, the last one begun is to blame."""

    changed_ns: int
    content: int


@dataclass(frozen=True)
class SourceOpened:
    """The worker holds a frame of this size in pixels, and asks for a ring in which it fits; older grants are void.
    fps: the source's own pace, 0 if it has none; total: its frames, 0 if unknown."""

    width: int
    height: int
    fps: float
    total: int


@dataclass(frozen=True)
class FrameUnreadable:
    """One frame can't be decoded; it is counted in the next `skipped`."""

    why: FreeText


@dataclass(frozen=True)
class FrameStale:
    """One frame of a live source is older than it may be; it is counted in the next `skipped`."""


CaptureMessage = (
    CaptureSource
    | SourceBusy
    | SourceState
    | FirstFrameBegun
    | PictureBegun
    | SourceOpened
    | FrameUnreadable
    | FrameStale
)
MESSAGES: tuple[type[CaptureMessage], ...] = get_args(CaptureMessage)
