# SPDX-License-Identifier: AGPL-3.0-or-later
"""What goes between the node and the worker that writes pictures, beside rings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from edgeagent.core.pictures import FrameDifference, PictureQuota
from edgeagent.core.text import FreeText


@dataclass(frozen=True)
class ArchiveAccess:
    """A folder of pictures, and how much it may hold."""

    root: Path
    quota: PictureQuota


@dataclass(frozen=True)
class KeepPictures:
    """Write pictures into these archives, and keep each within its quota, until the node is gone, or nothing has been
    asked for `idle_s` seconds."""

    archives: tuple[ArchiveAccess, ...]
    idle_s: float


@dataclass(frozen=True)
class DrawnVersion:
    """What one version found on a picture. boxes: x1, y1, x2, y2 in pixels, confidence, class; labels: what stands at
    each."""

    version: str
    boxes: tuple[tuple[float, float, float, float, float, int], ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """A picture on which two versions differ: it gets the incumbent's boxes beside it as a label, and a second picture
    in which both are drawn. It stays only while it is among the `keep` of the highest scores of its folder; of what
    comes within `spacing_s` seconds, one. names: of the incumbent's classes, in order."""

    incumbent: DrawnVersion
    candidate: DrawnVersion
    difference: FrameDifference
    names: tuple[str, ...]
    keep: int
    spacing_s: float


@dataclass(frozen=True)
class PictureFindings:
    """What a version found on a picture, which stands beside it as a label in the YOLO form. boxes: x1, y1, x2, y2 in
    pixels, confidence, class; names: of all classes; ts: of the frame, Unix seconds; about: a text that is put into the
    file; draw: whether a second picture with boxes is wanted."""

    pipeline: str
    version: str
    ts: float
    boxes: tuple[tuple[float, float, float, float, float, int], ...]
    names: tuple[str, ...]
    about: str
    draw: bool


@dataclass(frozen=True)
class PictureOrder:
    """Where a picture is to go. root: of an archive; path: within it, named as `picture_stem` does; quality: of JPEG,
    1 to 100. quota: of an archive that the worker was not told of before, or that has another now. findings: what was
    found there; the path has to be in a folder `images` then."""

    root: Path
    path: str
    quality: int
    comparison: Comparison | None = None
    quota: PictureQuota | None = None
    findings: PictureFindings | None = None


@dataclass(frozen=True)
class WritePicture:
    """Write the frame in this slot of the ring that came just before. Answer: PictureDone, after which neither is
    read any more."""

    ticket: int
    slot: int
    height: int
    width: int
    order: PictureOrder


@dataclass(frozen=True)
class PictureDone:
    """What became of a picture: `kept`; `outdone` by others that differ more; `no space`, on the disk or within the
    quota; `failed`, with why. least: the score with which the next one would be kept in this folder."""

    ticket: int
    outcome: Literal["kept", "outdone", "no space", "failed"]
    why: FreeText = ""
    least: int = 0


PictureMessage = KeepPictures | WritePicture | PictureDone
MESSAGES: tuple[type[PictureMessage], ...] = get_args(PictureMessage)
