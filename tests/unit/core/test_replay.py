# SPDX-License-Identifier: AGPL-3.0-or-later
"""A candidate on the line's recent frames, beside the active version: what counts against it, and what doesn't."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from edgeagent.config.verdict import ReplayGateConfig
from edgeagent.core.boxes import Box
from edgeagent.core.differences import PairLimits
from edgeagent.core.pictures import FrameDifference
from edgeagent.core.replay import ReplayLimits, ReplayTally, frame_difference

NAMES = ("scratch", "dent", "stain")
LIMITS = ReplayLimits.of({name: float(value) for name, value in ReplayGateConfig().model_dump().items()})
SIDE = 640
Frames = list[list[Box]]


def line(frames: int = 100, seed: int = 7) -> Frames:
    """What the active version finds: every third frame empty, else two objects, of the third class few."""
    random = Random(seed)
    found: Frames = []
    for n in range(frames):
        places = [] if n % 3 == 0 else [(100.0, 80.0), (380.0, 260.0)]
        found.append(
            [
                (x, y, x + 60, y + 50, random.uniform(0.6, 0.95), 2 if n % 50 == 1 and x > 200 else i)
                for i, (x, y) in enumerate(places)
            ]
        )
    return found


def changed(found: Frames, change: object, seed: int = 3) -> Frames:
    """What another version finds: each box as `change` makes it of itself and of chance; None is no box."""
    random = Random(seed)
    rows = [[change(box, random) for box in boxes] for boxes in found]  # type: ignore[operator]
    return [[box for box in boxes if box] for boxes in rows]


def nearly(box: Box, random: Random) -> Box | None:
    """As another good version sees it: a little elsewhere, another score, now and then not at all."""
    x1, y1, x2, y2, score, cls = box
    dx, dy = random.uniform(-3, 3), random.uniform(-3, 3)
    if random.random() < 0.03:
        return None
    return x1 + dx, y1 + dy, x2 + dx, y2 + dy, min(1.0, score + random.uniform(-0.1, 0.1)), cls


def judged(active: Frames, candidate: Frames, limits: ReplayLimits = LIMITS) -> tuple[list[str], ReplayTally]:
    """Reasons against the candidate."""
    tally = ReplayTally(limits, NAMES)
    for ours, theirs in zip(active, candidate, strict=True):
        tally.observe(ours, theirs, SIDE)
    return tally.judge(), tally


def test_the_same_version_passes() -> None:
    """And its figures say so; a class of which there are too few objects is named."""
    found = line()
    reasons, tally = judged(found, found)
    assert reasons == []
    figures = tally.figures()
    assert (figures["frames"], figures["objects"], figures["candidate_objects"]) == (100, 132, 132)
    assert (figures["agreement"], figures["lost"], figures["gained"]) == (1.0, 0, 0)
    assert figures["objects scratch"] == 66
    assert figures["too few to tell"] == "stain"
    limits = tally.limits()
    assert limits.keys() <= figures.keys()
    assert (limits["frames"], limits["lost"], limits["moved"], limits["emptied"]) == (100, 26.4, 33.0, 6.6)


@pytest.mark.parametrize("seed", range(20))
def test_a_version_that_is_as_good_passes(seed: int) -> None:
    """It misses some that the active one finds, and finds as many that this misses."""
    found = line(200, seed)
    reasons, _ = judged(changed(found, nearly, seed + 100), changed(found, nearly, seed))
    assert reasons == []


def test_a_better_version_passes() -> None:
    """It finds half as many objects again: that is said, and no reason."""
    found = line()
    random = Random(1)
    more = [
        [*boxes, (500.0, 10.0, 540.0, 60.0, 0.8, 1)] if random.random() < 0.6 else boxes for boxes in found
    ]
    reasons, tally = judged(found, more)
    assert reasons == []
    assert int(tally.figures()["gained"]) > 40


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (lambda b, r: None, "lost 132 of 132 objects"),
        (lambda b, r: None if b[5] == 1 else b, "lost 65 of 65 dent"),
        (lambda b, r: None if b[5] == 0 and r.random() < 0.5 else b, "scratch"),
        (lambda b, r: (*b[:4], b[4] * 0.6, b[5]), "much less sure"),
        (lambda b, r: (b[0] + 20, b[1] + 20, b[2] + 20, b[3] + 20, *b[4:]), "another place"),
        (lambda b, r: (*b[:5], (b[5] + 1) % 3), "something else"),
        (lambda b, r: (b[0] + 250, b[1] + 150, b[2] + 250, b[3] + 150, *b[4:]), "lost"),
    ],
    ids=["empty", "blind to a class", "half of a class", "scores", "shifted", "permuted", "junk"],
)
def test_a_version_that_sees_worse_is_refused(fault: object, why: str) -> None:
    """With what it is, how often, and of how many."""
    found = line()
    reasons, _ = judged(found, changed(found, fault))
    assert any(why in reason for reason in reasons), reasons


def test_a_version_that_sees_nothing_at_all_is_refused_for_that_too() -> None:
    """Frames that show it nothing, and would show something to the one before."""
    found = line()
    reasons, tally = judged(found, [[] for _ in found])
    assert "it finds nothing on 66 of 66 frames" in reasons[1]
    assert (tally.figures()["emptied"], tally.figures()["filled"]) == (66, 0)


def test_several_times_as_many_objects_are_no_better_version() -> None:
    """Whatever they are."""
    found = line()
    junk = [(x, 400.0, x + 20, 430.0, 0.9, 0) for x in map(float, range(0, 600, 40))]
    reasons, _ = judged(found, [[*boxes, *junk] for boxes in found])
    assert reasons == ["it finds 1632 objects where the active version finds 132 (at most 3 times as many)"]


def test_too_few_objects_are_no_pass() -> None:
    """Also where all are found."""
    found = line(30)
    reasons, _ = judged(found, found, replace(LIMITS, min_objects=41.0))
    assert reasons == [
        "the active version finds 40 objects on 30 frames, which are too few to tell: 41 are needed"
        " (update.gates.replay.min_objects)"
    ]
    assert judged(found, found, replace(LIMITS, min_objects=40.0))[0] == []


def test_a_few_lost_objects_refuse_nothing() -> None:
    """What could be chance isn't held against it."""
    found = line(30)
    fewer = [boxes[1:] if n in (1, 4) else boxes for n, boxes in enumerate(found)]
    assert judged(found, fewer)[0] == []


