# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a wave opens, when it doesn't, and what ends a roll-out: each rule by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import CANARIES, ENDED, PLACES, Cause, Status
from edgeagent.core.rollout_steps import EVIDENCE_LIMIT, RETURN_S, Watch, decide, paused, resumed
from edgeagent.core.rollout_view import Member
from tests.support.rollouts import Led, a_rollout, node

BAKE_S, DEADLINE_S = 100.0, 1000.0


def led(nodes: int = 10, **given: Any) -> Led:
    """Of 1, half, all; it bakes for BAKE_S and waits for DEADLINE_S."""
    return Led(a_rollout(**({"bake_seconds": BAKE_S, "deadline_seconds": DEADLINE_S} | given)), nodes)


def at_wave(index: int, **given: Any) -> Led:
    """The same, with that wave open, and none of its nodes begun."""
    run = led(**given)
    run.to_wave(index)
    return run


# -- a good version ----------------------------------------------------------------------------------


def test_a_good_version_reaches_all_in_waves() -> None:
    """One, half, all; each wave acts and bakes before the next one opens, and `current` follows at the end."""
    run, opened = led(), []
    while run.look(BAKE_S / 2) not in ENDED:
        if run.rollout.status is Status.ROLLING:
            opened.append(len(run.inside))
            assert run.look() is Status.ROLLING, "somebody has not acted yet"
            run.all_stable()
    assert run.rollout.status is Status.DONE
    assert opened == [1, 5, 10]
    assert run.rollout.open_below == PLACES


def test_a_wave_bakes_from_when_the_last_of_it_has_acted() -> None:
    """Not a moment less, by the coordinator's own clock."""
    run = at_wave(1)
    last = run.inside[-1]
    run.all_stable()
    run.tell(last, Phase.SWAPPED)
    assert run.look(3 * BAKE_S) is Status.ROLLING
    run.tell(last, Phase.STABLE)
    assert run.look() is Status.BAKING
    assert run.look(BAKE_S - 0.5) is Status.BAKING
    assert run.rollout.wave == 1
    assert run.look(0.5) is Status.ROLLING
    assert run.rollout.wave == 2


@pytest.mark.parametrize("phase", [Phase.NONE, Phase.WAITING, Phase.BEGUN, Phase.SWAPPED])
def test_a_node_that_has_not_acted_holds_its_wave(phase: Phase) -> None:
    """Until the deadline; then it is told who it was, and somebody has to look."""
    run = at_wave(1)
    run.all_stable()
    run.tell(run.inside[0], phase)
    assert run.look(DEADLINE_S / 2) is Status.ROLLING
    assert run.look(DEADLINE_S / 2 + 1) is Status.PAUSED
    assert run.rollout.why == f"inconclusive: {run.inside[0]} have not acted in time"
    assert run.rollout.cause == Cause.LATE


def test_what_a_node_did_in_another_roll_out_is_no_act_of_this_one() -> None:
    """It may have been stable with another version."""
    run = at_wave(0)
    canary = run.inside[0]
    run.members[canary] = Member(True, Report("v2", rollout="r0", phase=Phase.STABLE))
    assert run.look() is Status.ROLLING
    run.members[canary] = Member(True, Report("v0", rollout="r0", phase=Phase.ROLLED_BACK))
    assert run.look() is Status.ROLLING, "nor has it failed"


def test_a_clock_that_stands_still_opens_nothing() -> None:
    """Nothing is early, and nothing ends."""
    run = at_wave(0)
    run.all_stable()
    for _ in range(50):
        run.look(0.0)
    assert (run.rollout.status, run.rollout.wave) == (Status.BAKING, 0)


def test_without_bake_time_each_wave_follows_the_acts() -> None:
    """Still one step at a time."""
    run = led(bake_seconds=0.0)
    seen = []
    while run.look(0.0) not in ENDED:
        run.all_stable()
        seen.append((run.rollout.wave, run.rollout.status))
    assert seen == [(n, s) for n in range(3) for s in (Status.ROLLING, Status.BAKING)]


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_fleet_smaller_than_its_waves(nodes: int) -> None:
    """Waves that bring in nobody are left out, up to the last."""
    run = led(nodes, waves=("1", "3", "5%", "25%", "100%"))
    waves = []
    while run.look(BAKE_S) not in ENDED:
        run.all_stable()
        waves += [run.rollout.wave] if run.rollout.wave not in waves else []
    assert run.rollout.status is Status.DONE
    assert waves == ([0, 4] if nodes == 1 else [0, 1, 4])


