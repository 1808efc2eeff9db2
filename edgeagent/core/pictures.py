# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures that a node keeps on its disk: what they are called, which of them stay, which are looked at. Pure.

A picture's name tells all that is known of it, so that nothing else has to be kept, and a folder can be read after a
restart, on another machine, or in part.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

_STEM = re.compile(r"(\d{8}T\d{6})\.(\d{3})Z-(\d{1,12})(?:-(\S{1,128})-d(\d{1,6}))?", re.ASCII)
_CLOCK_SLACK_S = 60.0
"""A clock that was set back by less dates no picture wrongly."""


@dataclass(frozen=True)
class PictureQuota:
    """How much may be kept in one folder and those below it.

    max_bytes: of all files; max_age_s: of a picture, seconds; max_pictures: how many; min_free_bytes: what must stay
    free on the disk: with less, pictures go until there is as much again, and none is written.
    """

    max_bytes: int
    max_age_s: float
    max_pictures: int
    min_free_bytes: int


@dataclass(frozen=True)
class Picture:
    """A picture in such a folder. path: within it, with `/`; size: bytes, with what belongs to it; ts: when its frame
    was captured, Unix seconds; seq: the frame's number; pipeline: "" where the folder says it; score: how much two
    versions differ on it."""

    path: str
    size: int
    ts: float
    seq: int = 0
    pipeline: str = ""
    score: int = 0


@dataclass(frozen=True)
class FrameDifference:
    """How two versions differ on one frame: objects that only the incumbent found, that only the candidate found, that
    both found elsewhere, or under another name."""

    lost: int = 0
    gained: int = 0
    moved: int = 0
    renamed: int = 0

    @property
    def score(self) -> int:
        """How much: one that is renamed is lost under one name and gained under another."""
        return self.lost + self.gained + self.moved + 2 * self.renamed


def picture_stem(ts: float, seq: int, pipeline: str = "", score: int = 0) -> str:
    """The name of a picture without `.jpg`: `20261128T233405.123Z-42`, and with a pipeline
    `20261128T233405.123Z-42-line-1-d3`. Sorted by name they are sorted by time. ts: Unix seconds."""
    seconds, ms = divmod(int(ts * 1000), 1000)
    stem = f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%S}.{ms:03d}Z-{seq}"
    return f"{stem}-{pipeline}-d{score}" if pipeline else stem


def read_picture(path: str, size: int) -> Picture | None:
    """What the name of a picture tells; None when it has no such name."""
    stem, dot, suffix = path.rpartition("/")[2].rpartition(".")
    found = _STEM.fullmatch(stem)
    if not dot or suffix != "jpg" or found is None:
        return None
    time, ms, seq, pipeline, score = found.groups()
    try:
        second = datetime.strptime(time, "%Y%m%dT%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None
    return Picture(path, size, second.timestamp() + int(ms) / 1000, int(seq), pipeline or "", int(score or 0))


def over_quota(
    pictures: Iterable[Picture], quota: PictureQuota, now: float, free_bytes: int
) -> list[Picture]:
    """Those that have to go, so that the others are within the quota: what is too old, then the oldest ones.

    A picture from the future was dated by a clock that was wrong. Nobody knows how old it is, so it goes first. now:
    Unix seconds; free_bytes: of the disk.
    """
    leave: list[Picture] = []
    stay: list[Picture] = []
    for picture in sorted(pictures, key=lambda p: (p.ts, p.seq)):
        is_dated = now - quota.max_age_s <= picture.ts <= now + _CLOCK_SLACK_S
        (stay if is_dated else leave).append(picture)
    used, free_bytes = sum(p.size for p in stay), free_bytes + sum(p.size for p in leave)
    for gone, picture in enumerate(stay):
        fits = len(stay) - gone <= quota.max_pictures and used <= quota.max_bytes
        if fits and free_bytes >= quota.min_free_bytes:
            break
        leave.append(picture)
        used, free_bytes = used - picture.size, free_bytes + picture.size
    return leave


def has_room(size: int, quota: PictureQuota, free_bytes: int) -> bool:
    """Whether a picture of so many bytes may be written on a disk that has so many free."""
    return size <= quota.max_bytes and free_bytes - size >= quota.min_free_bytes


def outdone_by(new: Picture, kept: Sequence[Picture], count: int, spacing_s: float) -> list[Picture] | None:
    """Which of `kept` make way for `new`, so that the `count` of the highest scores are kept; None when it is `new`
    that isn't among these.

    Of what one pipeline shows within `spacing_s` seconds only one picture is kept, the one of the highest score: the
    same part on sixty frames would else take all places.
    """
    near = [p for p in kept if p.pipeline == new.pipeline and abs(p.ts - new.ts) < spacing_s]
    if any(p.score >= new.score for p in near):
        return None
    others = sorted((p for p in kept if p not in near), key=lambda p: (p.score, p.ts))
    leave = others[: max(0, len(others) + 1 - count)]
    if count < 1 or any(p.score >= new.score for p in leave):
        return None
    return near + leave


def least_score(kept: Sequence[Picture], count: int) -> int:
    """The least score with which a picture may still find a place among `count`."""
    return min(p.score for p in kept) + 1 if len(kept) >= count else 1


def spread(pictures: Iterable[Picture], count: int) -> list[Picture]:
    """At most `count` of them: of each folder as many, as far as it has them, evenly over time; oldest first."""
    folders: dict[str, list[Picture]] = {}
    for picture in sorted(pictures, key=lambda p: (p.ts, p.seq)):
        folders.setdefault(picture.path.rpartition("/")[0], []).append(picture)
    chosen: list[Picture] = []
    # Who has least comes first: what it leaves is shared by the others.
    for place, of_folder in enumerate(sorted(folders.values(), key=len)):
        share = min(len(of_folder), (count - len(chosen)) // (len(folders) - place))
        chosen += [of_folder[(i + 1) * len(of_folder) // share - 1] for i in range(share)]
    return sorted(chosen, key=lambda p: (p.ts, p.seq))
