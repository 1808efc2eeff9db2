# SPDX-License-Identifier: AGPL-3.0-or-later
"""What somebody may say to a roll-out, and what a new coordinator makes of one that nobody led."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import MAX_FORGIVEN, Rollout, Status
from edgeagent.core.rollout_steps import EVIDENCE_LIMIT, aborted, adopted, advanced, paused, resumed
from edgeagent.core.rollout_view import Member
from edgeagent.errors import ConflictError
from tests.support.rollouts import Led, a_rollout, node

BAKE_S, DEADLINE_S = 100.0, 1000.0
UNDER_WAY = {Status.PLANNED, Status.ROLLING, Status.BAKING, Status.PAUSED}


def at_wave(index: int, nodes: int = 10, **given: Any) -> Led:
    """With that wave open, and none of its nodes begun."""
    given = {"bake_seconds": BAKE_S, "deadline_seconds": DEADLINE_S, "on_failure": "pause"} | given
    run = Led(a_rollout(**given), nodes)
    run.to_wave(index)
    return run


ORDERS: dict[str, tuple[Callable[[Led], Rollout], set[Status]]] = {
    "pause": (lambda run: paused(run.rollout, "lunch"), UNDER_WAY - {Status.PAUSED}),
    "resume": (lambda run: resumed(run.rollout, run.fleet), {Status.PAUSED}),
    "advance": (lambda run: advanced(run.rollout, run.fleet), UNDER_WAY),
    "abort": (lambda run: aborted(run.rollout, "misses dents"), UNDER_WAY),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("status", Status)
def test_what_may_be_said_when(order: str, status: Status) -> None:
    """Else it is said what the roll-out is, and why."""
    run = at_wave(0)
    run.rollout = replace(run.rollout, status=status, why="so it is")
    give, allowed = ORDERS[order]
    if status in allowed:
        assert give(run) != run.rollout
    else:
        with pytest.raises(ConflictError, match=f"{order} of roll-out r1: it is {status}: so it is"):
            give(run)


def test_a_pause_opens_nothing_and_takes_nothing_back() -> None:
    """Nor does it forget why."""
    run = at_wave(1)
    run.all_stable()
    run.look()
    run.rollout = paused(replace(run.rollout, advance=True), "lunch")
    assert (run.rollout.why, run.rollout.advance) == ("lunch", False)
    assert run.look(10 * BAKE_S) is Status.PAUSED
    assert run.rollout.wave == 1


def test_what_goes_on_after_a_pause_bakes_anew() -> None:
    """It was paused for some reason."""
    run = at_wave(1)
    run.all_stable()
    run.look()
    run.rollout = paused(run.rollout, "lunch")
    run.look(10 * BAKE_S)
    run.rollout = resumed(run.rollout, run.fleet)
    assert (run.rollout.status, run.rollout.why) == (Status.ROLLING, "")
    run.look()
    assert run.look(BAKE_S - 1) is Status.BAKING
    assert run.look() is Status.ROLLING
    assert run.rollout.wave == 2


@pytest.mark.parametrize("looks", [0, 1])
def test_what_was_paused_at_its_deadline_has_it_anew(looks: int) -> None:
    """However soon it is resumed; else that would say nothing."""
    run = at_wave(1)
    assert run.look(DEADLINE_S) is Status.PAUSED
    for _ in range(looks):
        run.look()
    run.rollout = resumed(run.rollout, run.fleet)
    assert run.look() is Status.ROLLING
    assert run.look(DEADLINE_S - 1) is Status.ROLLING
    assert run.look() is Status.PAUSED


def test_a_roll_out_that_is_resumed_before_its_first_wave_is_planned_again() -> None:
    """No wave is open."""
    run = Led(a_rollout(), 0)
    run.look()
    assert run.rollout.status is Status.PAUSED
    run.rollout = resumed(run.rollout, run.fleet)
    assert run.rollout.status is Status.PLANNED
    assert run.look() is Status.PAUSED, "there still is nobody"
    run.comes("press-1")
    run.rollout = resumed(run.rollout, run.fleet)
    assert run.look() is Status.ROLLING


# -- what is forgiven --------------------------------------------------------------------------------


def test_a_failure_that_somebody_has_seen_pauses_once() -> None:
    """The next one pauses again, also when the first is well by then."""
    run = at_wave(1)
    run.all_stable()
    first, second = run.inside[:2]
    run.goes(first)
    assert run.look() is Status.PAUSED
    run.rollout = resumed(run.rollout, run.fleet)
    assert run.rollout.forgiven == (first,)
    assert run.look() is Status.BAKING
    run.goes(second)
    assert run.look() is Status.PAUSED
    assert run.rollout.why.startswith(f"{second} went back")
    run.comes(second)
    run.rollout = resumed(run.rollout, run.fleet)
    assert run.rollout.forgiven == (first,)
    run.comes(first)
    run.look()
    run.tell(second, Phase.ROLLED_BACK)
    assert run.look() is Status.PAUSED


def test_refusals_that_somebody_has_seen_are_no_reason_any_more() -> None:
    """More of them than the share may add to them are."""
    run = at_wave(2, nodes=10, max_refused=0.2)
    run.all_stable()
    run.tell(run.inside[:3], Phase.REFUSED)
    assert run.look() is Status.PAUSED
    run.rollout = resumed(run.rollout, run.fleet)
    assert run.look() is Status.BAKING
    run.tell(run.inside[:5], Phase.REFUSED)
    assert run.look() is Status.BAKING
    run.tell(run.inside[:6], Phase.REFUSED)
    assert run.look() is Status.PAUSED


def test_refusals_ahead_of_the_first_wave_are_forgiven_too() -> None:
    """Whoever resumes it does without those nodes."""
    run = Led(a_rollout(preload=True), 10)
    run.members |= {node(n): Member(True, Report("v1", preloaded="v2")) for n in range(10)}
    run.members |= {
        node(n): Member(True, Report("v1", preloaded="v2", preload_refused="no room")) for n in range(5)
    }
    assert run.look() is Status.PAUSED
    run.rollout = resumed(run.rollout, run.fleet)
    assert run.look() is Status.ROLLING


def test_evidence_that_somebody_has_seen_is_no_reason_any_more() -> None:
    """A thousand times as much is."""
    run = at_wave(0)
    run.all_stable(evidence=EVIDENCE_LIMIT + 1, objects=64)
    assert run.look() is Status.PAUSED
    run.rollout = resumed(run.rollout, run.fleet)
    assert run.rollout.forgiven_evidence > EVIDENCE_LIMIT
    assert run.look() is Status.BAKING
    run.all_stable(evidence=2 * EVIDENCE_LIMIT + 2, objects=64)
    assert run.look() is Status.PAUSED


def test_a_failure_forgives_no_evidence() -> None:
    """It was another reason."""
    run = at_wave(0)
    run.tell(run.inside, Phase.ROLLED_BACK)
    run.look()
    run.rollout = resumed(run.rollout, run.fleet)
    run.all_stable(evidence=EVIDENCE_LIMIT + 1, objects=64)
    assert run.look() is Status.PAUSED


@pytest.mark.parametrize("order", ["resume", "advance"])
@pytest.mark.parametrize("report", [{"phase": Phase.ROLLED_BACK}, {"phase": Phase.STABLE, "evidence": 9.0}])
def test_nobody_carries_on_what_is_to_go_back(order: str, report: dict[str, Any]) -> None:
    """With on_failure: rollback. Whoever resumes it can't have seen it: it would have gone back."""
    run = at_wave(0, on_failure="rollback")
    run.rollout = paused(run.rollout, "lunch")
    run.look()
    run.tell(run.inside, **report)
    run.rollout = ORDERS[order][0](run)
    assert run.rollout.forgiven == ()
    assert run.look() is Status.ABORTING
    assert run.rollout.wave == 0


