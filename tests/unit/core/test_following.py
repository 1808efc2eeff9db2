# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a roll-out means for a node: one row for each state of the document, of `current` and of the node."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeagent.core.following import Followed, Part, SeenRollout, Standing, as_current, lacks_leader, part_in
from edgeagent.core.rollout import Status, rollout_directive
from edgeagent.core.text import MAX_BY
from tests.support.rollout_seen import CURRENT, a_rollout, seen

NEW = Standing("yolo", "n1", directive=CURRENT)
BEGUN = replace(NEW, directive=rollout_directive("yolo", a_rollout()))
BACK = replace(NEW, directive=replace(CURRENT, returns=True))
MAY = replace(NEW, granted="7")
HELD = replace(NEW, held=True)


@pytest.mark.parametrize("status", Status)
@pytest.mark.parametrize("me", [NEW, BEGUN, BACK, MAY, HELD])
def test_each_status_for_each_node(status: Status, me: Standing) -> None:
    """A paused one goes on where it was begun, and begins nowhere."""
    open_for_all = {Status.ROLLING, Status.BAKING}
    followed = {*open_for_all, Status.PAUSED}
    if status in (Status.ABORTING, Status.ABORTED):
        expected = Part.RETURNS if me in (BEGUN, BACK) else Part.OUT
    elif status not in followed:
        expected = Part.OUT
    elif me is BEGUN or (me is MAY and status in open_for_all):
        expected = Part.FOLLOWS
    else:
        expected = Part.HELD if me is HELD else Part.WAITS
    assert part_in(seen(status), CURRENT, "5", me) is expected


@pytest.mark.parametrize("me", [NEW, BEGUN, BACK, MAY, HELD])
@pytest.mark.parametrize("status", Status)
def test_current_written_meanwhile_wins(me: Standing, status: Status) -> None:
    """Also the same version again; and also where there is no `current` any more."""
    assert part_in(seen(status), CURRENT, "6", me) is Part.OUT
    assert part_in(seen(status), None, "absent", me) is Part.OUT


def test_current_that_only_has_a_version_made_ready_is_no_hindrance() -> None:
    """There is nothing to go back to then."""
    assert part_in(seen(), None, "5", BEGUN) is Part.FOLLOWS
    assert part_in(seen(Status.ABORTED), None, "5", BACK) is Part.OUT


def test_who_is_in() -> None:
    """By its place, by its name or by its labels; nobody is before the first wave."""
    none = seen(open_below=0)
    assert part_in(none, CURRENT, "5", MAY) is Part.OUT
    assert part_in(seen(wave=-1), CURRENT, "5", MAY) is Part.OUT
    plan = replace(a_rollout().plan, canaries=("n1",), waves=("canaries", "100%"))
    assert part_in(seen(open_below=0, plan=plan), CURRENT, "5", MAY) is Part.FOLLOWS
    plan = replace(plan, canaries=(), selector={"line": "a"})
    assert part_in(seen(open_below=0, plan=plan), CURRENT, "5", MAY) is Part.OUT
    assert (
        part_in(seen(open_below=0, plan=plan), CURRENT, "5", replace(MAY, labels={"line": "a"}))
        is Part.FOLLOWS
    )


def test_leave_to_begin_is_for_one_writing_of_the_document() -> None:
    """A hold that was made since counts more; a roll-out begun before is another."""
    assert part_in(seen(revision="8"), CURRENT, "5", MAY) is Part.WAITS
    assert part_in(seen(), CURRENT, "5", replace(MAY, held=True)) is Part.HELD
    assert part_in(seen(id="r2"), CURRENT, "5", BEGUN) is Part.WAITS
    assert part_in(seen(Status.ABORTED, id="r2"), CURRENT, "5", BEGUN) is Part.OUT


def test_what_was_begun_goes_on_under_a_hold() -> None:
    """The hold counts by itself, and ends when `current` is written."""
    assert part_in(seen(), CURRENT, "5", replace(BEGUN, held=True)) is Part.FOLLOWS


def test_how_it_comes_back_is_said_once() -> None:
    """Whoever aborted it may add to the reason later: that is no other intent."""
    aborted = seen(Status.ABORTING, why="n7 went back from it")
    back = as_current(CURRENT, Part.RETURNS, aborted, BEGUN)
    assert (back.version, back.intent_id, back.returns) == ("v1", CURRENT.intent_id, True)
    assert (back.by, back.reason) == ("roll-out r1", "it was aborted: n7 went back from it")
    now = replace(NEW, directive=back)
    later = seen(Status.ABORTED, why="n7 went back from it; n8 serves it still")
    assert part_in(later, CURRENT, "5", now) is Part.RETURNS
    for document in (later, seen(Status.PLANNED, id="r2"), None):
        assert as_current(CURRENT, part_in(document, CURRENT, "5", now), document, now) == back
    written = replace(CURRENT, intent_id="/models/yolo/current@9")
    assert as_current(written, Part.OUT, later, now) == written


def test_a_long_reason_is_cut() -> None:
    """It goes into the saved state, from which it must come back equal."""
    back = as_current(CURRENT, Part.RETURNS, seen(Status.ABORTED, why="x" * 5000), BEGUN)
    assert len(back.reason) <= MAX_BY


def test_without_a_word_of_any_roll_out_current_is_as_it_is() -> None:
    """Nothing is added to it."""
    for part in Part:
        assert as_current(CURRENT, part, None, NEW) == CURRENT


@pytest.mark.parametrize(
    ("document", "leader", "lacks"),
    [
        (seen(Status.ROLLING), "", True),
        (seen(Status.BAKING), "", True),
        (seen(Status.ROLLING), "4", False),
        (seen(Status.ROLLING), None, False),  # not known
        (seen(Status.PAUSED), "", False),
        (seen(Status.PLANNED), "", False),
        (seen(Status.ABORTING), "", False),
        (None, "", False),
    ],
)
def test_which_needs_a_coordinator(document: SeenRollout | None, leader: str | None, lacks: bool) -> None:
    """One that should go on; what is paused waits for a person."""
    assert lacks_leader(Followed(document, leader=leader)) is lacks
