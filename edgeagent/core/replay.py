# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a candidate finds on the line's recent frames, held against what the active version finds there. Pure.

The frames were taken seconds apart, so each object on each of them counts, as each object does that `core.pairs` has
followed: the kinds of difference and the evidence are those of `core.differences`. Who is right isn't known: less than
before is a reason to refuse, more is not, unless it is absurd.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from math import log, log10

from edgeagent.core.boxes import Box, without_split
from edgeagent.core.differences import Counts, Differences, PairLimits, total
from edgeagent.core.evidence import log_evidence
from edgeagent.core.gating import Figure
from edgeagent.core.pictures import FrameDifference
from edgeagent.core.sightings import Sighting, sightings

_SHOWN_CLASSES = 20
_MANY = 2500
"""Pairs of boxes on one frame from which it is enough to know how many there are of each: matching takes time."""


@dataclass(frozen=True)
class ReplayLimits:
    """What a candidate is held to; see `ReplayGateConfig`. All are numbers, as a directive may set them."""

    frames: float
    min_frames: float
    min_objects: float
    max_more: float
    max_empty: float
    alpha: float
    lost: float
    lost_anyway: float
    moved: float
    renamed: float
    weaker: float

    @classmethod
    def of(cls, limits: Mapping[str, float]) -> ReplayLimits:
        """From the thresholds in force, by name. Raises KeyError when one is missing."""
        return cls(**{f.name: limits[f.name] for f in fields(cls)})

    @property
    def of_pairs(self) -> PairLimits:
        """As `core.differences` takes them."""
        return PairLimits(
            alpha=self.alpha,
            least_loss=self.lost,  # what may be lost, may be so however surely
            lost=self.lost,
            lost_anyway=self.lost_anyway,
            moved=self.moved,
            renamed=self.renamed,
            weaker=self.weaker,
        )