def test_a_fleet_without_nodes() -> None:
    """Nothing was tried, so it isn't done."""
    run = led(0)
    assert run.look() is Status.PAUSED
    assert "no node is there" in run.rollout.why
    assert run.rollout.cause == Cause.NOBODY
    run.comes("press-1")
    run.rollout = replace(run.rollout, status=Status.PLANNED)
    assert run.look() is Status.ROLLING


# -- restarts ----------------------------------------------------------------------------------------


def test_a_node_that_starts_anew_while_its_wave_bakes_is_waited_for_at_the_end() -> None:
    """The bake time of a thousand others doesn't begin anew with it, and it isn't left out."""
    run = at_wave(1)
    run.all_stable()
    run.look()
    run.tell(run.inside[0], Phase.BEGUN)
    assert run.look(BAKE_S / 2) is Status.BAKING
    assert run.look(BAKE_S) is Status.BAKING
    assert run.rollout.wave == 1
    run.tell(run.inside[0], Phase.STABLE)
    assert run.look() is Status.ROLLING
    assert run.rollout.wave == 2


def test_a_node_that_doesn_t_come_back_to_it_is_told() -> None:
    """So much later as a wave may take."""
    run = at_wave(1)
    run.all_stable()
    run.look()
    run.look(BAKE_S - 1)
    run.tell(run.inside[0], Phase.BEGUN)
    assert run.look(DEADLINE_S - 1) is Status.BAKING
    assert run.look() is Status.PAUSED
    assert "have not acted in time" in run.rollout.why


def test_a_node_that_starts_anew_while_a_person_is_waited_for_has_its_time() -> None:
    """It was the person who took days."""
    run = at_wave(1, approval="manual")
    run.all_stable()
    run.look()
    for _ in range(100):
        run.look(DEADLINE_S)
    run.tell(run.inside[0], Phase.BEGUN)
    assert run.look() is Status.BAKING


# -- who is away -------------------------------------------------------------------------------------


def test_a_node_that_was_away_before_neither_counts_nor_blocks() -> None:
    """It comes in when it comes, and is counted by the next wave."""
    run = led()
    run.goes(node(3), node(4))
    run.to_wave(2)
    assert node(3) in run.inside
    run.all_stable()
    run.look()
    run.comes(node(3))
    assert run.look(BAKE_S + 1) is Status.DONE


def test_who_comes_late_and_fails_has_failed_all_the_same() -> None:
    """It wasn't counted, and served."""
    run = led()
    run.goes(node(3))
    run.to_wave(2)
    run.all_stable()
    run.look()
    run.comes(node(3))
    run.tell(node(3), Phase.ROLLED_BACK, why="it finds fewer dents")
    assert run.look() is Status.ABORTING
    assert run.rollout.why == "node-3 went back from it or vanished with it: it finds fewer dents"
    assert run.rollout.cause == Cause.FAILED


def test_a_node_that_vanishes_before_it_began_is_no_failure() -> None:
    """The version had nothing to do with it."""
    run = at_wave(1)
    gone = run.inside[-1]
    run.tell(gone, Phase.WAITING)
    run.goes(gone)
    run.all_stable()
    assert run.look() is Status.BAKING


@pytest.mark.parametrize("phase", [Phase.BEGUN, Phase.SWAPPED, Phase.STABLE])
def test_a_node_that_vanishes_with_it_has_failed(phase: Phase) -> None:
    """From when on it prepares it, for that takes memory and disk."""
    run = at_wave(1)
    gone = run.inside[-1]
    run.tell(gone, phase)
    run.goes(gone)
    assert run.look() is Status.ABORTING
    assert f"{gone} went back from it or vanished with it" in run.rollout.why


@pytest.mark.parametrize("phase", [Phase.REFUSED, Phase.EXCUSED])
def test_a_node_that_vanishes_without_it_has_not(phase: Phase) -> None:
    """What served there was something else."""
    run = at_wave(1)
    run.all_stable()
    run.tell(run.inside[0], phase)
    run.goes(run.inside[0])
    assert run.look() is Status.BAKING


def test_nodes_that_a_power_cut_took_away_are_awaited_by_a_new_coordinator() -> None:
    """It is up first. No wave opens meanwhile, and nothing goes back."""
    run = at_wave(1)
    run.all_stable()
    run.look()
    away = run.inside
    run.goes(*away)
    run.watch = Watch()  # another coordinator
    assert run.look() is Status.BAKING
    assert run.look(RETURN_S / 2) is Status.BAKING
    run.comes(*away)
    assert run.look(RETURN_S / 2) is Status.BAKING
    assert run.rollout.wave == 1
    assert run.look(BAKE_S) is Status.ROLLING
    run.goes(away[0])
    assert run.look() is Status.ABORTING, "it has been seen since, so now it has vanished"


