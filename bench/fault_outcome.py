# SPDX-License-Identifier: AGPL-3.0-or-later
"""What became of a faulty version: who caught it, after how much, and what it had done by then."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from bench.fault_versions import CONFIDENCE, GOOD, IOU
from edgeagent.core.boxes import iou
from edgeagent.demo.measurements import found_in
from edgeagent.demo.scoring import MATCH_IOU, Found
from edgeagent.scenes.conveyor import Conveyor

Record = Mapping[str, Any]

NOT_CAUGHT = "not caught"


@dataclass(frozen=True)
class Outcome:
    """One row of the matrix.

    caught_by: the guard, or NOT_CAUGHT; why: in the node's words; frames, objects_frames: that the version served, and
    how many of them showed objects; seconds: from its first frame (of a refusal: from when it was asked for) to the
    first result of the version before, or to the refusal; after_onset: seconds without a result of either, at most;
    wrong: served frames that the good version would have judged otherwise; lost: frames without a result.
    """

    fault: str
    caught_by: str
    why: str
    frames: int
    objects_frames: int
    seconds: float
    after_onset: float
    wrong: int
    lost: int


def decision(history: Sequence[Record], version: str) -> Record | None:
    """The first record that decides on a version for good: refused, taken back, or stable."""

    def decides(record: Record) -> bool:
        if record["result"] == "rolled_back":  # to the one before
            return bool(record["from_version"] == version)
        return bool(record["to_version"] == version and record["result"] in ("rejected", "stable"))

    return next((record for record in history if decides(record)), None)


def caught_by(record: Record) -> str:
    """The guard that a deciding record names."""
    if record["result"] == "stable":
        return NOT_CAUGHT
    refusing = [gate["name"] for gate in record.get("gates", ()) if not gate["passed"]]
    if refusing:
        return f"gate {refusing[-1]}"
    if record["event"] in ("probation", "sentinel"):
        return str(record["event"])
    stages = list(record.get("stages", ()))
    return stages[-1] if stages else str(record["event"])


def served_by(records: Sequence[Record], version: str) -> list[Record]:
    """Its records, in order."""
    return [r for r in records if r["version"] == version]


def done(record: Record) -> float:
    """When its frame had its result, Unix seconds."""
    return float(record["ts"]) + float(record["latency_ms"]) / 1000


def lost_frames(records: Sequence[Record]) -> int:
    """Frames without a result between the first and the last that have one."""
    return sum(b["seq"] - a["seq"] - 1 for a, b in pairwise(records))


def longest_gap(records: Sequence[Record], since: float) -> float:
    """Seconds between two results in a row, at most, of those that came after `since` (Unix seconds)."""
    times = [done(r) for r in records if done(r) >= since]
    return max((b - a for a, b in pairwise(times)), default=0.0)


def back_after(records: Sequence[Record], version: str) -> float:
    """Seconds from a version's first result to the first result of another after its last; to its last, without."""
    own = served_by(records, version)
    if not own:
        return 0.0
    following = next((done(r) for r in records if r["seq"] > own[-1]["seq"]), done(own[-1]))
    return following - done(own[0])


def differs(one: Sequence[Found], other: Sequence[Found]) -> bool:
    """Whether two answers to one frame aren't the same objects: a box without a partner of its class that overlaps it
    by half."""
    free = list(other)
    for cls, _, box in one:
        partner = max((f for f in free if f[0] == cls), key=lambda f: iou(box, f[2]), default=None)
        if partner is None or iou(box, partner[2]) < MATCH_IOU:
            return True
        free.remove(partner)
    return bool(free)


def wrong(records: Sequence[Record], line: Conveyor) -> tuple[int, int]:
    """Of these records those that differ from what the good version finds on the same frames, rendered anew; and those
    whose frames show objects by the truth."""
    if not records:
        return 0, 0
    judge = _good_version()
    found = [differs(found_in(r), judge(line, int(r["seq"]))) for r in records]
    shown = sum(bool(line.truth(int(r["seq"]))) for r in records)
    return sum(found), shown


def _good_version() -> Callable[[Conveyor, int], list[Found]]:
    from bench.detectors import load_detector

    detector = load_detector(GOOD, 1)

    def judge(line: Conveyor, index: int) -> list[Found]:
        boxes = detector.detect(line.frame(index), CONFIDENCE, IOU).boxes.tolist()
        return [(int(c), float(p), (x0, y0, x1, y1)) for x0, y0, x1, y1, p, c in boxes]

    return judge
