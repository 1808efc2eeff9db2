# SPDX-License-Identifier: AGPL-3.0-or-later
"""A version that serves, against this line's own past at the same time of the day: for a version that nothing else is
compared with, because two engines don't fit.

Lines have days without a defect, so this sees what is broken, not what is worse: a version that in several minutes in a
row finds less than half of what as many minutes in a row ever showed at their least. Where the past says too little, it
says nothing, and that it does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

MAX_HOURS = 168
"""So many hours in which the line ran are kept, the newest ones: a week of days and nights."""
MAX_CLASSES = 64
"""Of a version with more, only all objects together are held against the past."""


@dataclass(frozen=True)
class PastLimits:
    """A large effect: in so many blocks in a row less than `drop` of the least that as many in a row ever had.

    block_seconds: how long a block is, seconds; least_frames: that a block needs. shift_hours: how far from the hour of
    now an hour of the past may lie; least_past: runs of blocks in such hours that are needed, on least_days different
    days: who has seen one morning knows nothing of the line's breaks, and the least of few runs is soon undercut by
    chance (tests/unit/core/test_past.py simulates it).
    """

    drop: float = 0.5
    blocks: int = 5
    block_seconds: float = 60.0
    shift_hours: float = 2.0
    least_past: int = 240
    least_days: int = 3
    least_frames: int = 100


@dataclass(frozen=True, slots=True)
class Block:
    """Some minutes of one model. day: a number that grows by one a day; hour: of the day, local time, 0 to 24; frames:
    with a result; objects: boxes; found: boxes by class name, {} where there are too many classes."""

    day: int
    hour: float
    frames: int
    objects: int
    found: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class PastHour:
    """What a line found at its least in one hour of one day: of each run of blocks that ended in it the block with the
    most of a class, and of these the least; boxes a frame, by class name, "" for all of them together. No entry: 0."""

    day: int
    hour: int
    runs: int
    least: Mapping[str, float]


@dataclass(frozen=True)
class Past:
    """Of one line, under versions that were stable. names: classes of these versions; hours: the oldest first;
    longest_silence_s: for how long frames came and nothing was found, seconds, the longest ever."""

    names: tuple[str, ...] = ()
    hours: tuple[PastHour, ...] = ()
    longest_silence_s: float = 0.0


def remember(past: Past, run: Sequence[Block], names: Collection[str], limits: PastLimits) -> Past:
    """With one more run of blocks, of a stable version that has these classes. One with other classes begins a past of
    its own."""
    if lacks_blocks(run, limits):
        return past
    if set(names) != set(past.names):
        past = replace(past, names=tuple(names), hours=())
    most = {what: most_of for what, most_of in _most(run).items() if most_of > 0}
    hours, at, runs = list(past.hours), (run[-1].day, int(run[-1].hour)), 1
    if hours and (hours[-1].day, hours[-1].hour) == at:
        before = hours.pop()
        most = {what: min(rate, before.least[what]) for what, rate in most.items() if what in before.least}
        runs += before.runs
    hours.append(PastHour(*at, runs, most))
    return replace(past, hours=tuple(hours[-MAX_HOURS:]))


def past_breach(run: Sequence[Block], past: Past, names: Collection[str], limits: PastLimits) -> str:
    """Why a version with these classes finds far less than this line ever had at this time of the day; "" when it
    doesn't, or when that can't be told (`lacks_blocks`, `lacks_past`)."""
    if lacks_blocks(run, limits) or lacks_past(past, run[-1].hour, names, limits):
        return ""
    most = _most(run)
    for what, least in _least(past, run[-1].hour, names, limits).items():
        found = most.get(what, 0.0)
        if found < limits.drop * least:
            return (
                f"it finds {100 * found:.1f} {what or 'objects'} on 100 frames at most, in {len(run)} blocks of"
                f" {limits.block_seconds:g} s in a row, and this line had {100 * least:.1f} at least at this time of"
                f" the day (limit {limits.drop:.0%} of that)"
            )
    return ""


def lacks_blocks(run: Sequence[Block], limits: PastLimits) -> str:
    """What a run of blocks, none of which has too few frames, still lacks; "" when nothing."""
    full = sum(block.frames >= limits.least_frames for block in run)
    if len(run) >= limits.blocks and full == len(run):
        return ""
    return (
        f"{full} blocks in a row of {limits.block_seconds:g} s with {limits.least_frames} frames, and"
        f" {limits.blocks} are needed"
    )


def lacks_past(past: Past, hour: float, names: Collection[str], limits: PastLimits) -> str:
    """Why the past says too little of this hour of the day, for a version with these classes; "" when it doesn't."""
    alike = _alike(past, hour, limits)
    runs, days = sum(h.runs for h in alike), len({h.day for h in alike})
    if runs < limits.least_past or days < limits.least_days:
        return (
            f"this line was watched for {runs} blocks on {days} days at this time of the day, and"
            f" {limits.least_past} on {limits.least_days} are needed"
        )
    if not _comparable(past, names):
        return "the versions of this line's past had other classes"
    if not _least(past, hour, names, limits):
        return "at this time of the day this line had as many blocks in a row without an object"
    return ""


def _least(past: Past, hour: float, names: Collection[str], limits: PastLimits) -> dict[str, float]:
    """What was found at the least at this time of the day, of what such a version could find as well; without what was
    not found at all once."""
    alike = _alike(past, hour, limits)
    kinds = _comparable(past, names)
    least = {what: min((h.least.get(what, 0.0) for h in alike), default=0.0) for what in kinds}
    return {what: rate for what, rate in least.items() if rate > 0}


def _comparable(past: Past, names: Collection[str]) -> list[str]:
    """All classes together ("") where none of the past's is lacking; each class where none is new, for what was called
    by one name may go by two now."""
    before, now = set(past.names), set(names)
    return [""] * (before <= now) + (sorted(before & now) if now <= before else [])


def _alike(past: Past, hour: float, limits: PastLimits) -> list[PastHour]:
    return [h for h in past.hours if _apart(h.hour + 0.5, hour) <= limits.shift_hours]


def _most(run: Sequence[Block]) -> dict[str, float]:
    """The most of each class that one block of a run has on a frame."""
    names = {name for block in run for name in block.found}
    most = {name: max(block.found.get(name, 0) / block.frames for block in run) for name in names}
    return {"": max(block.objects / block.frames for block in run), **most}


def _apart(a: float, b: float) -> float:
    """Hours between two times of the day."""
    return min(abs(a - b), 24 - abs(a - b))