def test_nodes_that_never_come_back_have_vanished() -> None:
    """For a coordinator that began to look when they were gone, a little later."""
    run = at_wave(1)
    run.all_stable()
    run.goes(run.inside[0])
    run.watch = Watch()
    assert run.look(RETURN_S) is Status.ROLLING
    assert run.look(RETURN_S - 1) is Status.ROLLING
    assert run.look() is Status.ABORTING


# -- harm --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("on_failure", "status"), [("rollback", Status.ABORTING), ("pause", Status.PAUSED)])
@pytest.mark.parametrize("max_failures", [0, 5])
def test_one_canary_is_enough(on_failure: str, status: Status, max_failures: int) -> None:
    """However many may fail later."""
    run = at_wave(0, on_failure=on_failure, max_failures=max_failures)
    run.tell(run.inside[0], Phase.ROLLED_BACK, why="it finds fewer dents")
    assert run.look() is status
    assert run.rollout.why == f"{run.inside[0]} went back from it or vanished with it: it finds fewer dents"
    assert run.rollout.wave == 0


def test_later_more_than_the_limit() -> None:
    """Of going back and vanishing together; those within it hold up nothing."""
    run = at_wave(1, max_failures=2)
    run.all_stable()
    failing = run.inside[:3]
    run.tell(failing[0], Phase.ROLLED_BACK)
    run.goes(failing[1])
    assert run.look() is Status.BAKING
    assert run.look(BAKE_S) is Status.ROLLING
    run.tell(failing[2], Phase.ROLLED_BACK)
    assert run.look() is Status.ABORTING
    assert all(name in run.rollout.why for name in failing)


def test_one_that_failed_within_the_limit_and_saw_too_little_holds_up_nothing() -> None:
    """It will see no more."""
    run = at_wave(1, max_failures=1, min_frames=100)
    run.all_stable(frames=200)
    run.tell(run.inside[0], Phase.STABLE, frames=1)
    run.goes(run.inside[0])
    run.look()
    assert run.look(BAKE_S) is Status.ROLLING
    assert run.rollout.wave == 2


@pytest.mark.parametrize("waits", [{"approval": "manual"}, {"mode": "ab", "waves": ("1", "50%")}])
def test_what_waits_for_a_person_goes_on_being_judged(waits: dict[str, Any]) -> None:
    """Who approves in the morning relies on it."""
    run = at_wave(1, **waits)
    run.all_stable()
    run.look()
    assert run.look(BAKE_S + 1) is Status.BAKING
    assert run.rollout.why == "waits for `edgeagent rollout advance`"
    assert run.rollout.cause == Cause.ADVANCE
    assert run.look(100 * DEADLINE_S) is Status.BAKING
    run.tell(run.inside[0], Phase.ROLLED_BACK)
    assert run.look() is Status.ABORTING


def test_what_is_paused_goes_on_being_judged() -> None:
    """Its nodes serve the version."""
    run = at_wave(1)
    run.all_stable()
    run.rollout = replace(run.rollout, status=Status.PAUSED, why="lunch")
    assert run.look() is Status.PAUSED
    run.goes(run.inside[0])
    assert run.look() is Status.ABORTING


def test_labels_that_change_don_t_hide_a_failure() -> None:
    """It is no canary any more, and was one."""
    run = led(waves=(CANARIES, "100%"), selector={"line": "a"})
    run.members[node(0)] = Member(True, Report("v1", labels={"line": "a"}))
    run.look()
    assert run.inside == [node(0)]
    run.tell(node(0), Phase.ROLLED_BACK, labels={"line": "b"})
    assert run.inside == []
    assert run.look() is Status.ABORTING


def test_a_node_that_becomes_a_canary_while_the_wave_is_open_is_not_waited_for() -> None:
    """As one that joins late."""
    run = led(waves=(CANARIES, "100%"), selector={"line": "a"})
    run.members[node(0)] = Member(True, Report("v1", labels={"line": "a"}))
    run.look()
    run.all_stable()
    run.look()
    run.members[node(1)] = Member(True, Report("v1", labels={"line": "a"}))
    assert node(1) in run.inside
    run.look(BAKE_S)
    assert run.rollout.wave == 1