def test_a_limit_that_is_missing_is_an_error() -> None:
    """Rather than a limit that lets everything through."""
    with pytest.raises(KeyError):
        ReplayLimits.of({"frames": 3.0})


def test_the_score_of_a_difference() -> None:
    """Lost, gained and moved count one each, a renamed one two."""
    a: Box = (100.0, 100.0, 160.0, 160.0, 0.9, 0)
    b: Box = (300.0, 100.0, 360.0, 160.0, 0.9, 1)

    def score(ours: list[Box], theirs: list[Box]) -> int:
        return frame_difference(ours, theirs, SIDE, PairLimits()).score

    assert score([a, b], [b, a]) == 0
    assert score([a, b], [a]) == score([a], [a, b]) == 1
    assert score([a], [(120.0, 120.0, 180.0, 180.0, 0.9, 0)]) == 1
    assert score([a], [(*a[:5], 1)]) == 2
    assert score([a], [b]) == 2
    assert score([a] * 100, [a] * 60) == 40
    kinds = frame_difference([a, b], [(*a[:5], 1)], SIDE, PairLimits())
    assert kinds == FrameDifference(lost=1, renamed=1)


def test_a_class_that_was_split_is_not_renamed() -> None:
    """Every scratch is called by a class that the active version doesn't know; blindness to dents still shows."""
    active = line()
    split = changed(active, lambda box, random: (*box[:5], 3) if box[5] == 0 else box)
    reasons, tally = judged(active, split)
    assert reasons == []
    figures = tally.figures()
    assert (figures["lost"], figures["gained"], figures["renamed"]) == (0, 0, 0)
    reasons, _ = judged(active, changed(split, lambda box, random: None if box[5] == 1 else box))
    assert "dent" in reasons[0]


def test_what_may_be_lost_may_be_lost_however_surely() -> None:
    """A bolt that the active version takes for a scratch on every frame: the operator can let that go."""
    parts: list[Box] = [(10.0 + n, 10.0, 60.0 + n, 60.0, 0.9, 0) for n in range(100)]
    active: Frames = [[part, (300.0, 200.0, 400.0, 300.0, 0.6, 0)] for part in parts]
    candidate: Frames = [[part] for part in parts]
    for allowed, is_refused in ((0.05, True), (0.4, True), (0.6, False)):
        limits = replace(LIMITS, lost=allowed, lost_anyway=allowed)
        assert bool(judged(active, candidate, limits)[0]) == is_refused
