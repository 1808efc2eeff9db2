# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two versions on the same frames: what is a difference, and what is taken for one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from edgeagent.core.boxes import Box
from edgeagent.core.pairs import FramePair, PairLimits, PairSummary, PairTally
from edgeagent.util.codec import from_json, to_json

NAMES = ("scratch", "dent", "label")
WIDTH, HEIGHT, FPS, SPEED = 640, 360, 5.0, 170.0
Seen = tuple[Box, ...]


@dataclass(frozen=True)
class Part:
    """Something on a belt: when it comes into view (seconds), where, how large, and of which class."""

    at: float
    y: float
    size: float
    cls: int
    score: float
    number: int

    def box(self, seconds: float) -> Box | None:
        """Where it is then, if it is in view."""
        x = (seconds - self.at) * SPEED
        return (x, self.y, x + self.size, self.y + self.size, self.score, self.cls) if 0 <= x < 600 else None


def belt(seconds: float, seed: int = 0) -> Iterator[tuple[float, list[tuple[Part, Box]]]]:
    """Frames of a belt with 1.2 parts a second: when, and what there is to be seen."""
    rng = random.Random(seed)
    parts, at = [], 0.0
    while at < seconds:
        at += rng.expovariate(1.2)
        part = Part(
            at, rng.uniform(20, 280), rng.uniform(15, 60), rng.choice((0, 0, 1, 1, 2)), 0.8, len(parts)
        )
        parts.append(part)
    for frame in range(int(seconds * FPS)):
        now = frame / FPS
        yield now, [(part, box) for part in parts if (box := part.box(now))]


def run(change: Callable[[Part, Box], Box | None], seconds: float = 120.0, **limits: float) -> PairTally:
    """A tally of a candidate that sees each part as `change` says, until it is a breach."""
    tally = PairTally(PairLimits(**limits), NAMES)  # type: ignore[arg-type]
    for now, parts in belt(seconds):
        candidate = tuple(b for part, box in parts if (b := change(part, box)))
        pair = FramePair(
            "line", int(now * FPS), now, WIDTH, HEIGHT, tuple(b for _, b in parts), candidate, 5.0, 9.0
        )
        tally.observe(pair)
        if tally.breach():
            break
    return tally


def same(part: Part, box: Box) -> Box:
    """No difference."""
    return box


def shifted(part: Part, box: Box) -> Box:
    """By 20 pixels."""
    x1, y1, x2, y2, score, cls = box
    return x1 + 20, y1 + 20, x2 + 20, y2 + 20, score, cls


def permuted(part: Part, box: Box) -> Box:
    """Under another class."""
    return (*box[:5], (box[5] + 1) % 3)


def unsure(part: Part, box: Box) -> Box:
    """With much less of a score."""
    return (*box[:4], box[4] * 0.6, box[5])


def every_second_dent(part: Part, box: Box) -> Box | None:
    """Blind to every second one."""
    return None if part.cls == 1 and part.number % 2 else box


def every_second_frame(part: Part, box: Box) -> Box | None:
    """Blind to each of them on every second frame, whatever frame that is for the others."""
    return None if (int(box[0] / SPEED * FPS) + part.number) % 2 else box


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda part, box: None, "never saw"),
        (shifted, "another place"),
        (permuted, "something else"),
        (unsure, "less sure"),
        (every_second_dent, "never saw"),
        (every_second_frame, "lost"),
    ],
)
def test_a_faulty_version_is_found_out(change: Callable[[Part, Box], Box | None], said: str) -> None:
    """Within 80 seconds of a line with 1.2 parts a second."""
    tally = run(change, 80)
    assert said in tally.breach()
    assert tally.summary().frames < 80 * FPS


def test_the_same_version_agrees_with_itself() -> None:
    """Each part is counted once, although it is seen on eighteen frames."""
    tally = run(same)
    summary = tally.summary()
    assert (tally.breach(), tally.shortfall()) == ("", "")
    assert summary.evidence <= 0
    assert summary.objects == sum(c.agreed for c in summary.classes)
    assert abs(summary.objects - 1.2 * 120) < 40
    assert (summary.incumbent.p50_ms, summary.candidate.p95_ms) == (5.0, 9.0)


def test_each_part_is_counted_once() -> None:
    """Against the number of parts, those that are in view at the end left out."""
    tally = run(same)
    numbers = {part.number for _, parts in belt(120) for part, _ in parts}
    assert len(numbers) - 8 <= tally.summary().objects <= len(numbers)