def test_the_nodes_evidence_together_ends_it() -> None:
    """Though none of them would have gone back by itself."""
    run = at_wave(1)
    run.all_stable(evidence=1.0, objects=64)
    assert run.look() is Status.ABORTING
    assert "taken together" in run.rollout.why
    assert run.rollout.cause == Cause.WORSE


def test_evidence_about_the_version_before_is_none_about_this_one() -> None:
    """A node that prepares still tells what it found of what serves."""
    run = at_wave(1)
    run.tell(run.inside, Phase.BEGUN, evidence=2 * EVIDENCE_LIMIT, objects=64)
    assert run.look() is Status.ROLLING


# -- refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("nodes", "share", "refused", "status"),
    [
        (20, 0.2, 2, Status.BAKING),
        (20, 0.2, 3, Status.PAUSED),
        (200, 0.29, 29, Status.BAKING),  # 0.29 * 100 is a little less than 29
        (200, 0.29, 30, Status.PAUSED),
        (20, 0.0, 1, Status.PAUSED),
        (20, 1.0, 9, Status.BAKING),
    ],
)
def test_more_than_a_share_that_refuse_pause(nodes: int, share: float, refused: int, status: Status) -> None:
    """Half of the fleet is asked; nothing was harmed, so nothing goes back."""
    run = at_wave(1, nodes=nodes, max_refused=share)
    run.all_stable()
    run.tell(run.inside[1 : refused + 1], Phase.REFUSED, why="no room")
    assert run.look() is status
    assert status is Status.BAKING or "refused it: no room" in run.rollout.why


def test_nodes_that_are_long_gone_are_no_part_of_the_share() -> None:
    """Their reports stay for ever."""
    run = led(nodes=20, max_refused=0.2)
    run.goes(*[node(n) for n in range(10, 20)])
    run.to_wave(2)
    run.all_stable()
    run.tell([n for n in run.inside if run.members[n].present][:3], Phase.REFUSED)
    assert run.look() is Status.PAUSED


@pytest.mark.parametrize(
    ("wave", "plan", "advance"),
    [
        (0, {}, "opens the next one"),
        (2, {}, "has it become `current` all the same"),
        (0, {"mode": "ab", "waves": ("50%",)}, "opens the next one"),
    ],
)
def test_a_version_that_serves_nowhere_is_inconclusive(wave: int, plan: dict[str, Any], advance: str) -> None:
    """All have acted, and nothing was seen, whatever may refuse it; what `advance` would do is called what it is."""
    run = at_wave(wave, max_refused=1.0, **plan)
    run.tell(run.inside, Phase.REFUSED)
    run.look()
    assert run.look(BAKE_S) is Status.PAUSED
    said = f"inconclusive: it serves on no node of the open waves; `rollout advance` {advance}"
    assert run.rollout.why == said
    assert run.rollout.cause == Cause.UNSERVED


def test_nodes_that_are_all_excused_prove_nothing() -> None:
    """After the wave was opened as before."""
    run = at_wave(0)
    run.tell(run.inside, Phase.EXCUSED)
    run.look()
    assert run.look(BAKE_S) is Status.PAUSED
    assert "serves on no node" in run.rollout.why
    run = led()
    run.tell(run.members, Phase.EXCUSED)
    assert run.look() is Status.PAUSED
    assert "follows the fleet" in run.rollout.why


def test_canaries_that_nobody_is() -> None:
    """A first wave of nobody would prove nothing."""
    run = led(waves=(CANARIES, "100%"), selector={"line": "z"})
    assert run.look() is Status.PAUSED
    assert run.rollout.why == "no node that is there and follows the fleet is a canary"
    assert run.rollout.cause == Cause.NO_CANARY
    assert run.rollout.wave == -1


# -- no data is no pass ------------------------------------------------------------------------------


@pytest.mark.parametrize("least", [{"min_frames": 100}, {"min_objects": 20}])
def test_enough_has_to_be_seen(least: dict[str, int]) -> None:
    """On each node, after any time; at the deadline it is inconclusive, and not passed."""
    run = at_wave(0, **least)
    run.all_stable(frames=99, objects=19)
    run.look()
    assert run.look(BAKE_S - 1) is Status.BAKING
    assert run.look(DEADLINE_S - 1) is Status.BAKING
    assert run.look() is Status.PAUSED
    assert "have seen fewer than" in run.rollout.why
    assert run.rollout.cause == Cause.UNSEEN
    run = at_wave(0, **least)
    run.all_stable(frames=100, objects=20)
    run.look()
    assert run.look(BAKE_S) is Status.ROLLING


