# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two versions on the same frames: what one of them finds and the other doesn't, object by object.

Pairs cancel out the scene: an empty belt, another product, a change of light meets both. They tell a difference, not
which of the two is right: that a candidate finds fewer objects than the incumbent, or the same ones elsewhere, under
other names or with much lower scores, counts against it; that it finds more is shown, and left to labelled pictures or
a person.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, inf, log, log10

from edgeagent.core.boxes import Box, are_numbers, without_split
from edgeagent.core.differences import Counts, Differences, Finding, PairLimits, total
from edgeagent.core.quantiles import quantile
from edgeagent.core.sightings import PairTrack, sightings
from edgeagent.core.tracks import Follower

__all__ = ["ClassPairs", "FramePair", "Latency", "PairLimits", "PairSummary", "PairTally"]

_MOST_BOXES = 100
"""Of each side that are compared, the surest ones."""
_TIMES = 1000
"""Of how many last pairs the latency is told."""
_LEAST_UNANSWERED = 5
_BLIND_OBJECTS = 3
"""So many different ones a version must be blind to: one alone may be a false box of the other."""
_MISSED_SHARE, _MISSED_FRAMES = 0.1, 10
"""An object is missed altogether when one version saw it on all but this share of at least so many frames, and the
other on no more than this share."""


@dataclass(frozen=True, slots=True)
class FramePair:
    """What two versions found on one frame.

    pipeline, seq: which frame; mono: when it was captured, monotonic seconds; width, height: pixels. incumbent,
    candidate: boxes, None: that version gave no answer. *_ms: from preprocessing to boxes, milliseconds, 0 where that
    isn't known. Classes are those of the incumbent; what it doesn't know has a higher number.
    """

    pipeline: str
    seq: int
    mono: float
    width: int
    height: int
    incumbent: tuple[Box, ...] | None
    candidate: tuple[Box, ...] | None
    incumbent_ms: float = 0.0
    candidate_ms: float = 0.0


@dataclass(frozen=True)
class Latency:
    """Quantiles of a version's times, milliseconds; 0: not known. They are no basis for a comparison: the version that
    doesn't serve runs at low priority."""

    p50_ms: float = 0.0
    p95_ms: float = 0.0


@dataclass(frozen=True)
class ClassPairs:
    """Objects of one class, each counted once; see `Counts`. score_shift: mean difference of the scores, candidate less
    incumbent, of those that both found."""

    name: str
    agreed: int
    lost: int
    gained: int
    moved: int
    renamed: int
    weaker: int
    stronger: int
    score_shift: float


@dataclass(frozen=True)
class PairSummary:
    """What was seen so far.

    frames: that both answered; with_objects: of these, on which the incumbent found something. unanswered,
    incumbent_unanswered: frames on which the candidate, the incumbent gave no answer. objects: judged. split: boxes
    of the incumbent that were left out, for the candidate calls what they show by a class that the incumbent doesn't
    know. evidence: that the candidate is worse, as a power of ten; `needed`: from which on that is a breach.
    """

    frames: int = 0
    with_objects: int = 0
    unanswered: int = 0
    incumbent_unanswered: int = 0
    objects: int = 0
    split: int = 0
    classes: tuple[ClassPairs, ...] = ()
    evidence: float = 0.0
    needed: float = 0.0
    incumbent: Latency = Latency()
    candidate: Latency = Latency()