class ReplayTally:
    """Both versions' boxes on some frames, counted. names: of the active version's classes, in order; gone: those of
    them, by number, that the candidate doesn't have."""

    def __init__(self, limits: ReplayLimits, names: Sequence[str], gone: Collection[int] = ()) -> None:
        self.frames = 0
        self._classes = len(names)
        self._gone = frozenset(gone)
        self._limits = limits
        self._pairs = limits.of_pairs
        self._differences = Differences(self._pairs, names)
        self._seen = self._emptied = self._filled = 0  # frames: see `figures`
        self._active = self._candidate = 0  # boxes
        self._shift = 0.0

    def observe(self, active: Sequence[Box], candidate: Sequence[Box], longer_side: int) -> None:
        """One frame more. longer_side: of the frame, pixels."""
        self.frames += 1
        self._seen += bool(active)
        self._emptied += bool(active) and not candidate
        self._filled += bool(candidate) and not active
        self._active += len(active)
        self._candidate += len(candidate)
        # A class that the candidate has no more wasn't split: another name for it is another name.
        gone = [box for box in active if box[5] in self._gone]
        had = [box for box in active if box[5] not in self._gone] if gone else active
        had, candidate = without_split(had, candidate, self._classes, self._pairs.min_iou)
        active = [*gone, *had]
        for seen in sightings(active, candidate, self._pairs.min_iou, longer_side):
            outcome, *also = outcomes(seen, self._pairs)
            self._differences.add(seen.cls, outcome, *also, frames=self.frames)
            if seen.incumbent is not None and seen.candidate is not None:
                self._shift += seen.candidate - seen.incumbent

    def judge(self) -> list[str]:
        """What speaks against the candidate, in words with figures."""
        limits = self._limits
        if self._active < limits.min_objects:
            return [
                f"the active version finds {self._active} objects on {self.frames} frames, which are too few to tell:"
                f" {limits.min_objects:g} are needed (update.gates.replay.min_objects)"
            ]
        reasons = []
        finding = self._differences.finding(self.frames)
        if finding.log_evidence >= -log(limits.alpha):
            reasons.append(
                f"beside the active version it {finding.text}"
                f" (evidence 10^{finding.log_evidence / log(10):.1f}, limit 10^{-log10(limits.alpha):.1f})"
            )
        if self._is_emptier():
            reasons.append(
                f"it finds nothing on {self._emptied} of {self._seen} frames on which the active version finds"
                f" something, and something on {self._filled} on which that finds nothing"
                f" (at most {limits.max_empty:.0%} more)"
            )
        if self._candidate > limits.max_more * self._active:
            reasons.append(
                f"it finds {self._candidate} objects where the active version finds {self._active}"
                f" (at most {limits.max_more:g} times as many)"
            )
        return reasons

    def figures(self) -> dict[str, Figure]:
        """By name. objects, candidate_objects: that each version finds; agreement: share of the former that both find,
        in one place under one name, and that of the classes that are seen most; emptied, filled: frames on which only
        the active version, only the candidate finds something; score_shift: in the mean, candidate less active."""
        classes = self._differences.classes
        counts = total(classes.values())
        figures: dict[str, Figure] = {
            "frames": self.frames,
            "objects": self._active,
            "candidate_objects": self._candidate,
            "agreement": _agreement(counts),
            "lost": counts.lost,
            "gained": counts.gained,
            "moved": counts.moved,
            "renamed": counts.renamed,
            "weaker": counts.weaker,
            "emptied": self._emptied,
            "filled": self._filled,
            "score_shift": round(self._shift / max(counts.shared, 1), 4),
        }
        seen = sorted((c for c in classes if classes[c].found), key=lambda c: (-classes[c].found, c))
        for cls in seen[:_SHOWN_CLASSES]:
            name = self._differences.name(cls)
            figures[f"objects {name}"] = classes[cls].found
            figures[f"agreement {name}"] = _agreement(classes[cls])
        if few := [self._differences.name(c) for c in seen if not self._can_tell(classes[c].found)]:
            figures["too few to tell"] = ", ".join(few)
        return figures

    def limits(self) -> dict[str, Figure]:
        """What the figures are held against, under the same names and as numbers of the same kind: the least frames and
        objects; how many objects may be found; how many may be lost whatever is gained, moved, renamed, weaker; how
        many frames may be emptied. They are of all objects: each class has its own."""
        limits, counts = self._limits, total(self._differences.classes.values())
        most = {
            "candidate_objects": limits.max_more * self._active,
            "lost": limits.lost_anyway * counts.found,
            "moved": limits.moved * counts.shared,
            "renamed": limits.renamed * counts.shared,
            "weaker": limits.weaker * counts.shared,
            "emptied": limits.max_empty * self._seen + self._filled,
        }
        least = {"frames": limits.min_frames, "objects": limits.min_objects}
        return {**least, **{name: round(value, 1) for name, value in most.items()}}

    def _is_emptier(self) -> bool:
        more = self._emptied - self._filled
        surely = log_evidence(self._emptied, self._filled, 0.5) >= -log(self._limits.alpha)
        return surely and more > self._limits.max_empty * self._seen

    def _can_tell(self, found: int) -> bool:
        """Whether it would show if none of so many objects of one class were found any more."""
        blind = Differences(self._pairs, [self._differences.name(c) for c in self._differences.classes])
        blind.classes[0] = Counts(lost=found)
        return blind.finding(self.frames).log_evidence >= -log(self._limits.alpha)


def outcomes(seen: Sighting, limits: PairLimits) -> tuple[str, ...]:
    """What becomes of an object that two versions were shown once, by the names of `Counts`."""
    if seen.incumbent is None or seen.candidate is None:
        return ("gained",) if seen.incumbent is None else ("lost",)
    place = "renamed" if seen.renamed else "moved" if seen.overlap < limits.moved_iou else "agreed"
    if seen.candidate < limits.score_share * seen.incumbent:
        return place, "weaker"
    return (place, "stronger") if seen.incumbent < limits.score_share * seen.candidate else (place,)


def frame_difference(
    incumbent: Sequence[Box], candidate: Sequence[Box], longer_side: int, limits: PairLimits
) -> FrameDifference:
    """How two versions differ on a frame. Of very many boxes only the numbers are compared."""
    if len(incumbent) * len(candidate) > _MANY:
        more = len(candidate) - len(incumbent)
        return FrameDifference(lost=max(0, -more), gained=max(0, more))
    found = Counter(
        outcomes(seen, limits)[0] for seen in sightings(incumbent, candidate, limits.min_iou, longer_side)
    )
    return FrameDifference(found["lost"], found["gained"], found["moved"], found["renamed"])


def _agreement(counts: Counts) -> float:
    return round(counts.agreed / max(counts.found, 1), 4)