def test_one_that_came_late_passes_a_wave_only_with_what_it_has_seen() -> None:
    """Where it serves on none that was there: else the wave would pass on nothing."""
    run = led(waves=(CANARIES, "100%"), selector={"line": "a"}, min_frames=100)
    run.members[node(0)] = Member(True, Report("v1", labels={"line": "a"}))
    run.to_wave(0)
    run.tell(node(0), Phase.EXCUSED)
    run.members[node(1)] = Member(True, Report("v1", labels={"line": "a"}))
    run.tell(node(1), Phase.STABLE, frames=99)
    run.look()
    assert run.look(BAKE_S) is Status.BAKING
    run.tell(node(1), Phase.STABLE, frames=100)
    run.look()
    assert run.rollout.wave == 1


# -- preloading --------------------------------------------------------------------------------------


def test_all_prepare_it_before_the_first_wave() -> None:
    """What is away, excused, or serves it already, isn't waited for."""
    run = led(preload=True)
    run.tell(node(0), Phase.EXCUSED)
    run.goes(node(1))
    run.members[node(2)] = Member(True, Report("v2"))
    assert run.look() is Status.PLANNED
    for n in range(3, 10):
        run.members[node(n)] = Member(True, Report("v1", preloaded="v2"))
        assert (run.look() is Status.ROLLING) == (n == 9)


def test_what_can_t_be_prepared_in_time_is_inconclusive() -> None:
    """Another version prepared ahead is none of this one."""
    run = led(preload=True)
    run.members = {n: Member(True, Report("v1", preloaded="v3")) for n in run.members}
    run.look()
    assert run.look(DEADLINE_S) is Status.PAUSED
    assert "have not prepared it in time" in run.rollout.why
    assert run.rollout.cause == Cause.UNPREPARED


def test_more_than_a_share_that_can_t_prepare_it_pause() -> None:
    """And fewer hold up nothing."""
    run = led(preload=True)
    full = Member(True, Report("v1", preloaded="v2", preload_refused="no room"))
    run.members = {n: Member(True, Report("v1", preloaded="v2")) for n in run.members}
    run.members |= {node(0): full, node(1): full}
    assert run.look() is Status.ROLLING
    run = led(preload=True)
    run.members |= {node(n): full for n in range(3)}
    assert run.look() is Status.PAUSED
    assert run.rollout.why == "node-0, node-1, node-2 refused it: no room"
    assert run.rollout.cause == Cause.REFUSED


def test_what_was_refused_before_is_no_reason_to_pause() -> None:
    """A node that could not prepare another version hasn't said anything of this one yet."""
    run = led(preload=True)
    run.members = {
        n: Member(True, Report("v1", preloaded="v1.9", preload_refused="no room")) for n in run.members
    }
    assert run.look() is Status.PLANNED
    run.members = {n: Member(True, Report("v1", preloaded="v2")) for n in run.members}
    assert run.look() is Status.ROLLING


# -- by hand, comparisons, `current` -----------------------------------------------------------------


def test_with_approval_each_wave_waits_and_so_does_the_end() -> None:
    """The first opens by itself: somebody has started it."""
    run = led(approval="manual")
    for wave in range(3):
        run.look()
        assert run.rollout.wave == wave
        run.all_stable()
        run.look()
        run.look(BAKE_S)
        assert run.look(10 * DEADLINE_S) is Status.BAKING
        run.rollout = replace(run.rollout, advance=True)
    assert run.look() is Status.DONE


def test_advance_opens_the_next_wave_whatever_this_one_waits_for() -> None:
    """Once: the word is gone with it."""
    run = at_wave(0)
    run.rollout = replace(run.rollout, advance=True)
    assert run.look() is Status.ROLLING
    assert (run.rollout.wave, run.rollout.advance) == (1, False)
    assert run.look(BAKE_S) is Status.ROLLING
    assert run.rollout.wave == 1


def test_advance_doesn_t_carry_harm_on() -> None:
    """Whoever said it has not seen that."""
    run = at_wave(0)
    run.tell(run.inside, Phase.ROLLED_BACK)
    run.rollout = replace(run.rollout, advance=True)
    assert run.look() is Status.ABORTING
    assert not run.rollout.advance


