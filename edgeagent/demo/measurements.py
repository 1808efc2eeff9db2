# SPDX-License-Identifier: AGPL-3.0-or-later
"""The figures of a run, out of the records of its sink and the ground truth of its line. Pure."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from edgeagent.core.quantiles import quantile
from edgeagent.demo.scoring import Found, match
from edgeagent.scenes.conveyor import Truth

FPS_WINDOW_S = 2.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One frame that gave a result. ts, done: captured, result out (Unix seconds); latency in milliseconds;
    defects, found: number of visible defects, and of those that were detected; tiny ones also by themselves."""

    seq: int
    ts: float
    done: float
    latency_ms: float
    version: str
    epoch: int
    defects: int
    found: int
    tiny: int
    tiny_found: int


@dataclass(frozen=True, slots=True)
class SwapSeen:
    """The first frame after a swap. gap_ms: between the last result before it and the first after it."""

    epoch: int
    seq: int
    before: str
    after: str
    done: float
    gap_ms: float


@dataclass(slots=True)
class Recall:
    """Found of visible defects."""

    found: int = 0
    defects: int = 0

    @property
    def share(self) -> float | None:
        """0 to 1; None when there was nothing to find."""
        return self.found / self.defects if self.defects else None

    def __str__(self) -> str:
        return "–" if self.share is None else f"{self.share:.0%}"


class Measurements:
    """Grows record by record. `truth(index)` gives the visible defects of a frame of the source.

    A record's `seq` is the index of its frame: the line counts every captured frame, dropped ones included.
    """

    def __init__(self, truth: Callable[[int], Sequence[Truth]]) -> None:
        self.frames: list[Seen] = []
        self.swaps: list[SwapSeen] = []
        self.lost = 0  # missing from seq, counted from the first record on
        self.disordered = 0  # doubled or out of order
        self.mixed = 0  # version changed without a swap, or an epoch was left out
        self._truth = truth
        self._recall: dict[tuple[str, bool], Recall] = {}
        self._done: list[float] = []

    def add(self, record: Mapping[str, Any]) -> None:
        """Take in the next record of the sink (INTERFACE.md, "Detections")."""
        seen = self._judge(record)
        if self.frames:
            self._compare(self.frames[-1], seen)
        self.frames.append(seen)
        self._done.append(seen.done)
        for tiny, found, defects in (
            (False, seen.found, seen.defects),
            (True, seen.tiny_found, seen.tiny),
        ):
            recall = self._recall.setdefault((seen.version, tiny), Recall())
            recall.found += found
            recall.defects += defects

    def _judge(self, record: Mapping[str, Any]) -> Seen:
        truths = self._truth(record["seq"])
        hits = match(truths, found_in(record))
        return Seen(
            seq=record["seq"],
            ts=record["ts"],
            done=record["ts"] + record["latency_ms"] / 1000,
            latency_ms=record["latency_ms"],
            version=record["version"],
            epoch=record["epoch"],
            defects=len(truths),
            found=len(hits),
            tiny=sum(t.tiny for t in truths),
            tiny_found=sum(t.tiny for t in hits),
        )

    def _compare(self, last: Seen, seen: Seen) -> None:
        if seen.seq > last.seq:
            self.lost += seen.seq - last.seq - 1
        else:
            self.disordered += 1
        if seen.epoch == last.epoch + 1:
            gap = (seen.done - last.done) * 1000
            self.swaps.append(SwapSeen(seen.epoch, seen.seq, last.version, seen.version, seen.done, gap))
        elif (seen.epoch, seen.version) != (last.epoch, last.version):
            self.mixed += 1

    @property
    def versions(self) -> list[str]:
        """Those that gave results, in the order of their first."""
        return list(dict.fromkeys(version for version, _ in self._recall))

    def recall(self, version: str, tiny: bool) -> Recall:
        """Of all defects, or of the tiny ones, over all frames of a version."""
        return self._recall.get((version, tiny), Recall())

    def between(self, start: float, end: float = float("inf")) -> list[Seen]:
        """The frames whose result came out between two times (Unix seconds)."""
        return self.frames[bisect_left(self._done, start) : bisect_left(self._done, end)]

    def fps(self) -> float:
        """Results a second over the last two seconds of records."""
        if not self.frames:
            return 0.0
        recent = self.between(self.frames[-1].done - FPS_WINDOW_S)
        span = recent[-1].ts - recent[0].ts
        return (recent[-1].seq - recent[0].seq) / span if span > 0 else 0.0

    def swap_to(self, version: str, after: float) -> SwapSeen | None:
        """The first swap to a version that was seen after a time (Unix seconds)."""
        return next((s for s in self.swaps if s.after == version and s.done >= after), None)


def found_in(record: Mapping[str, Any]) -> list[Found]:
    """The detections of a record, as `match` takes them."""
    return [(d["cls"], d["conf"], tuple(d["xyxy"])) for d in record["detections"]]


def latency_ms(frames: Iterable[Seen], q: float) -> float | None:
    """A quantile (0 to 1) of the latency; None without frames."""
    ordered = sorted(f.latency_ms for f in frames)
    return quantile(ordered, q) if ordered else None


def longest_gap_ms(frames: Sequence[Seen]) -> float:
    """The longest time between two results in a row; 0 for less than two frames."""
    return max(((b.done - a.done) * 1000 for a, b in pairwise(frames)), default=0.0)


def rolling_recall(frames: Sequence[Seen], window: int) -> list[tuple[float | None, float | None]]:
    """At each frame the recall over the last `window` frames of its version: of all defects, of the tiny ones."""
    shares = []
    start = 0
    totals = [0, 0, 0, 0]
    for i, frame in enumerate(frames):
        if frame.epoch != frames[start].epoch:
            start, totals = i, [0, 0, 0, 0]
        _count(totals, frame, 1)
        if i - start >= window:
            _count(totals, frames[start], -1)
            start += 1
        found, defects, tiny_found, tiny = totals
        shares.append((found / defects if defects else None, tiny_found / tiny if tiny else None))
    return shares


def _count(totals: list[int], frame: Seen, sign: int) -> None:
    for i, n in enumerate((frame.found, frame.defects, frame.tiny_found, frame.tiny)):
        totals[i] += sign * n


def counted(number: int, noun: str) -> str:
    """`1 frame`, `2 frames`."""
    return f"{number} {noun}" + ("" if number == 1 else "s")