def test_finding_more_is_no_breach() -> None:
    """It may be right: it is shown."""
    tally = PairTally(PairLimits(), NAMES)
    for now, parts in belt(120):
        every = tuple(b for _, b in parts)
        few = tuple(b for part, b in parts if part.number % 2)
        tally.observe(FramePair("line", int(now * FPS), now, WIDTH, HEIGHT, few, every))
    assert tally.breach() == ""
    assert sum(c.gained for c in tally.summary().classes) > 40


def test_what_only_flickers_differs_for_both_alike() -> None:
    """Each version misses a part on a frame now and then."""
    rng = random.Random(3)
    tally = PairTally(PairLimits(), NAMES)
    for now, parts in belt(600):
        ours, theirs = (tuple(b for _, b in parts if rng.random() > 0.1) for _ in range(2))
        tally.observe(FramePair("line", int(now * FPS), now, WIDTH, HEIGHT, ours, theirs))
    assert tally.breach() == ""


def half_blind(part: Part, box: Box) -> Box | None:
    """Every second scratch is never seen."""
    return None if box[5] == 0 and part.number % 2 else box


def test_what_is_never_seen_tells_more_than_what_flickers() -> None:
    """Half of one class: a few objects that were in plain view all the time are enough."""
    tally = run(half_blind)
    assert "never saw" in tally.breach()
    assert "scratch" in tally.breach()
    [scratch] = [c for c in tally.summary().classes if c.name == "scratch"]
    assert scratch.lost <= 8
    assert scratch.agreed > 0


def test_objects_that_are_never_seen_are_no_reason_where_more_are_found_instead() -> None:
    """It tells a difference, and not which is right."""
    tally = PairTally(PairLimits(), NAMES)
    for now, parts in belt(120.0):
        ours = tuple(box for part, box in parts if part.number % 10)
        theirs = tuple(box for part, box in parts if part.number % 20 != 5)
        tally.observe(FramePair("line", int(now * FPS), now, WIDTH, HEIGHT, ours, theirs, 5.0, 9.0))
    assert tally.breach() == ""
    assert sum(c.lost for c in tally.summary().classes) > 0


def test_a_fault_that_comes_late_is_found_as_soon() -> None:
    """What went well before doesn't make up for it."""
    tally = PairTally(PairLimits(), NAMES)
    broken_at = 1000.0
    for now, parts in belt(1100):
        every = tuple(b for _, b in parts)
        theirs = () if now > broken_at else every
        tally.observe(FramePair("line", int(now * FPS), now, WIDTH, HEIGHT, every, theirs))
        if tally.breach():
            break
    assert broken_at < now < broken_at + 60


def test_everything_detected_is_a_breach() -> None:
    """With boxes all over most frames."""
    tally = PairTally(PairLimits(), NAMES)
    grid: Seen = tuple((x, y, x + 30, y + 30, 0.5, 1) for x in range(0, 600, 30) for y in range(0, 300, 30))
    for now, parts in belt(30):
        every = tuple(b for _, b in parts)
        tally.observe(FramePair("line", int(now * FPS), now, WIDTH, HEIGHT, every, (*every, *grid)))
    assert "far too much" in tally.breach()


def test_no_answer_is_no_health() -> None:
    """Of the candidate, it is a breach; of the incumbent, it says nothing of the candidate."""
    candidate, incumbent = PairTally(PairLimits(), NAMES), PairTally(PairLimits(), NAMES)
    for seq in range(60):
        candidate.observe(FramePair("line", seq, seq / FPS, WIDTH, HEIGHT, (), None if seq % 4 == 0 else ()))
        incumbent.observe(FramePair("line", seq, seq / FPS, WIDTH, HEIGHT, None, ()))
    assert "no answer for 10 of the last" in candidate.breach()
    assert incumbent.breach() == ""
    assert (incumbent.summary().incumbent_unanswered, incumbent.summary().frames) == (60, 0)
    assert "too little was seen" in incumbent.shortfall()


def test_a_box_that_is_no_number_is_a_breach() -> None:
    """The first one."""
    tally = PairTally(PairLimits(), NAMES)
    tally.observe(FramePair("line", 7, 0.0, WIDTH, HEIGHT, (), ((float("nan"), 0.0, 1.0, 1.0, 0.5, 0),)))
    assert tally.breach() == "it gave boxes that are no numbers, on frame 7"