def test_a_comparison_stays_as_it_is_until_somebody_decides() -> None:
    """Then the winner comes to all, in a last wave that bakes as any other."""
    run = at_wave(1, mode="ab", waves=("1", "50%"))
    run.all_stable()
    run.look()
    for _ in range(9):
        assert run.look(BAKE_S) is Status.BAKING
    run.rollout = replace(run.rollout, advance=True)
    assert run.look() is Status.ROLLING
    assert (run.rollout.plan.waves, run.rollout.wave) == (("1", "50%", "100%"), 2)
    assert len(run.inside) == 10
    run.all_stable()
    run.look()
    assert run.look(BAKE_S) is Status.DONE


@pytest.mark.parametrize("status", [s for s in Status if s not in ENDED and s is not Status.PLANNED])
def test_current_written_by_hand_wins(status: Status) -> None:
    """Whatever it says, and whatever state the roll-out is in."""
    run = at_wave(1)
    run.rollout = replace(run.rollout, status=status)
    run.tell(run.inside, Phase.ROLLED_BACK)
    run.current = "42"
    assert run.look() is Status.SUPERSEDED
    assert "somebody wrote `current`" in run.rollout.why
    assert run.rollout.cause == Cause.OVERTAKEN


@pytest.mark.parametrize("status", ENDED)
def test_what_has_ended_stays_ended(status: Status) -> None:
    """Whatever comes."""
    run = at_wave(1)
    run.rollout = replace(run.rollout, status=status)
    run.tell(run.inside, Phase.ROLLED_BACK)
    run.current = "42"
    assert run.look(10 * DEADLINE_S) is status


# -- going back --------------------------------------------------------------------------------------


def test_an_abort_ends_when_the_nodes_are_back() -> None:
    """Those that are there; a pin that names the version is somebody's own will."""
    run = at_wave(1)
    run.all_stable()
    back, away, pinned, *rest = run.inside
    run.tell(rest, Phase.ROLLED_BACK)
    assert run.look() is Status.ABORTING
    run.goes(away)
    run.tell(pinned, Phase.EXCUSED)
    assert run.look() is Status.ABORTING
    run.tell(back, Phase.ROLLED_BACK)
    assert run.look() is Status.ABORTED
    assert run.rollout.why.endswith("went back from it or vanished with it")


def test_an_abort_waits_its_own_deadline_for_those_that_don_t_go_back() -> None:
    """However long the wave was open before, and says who they are."""
    run = at_wave(0)
    run.all_stable()
    run.look(DEADLINE_S - BAKE_S)
    run.rollout = replace(run.rollout, status=Status.ABORTING, why="Ada says so")
    assert run.look(2 * DEADLINE_S) is Status.ABORTING
    assert run.look(DEADLINE_S - 1) is Status.ABORTING
    assert run.look() is Status.ABORTED
    assert run.rollout.why == f"Ada says so; {run.inside[0]} serve it still"


def test_what_nobody_has_taken_up_is_aborted_at_once() -> None:
    """No wave was open."""
    run = led()
    run.rollout = replace(run.rollout, status=Status.ABORTING, why="Ada says so")
    assert run.look() is Status.ABORTED


# -- coordinators ------------------------------------------------------------------------------------


def test_another_coordinator_begins_to_bake_anew() -> None:
    """Late, and never early: it has not seen for how long all have been well."""
    run = at_wave(1)
    run.all_stable()
    run.look()
    run.look(BAKE_S - 1)
    run.watch = Watch()
    run.look()
    assert run.look(BAKE_S - 1) is Status.BAKING
    assert run.look() is Status.ROLLING


def test_resuming_begins_to_bake_anew_however_short_the_pause() -> None:
    """A script pauses and resumes between two looks: all time counts anew, as after any pause."""
    run = at_wave(1)
    run.all_stable()
    run.look()
    run.look(BAKE_S - 1)
    run.rollout = resumed(paused(run.rollout, "Ada says so"), run.fleet)
    assert run.look() is Status.BAKING
    assert run.look(BAKE_S - 1) is Status.BAKING
    assert run.rollout.wave == 1
    run.look()
    assert run.rollout.wave == 2


def test_deciding_again_without_anything_new_is_nothing_new() -> None:
    """The same document, whoever looks how often."""
    run = at_wave(1)
    run.all_stable()
    once = decide(run.rollout, run.fleet, run.watch, run.now)
    assert once.rollout is not None
    again = decide(once.rollout, run.fleet, once.watch, run.now)
    assert again.rollout is None
    assert decide(once.rollout, run.fleet, again.watch, run.now) == again