def test_more_failures_than_can_be_named_are_not_forgiven() -> None:
    """It is time for another roll-out."""
    run = at_wave(2, nodes=300)
    run.tell(run.inside[: MAX_FORGIVEN + 1], Phase.ROLLED_BACK)
    run.look()
    with pytest.raises(ConflictError, match="it has failed on 257 nodes, more than 256; abort it"):
        resumed(run.rollout, run.fleet)
    run.tell(run.inside[0], Phase.STABLE)
    assert len(resumed(run.rollout, run.fleet).forgiven) == MAX_FORGIVEN


# -- advance, twice ----------------------------------------------------------------------------------


def test_advance_twice_before_anybody_has_seen_it_is_once() -> None:
    """The second changes nothing."""
    run = at_wave(0)
    run.rollout = advanced(run.rollout, run.fleet)
    assert advanced(run.rollout, run.fleet) == run.rollout
    run.look()
    assert run.rollout.wave == 1
    run.look(BAKE_S)
    assert run.rollout.wave == 1


def test_advance_of_a_paused_roll_out_resumes_it() -> None:
    """It would be said right before otherwise."""
    run = at_wave(0)
    run.tell(run.inside, Phase.ROLLED_BACK)
    run.look()
    assert run.rollout.status is Status.PAUSED
    run.rollout = advanced(run.rollout, run.fleet)
    assert run.look() is Status.ROLLING
    assert run.rollout.wave == 1


# -- taken over --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leaderless_s", "stops"), [(0.0, False), (60.0, False), (60.1, True), (3600.0, True), (None, True)]
)
@pytest.mark.parametrize("status", Status)
def test_what_nobody_led_for_long_waits_for_somebody(
    leaderless_s: float | None, stops: bool, status: Status
) -> None:
    """While it goes on. What was paused, goes back or has ended is as it was left."""
    rollout = replace(at_wave(0).rollout, status=status, advance=True)
    taken = adopted(rollout, leaderless_s, 60.0)
    if not stops or status not in (Status.ROLLING, Status.BAKING):
        assert taken is None
        return
    assert taken is not None
    assert taken.status is Status.PAUSED
    assert not taken.advance
    assert taken.why.startswith("no coordinator led it, ")
    assert adopted(taken, leaderless_s, 60.0) is None