class PairTally:
    """Counts pairs, and says when the candidate has become worse than may be. Pairs of a pipeline come in their order.

    names: of the incumbent's classes; candidate_names: of the candidate's, where they may be others. What the candidate
    has no name for is left out: that it can't find that was decided when it was let in.
    """

    def __init__(
        self, limits: PairLimits, names: Sequence[str] = (), candidate_names: Sequence[str] | None = None
    ) -> None:
        self._limits = limits
        self._names = names
        known = names if candidate_names is None else candidate_names
        self._left_out = frozenset(cls for cls, name in enumerate(names) if name not in known)
        self._differences = Differences(limits, names)
        self._finding = Finding()
        self._followers: dict[str, Follower[PairTrack]] = {}
        self._frames = self._with_objects = self._unanswered = self._incumbent_unanswered = self._split = 0
        self._shifts: dict[int, tuple[int, float]] = {}  # by class: objects, sum of the differences of scores
        self._answers: deque[bool] = deque(maxlen=limits.window)
        self._floods: deque[bool] = deque(maxlen=limits.window)
        self._blind: dict[int, PairTrack] = {}  # objects that it was blind to, in a row, by identity
        self._blind_frames = 0
        self._times: tuple[deque[float], deque[float]] = (deque(maxlen=_TIMES), deque(maxlen=_TIMES))
        self._breach = ""

    def observe(self, pair: FramePair) -> None:
        """Count one more."""
        if pair.incumbent is None:  # it says nothing of the candidate, and stands for nothing
            self._incumbent_unanswered += 1
            return
        self._answers.append(pair.candidate is not None)
        if pair.candidate is None:
            self._unanswered += 1
            self._breach = self._breach or self._no_answer()
            return
        self._frames += 1
        for times, ms in zip(self._times, (pair.incumbent_ms, pair.candidate_ms), strict=True):
            if ms > 0:
                times.append(ms)
        if not are_numbers(pair.candidate):
            self._breach = self._breach or f"it gave boxes that are no numbers, on frame {pair.seq}"
            return
        if are_numbers(pair.incumbent):
            incumbent = [box for box in pair.incumbent if box[5] not in self._left_out]
            self._compare(pair, incumbent, pair.candidate)

    def summary(self) -> PairSummary:
        """What was seen so far."""
        counts = self._differences.classes
        finding = self._finding.log_evidence
        return PairSummary(
            frames=self._frames,
            with_objects=self._with_objects,
            unanswered=self._unanswered,
            incumbent_unanswered=self._incumbent_unanswered,
            objects=total(counts.values()).objects,
            split=self._split,
            classes=tuple(self._of_class(cls, counts[cls]) for cls in sorted(counts)),
            evidence=0.0 if finding == -inf else round(finding / log(10), 2),
            needed=round(-log10(self._limits.alpha), 2),
            incumbent=_latency(self._times[0]),
            candidate=_latency(self._times[1]),
        )

    def breach(self) -> str:
        """Why the candidate must not serve: one sentence with the figure, over how much, against what; "" so far. It
        stays what it was first."""
        return self._breach

    def shortfall(self) -> str:
        """Why there is too little to say that the candidate is as good, "" when there is enough: an object that is
        found no more than every second time would have shown. No data is never taken for health."""
        if self._names and len(self._left_out) == len(self._names):
            return "there is nothing to compare: the two versions have no class in common"
        found = total(self._differences.classes.values()).found
        needed = self._objects_needed()
        if found >= needed:
            return ""
        return (
            f"too little was seen to tell: {found} objects on {self._frames} frames, and {needed} are needed to notice"
            " that half of them are lost"
        )

    def _compare(self, pair: FramePair, incumbent: Sequence[Box], candidate: Sequence[Box]) -> None:
        limits = self._limits
        known = [b for b in candidate if b[5] < len(self._names)] if self._names else candidate
        room = limits.flood_boxes + limits.flood_times * len(incumbent)
        self._floods.append(len(known) > room)
        if sum(self._floods) > limits.window / 2:
            self._breach = self._breach or (
                f"it finds far too much: more than {limits.flood_times:g} times as many boxes as the version before,"
                f" and {limits.flood_boxes} more, on {sum(self._floods)} of the last {len(self._floods)} frames"
            )
        self._with_objects += bool(incumbent)
        if len(known) < len(candidate):
            rest, _ = without_split(
                _surest(incumbent, _MOST_BOXES),
                _surest(candidate, _MOST_BOXES),
                len(self._names),
                limits.min_iou,
            )
            self._split += min(len(incumbent), _MOST_BOXES) - len(rest)
            incumbent = rest
        seen = sightings(
            _surest(incumbent, _MOST_BOXES),
            _surest(known, min(_MOST_BOXES, ceil(room))),
            limits.min_iou,
            max(pair.width, pair.height),
        )
        follower = self._followers.setdefault(pair.pipeline, Follower(PairTrack))
        boxes = [sighting.box for sighting in seen]
        tracks, gone = follower.observe(boxes, pair.mono, pair.width, pair.height)
        for sighting, track in zip(seen, tracks, strict=True):
            if track:
                track.add(sighting)
        due = [t for t in follower.tracks if t.frames >= limits.judge_frames]
        judged = [track for track in (*gone, *due) if not track.judged]
        for track in judged:
            self._judge(track)
        self._watch_blindness(incumbent, known, follower)
        if judged:
            self._weigh()

    def _judge(self, track: PairTrack) -> None:
        """Count an object, once."""
        track.judged = True
        limits = self._limits
        if track.frames < limits.least_frames:
            return
        also: list[str] = []
        if track.candidate <= limits.found_share * track.incumbent:
            outcome = "lost"
            also = ["missed"] if _is_missed(track) else []
        elif track.incumbent <= limits.found_share * track.candidate:
            outcome = "gained"
        else:
            outcome = "agreed"
            if track.renamed > track.both / 2:
                outcome = "renamed"
            elif track.overlap < limits.moved_iou * (track.both - track.renamed):
                outcome = "moved"
            if track.candidate_score < limits.score_share * track.incumbent_score:
                also = ["weaker"]
            elif track.incumbent_score < limits.score_share * track.candidate_score:
                also = ["stronger"]
            if track.both:  # else they saw it by turns
                count, shift = self._shifts.get(track.cls, (0, 0.0))
                mean = (track.candidate_score - track.incumbent_score) / track.both
                self._shifts[track.cls] = count + 1, shift + mean
        self._differences.add(track.cls, outcome, *also, frames=self._frames)

    def _weigh(self) -> None:
        self._finding = self._differences.finding(self._frames)
        value = self._finding.log_evidence
        if value >= -log(self._limits.alpha):
            self._breach = self._breach or (
                f"beside the version before it {self._finding.text}"
                f" (evidence 10^{value / log(10):.1f}, limit 10^{-log10(self._limits.alpha):.1f})"
            )

    def _watch_blindness(
        self, incumbent: Sequence[Box], candidate: Sequence[Box], follower: Follower[PairTrack]
    ) -> None:
        if candidate:
            self._blind.clear()
            self._blind_frames = 0
        elif incumbent:
            self._blind_frames += 1
            self._blind |= {id(t): t for t in follower.tracks if t.frames >= self._limits.least_frames}
        if self._blind_frames >= self._limits.blind_frames and len(self._blind) >= _BLIND_OBJECTS:
            self._breach = self._breach or (
                f"it finds nothing: on {self._blind_frames} frames in a row on which the version before found some,"
                f" {len(self._blind)} objects in all"
            )

    def _no_answer(self) -> str:
        missing, of = self._answers.count(False), self._answers.maxlen or 1
        if missing < max(_LEAST_UNANSWERED, self._limits.unanswered * of):
            return ""
        return f"it gave no answer for {missing} of the last {len(self._answers)} frames"

    def _of_class(self, cls: int, c: Counts) -> ClassPairs:
        count, shift = self._shifts.get(cls, (0, 0.0))
        mean = round(shift / count, 4) if count else 0.0
        name = self._differences.name(cls)
        return ClassPairs(name, c.agreed, c.lost, c.gained, c.moved, c.renamed, c.weaker, c.stronger, mean)

    def _objects_needed(self) -> int:
        """How many objects it takes to notice that every second one is lost."""
        for found in range(2, 10_000, 2):
            tally = Differences(self._limits, self._names)
            tally.classes[0] = Counts(agreed=found // 2, lost=found // 2)
            if tally.finding(found).log_evidence >= -log(self._limits.alpha):
                return found
        return 10_000


def _is_missed(track: PairTrack) -> bool:
    """Whether the incumbent saw it all the time, and the candidate never."""
    few = _MISSED_SHARE * track.frames
    return track.frames >= _MISSED_FRAMES and track.candidate <= few and track.incumbent >= track.frames - few


def _surest(boxes: Sequence[Box], count: int) -> Sequence[Box]:
    return boxes if len(boxes) <= count else sorted(boxes, key=lambda box: -box[4])[:count]


def _latency(times: deque[float]) -> Latency:
    if not times:
        return Latency()
    ordered = sorted(times)
    return Latency(*(round(quantile(ordered, q), 2) for q in (0.5, 0.95)))