def test_a_version_that_is_blind_to_what_stands_still_is_a_breach() -> None:
    """Nothing moves, so that no object is ever counted twice."""
    tally = PairTally(PairLimits(judge_frames=150), NAMES)
    still: Seen = tuple((x, 50.0, x + 40, 90.0, 0.9, 0) for x in (0.0, 200.0, 400.0))
    for seq in range(200):
        tally.observe(FramePair("line", seq, seq / FPS, WIDTH, HEIGHT, still, ()))
    assert "it finds nothing: on 100 frames in a row" in tally.breach()
    assert tally.summary().objects == 3


def test_a_class_that_the_incumbent_does_not_know_is_left_out() -> None:
    """A version with more classes than before."""
    tally = run(lambda part, box: (*box[:5], 3) if part.cls == 2 else box, 20)
    assert all(c.gained == 0 for c in tally.summary().classes)


def cracks(part: Part, box: Box) -> Box:
    """Half of the scratches have a class of their own now."""
    return (*box[:5], 3) if part.cls == 0 and part.number % 2 else box


def test_a_class_that_was_split_is_not_lost() -> None:
    """What is called a crack now was a scratch; what is in no place any more is lost all the same."""
    tally = run(cracks)
    summary = tally.summary()
    assert tally.breach() == ""
    assert sum(c.lost + c.gained + c.renamed for c in summary.classes) == 0
    assert summary.split > 100
    lost = run(lambda part, box: None if part.cls == 1 else cracks(part, box))
    assert "dent" in lost.breach()


def test_a_further_class_elsewhere_is_no_split() -> None:
    """A crack beside each scratch that it no longer finds."""
    tally = run(
        lambda part, box: (box[0], box[1] + 100, box[2], box[3] + 100, 0.8, 3) if part.cls == 0 else box
    )
    assert "scratch" in tally.breach()
    assert tally.summary().split == 0


def test_lines_are_followed_apart() -> None:
    """Two cameras with parts in the same place."""
    tally = PairTally(PairLimits(), NAMES)
    box: Box = (100.0, 100.0, 140.0, 140.0, 0.9, 0)
    for seq in range(30):
        for name in ("a", "b"):
            tally.observe(FramePair(name, seq, seq / FPS, WIDTH, HEIGHT, (box,), (box,)))
    assert tally.summary().objects == 2


def test_the_summary_travels_as_json() -> None:
    """Into the receipt, and back."""
    summary = run(every_second_dent).summary()
    assert from_json(PairSummary, json.loads(json.dumps(to_json(summary)))) == summary


@pytest.mark.parametrize("candidate", [("scratch", "dent"), ("dent", "tag", "scratch")])
def test_a_class_that_the_candidate_does_not_have_is_not_lost(candidate: tuple[str, ...]) -> None:
    """Who let it in has said so; a class that it does have, and is blind to, still counts."""
    for blind, breaches in ((2, False), (0, True)):
        tally = PairTally(PairLimits(), NAMES, candidate)
        for now, parts in belt(120.0):
            boxes = tuple(box for _, box in parts)
            seen = tuple(box for box in boxes if box[5] not in (2, blind))
            tally.observe(FramePair("line", int(now * FPS), now, WIDTH, HEIGHT, boxes, seen))
        assert bool(tally.breach()) is breaches
        assert "label" not in [c.name for c in tally.summary().classes]


def test_versions_without_a_common_class_are_not_compared() -> None:
    """That is said, and taken for nothing."""
    tally = PairTally(PairLimits(), NAMES, ("crack",))
    for now, parts in belt(60.0):
        boxes = tuple(box for _, box in parts)
        tally.observe(FramePair("line", int(now * FPS), now, WIDTH, HEIGHT, boxes, ()))
    assert tally.breach() == ""
    assert tally.shortfall() == "there is nothing to compare: the two versions have no class in common"


def test_equal_versions_that_miss_other_objects_each_are_equal() -> None:
    """Three of two hundred parts each: no alarm in twenty minutes, at any moment."""
    rng = random.Random(11)
    blind: dict[int, int] = {}
    tally = PairTally(PairLimits(), NAMES)
    for now, parts in belt(1200, seed=3):
        for part, _ in parts:
            blind.setdefault(part.number, rng.choice((0, 1)) if rng.random() < 0.03 else -1)
        ours, theirs = (tuple(b for p, b in parts if blind[p.number] != side) for side in (0, 1))
        tally.observe(FramePair("line", int(now * FPS), now, WIDTH, HEIGHT, ours, theirs))
    classes = tally.summary().classes
    assert sum(c.lost for c in classes) > 5
    assert sum(c.gained for c in classes) > 5
    assert tally.breach() == ""
