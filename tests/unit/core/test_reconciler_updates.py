# SPDX-License-Identifier: AGPL-3.0-or-later
"""Updates as the reconciler decides them: intent, candidate, swap, probation, stable."""

from __future__ import annotations

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    Cancel,
    CandidateFailed,
    IntentInvalid,
    PrepareCandidate,
    PromoteRequested,
    RetireEngine,
    RollbackRequested,
    StageReached,
    Swap,
    Tick,
)
from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import IllegalTransitionError, Stage
from edgeagent.core.policy import Policy
from edgeagent.core.reconciler import next_deadline
from edgeagent.core.state import Goal, PrepareMode
from tests.support.playbook import POLICY, UNPROVEN, Playbook, begun, intent, ref

# -- the straight way --------------------------------------------------------------------------------


def test_nothing_is_aspired_and_nothing_is_done() -> None:
    """A new node waits for its first intent."""
    node = Playbook()
    assert node.on(Tick()) == []
    assert next_deadline(node.state) is None


def test_the_first_version_of_a_node() -> None:
    """Intent, preparation, swap, stable at once: there is nothing to go back to, so nothing to watch it for."""
    node = Playbook()
    assert node.on(intent("v1", 1)) == [
        PrepareCandidate(1, Goal(Directive("v1", "/models/yolo/current@1", "etcd")), PrepareMode.UPDATE)
    ]
    assert node.reaches(*UNPROVEN) == []
    assert node.reaches(Stage.READY) == [Swap(ref("v1"), epoch=1)]
    assert (node.state.active, node.state.last_known_good) == (ref("v1"), ref("v1"))
    assert node.state.standby is None
    assert next_deadline(node.state) is None
    assert [r.result for r in node.records] == ["swapped"]


def test_the_second_version_can_go_back_to_the_first_however_soon_it_comes() -> None:
    """v1 has served for a moment only: it is warm during the probation of v2."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.passes()
    node.on(intent("v2", 2))
    assert node.passes() == [Swap(ref("v2"), epoch=2)]
    assert (node.state.standby, node.state.probation_until) == (ref("v1"), node.now + POLICY.probation_s)
    assert node.on(RollbackRequested("Ada")) == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]


def test_an_update_keeps_the_version_before_warm_until_probation_ends() -> None:
    """A roll-back meanwhile is a swap, not a load."""
    node = Playbook().serves("v1")
    assert begun(node.on(intent("v2", 2))) == ["v2"]
    assert node.passes() == [Swap(ref("v2"), epoch=2)]
    assert node.state.standby == ref("v1")
    assert node.state.last_known_good == ref("v1")
    assert node.after(POLICY.probation_s) == [RetireEngine(ref("v1"))]
    assert node.state.standby is None
    assert node.state.stable_versions == (ref("v1"), ref("v2"))


def test_the_audit_log_tells_who_what_and_how_long() -> None:
    """One record for the swap, one for the end of probation."""
    node = Playbook().serves("v1")
    node.records.clear()
    node.on(intent("v2", 2, reason="finds dents"))
    for seconds, stage in zip((3.0, 0.5, 0.25, 2.0, 1.0), (*UNPROVEN, Stage.READY), strict=True):
        node.now += seconds
        node.reaches(stage)
    node.after(POLICY.probation_s)
    swapped, stable = node.records
    assert (swapped.event, swapped.result, swapped.by) == ("update", "swapped", "etcd")
    assert (swapped.from_version, swapped.to_version, swapped.why) == ("v1", "v2", "finds dents")
    assert swapped.digest == ref("v2").digest
    spent = {
        "fetching": 3.0,
        "verifying": 0.5,
        "preparing": 0.25,
        "gating": 2.0,
        "warming": 1.0,
        "ready": 0.0,
    }
    assert swapped.stages == spent
    assert (stable.event, stable.result, stable.to_version) == ("probation", "stable", "v2")


def test_the_audit_log_tells_the_tag_too() -> None:
    """By which the version was named when the intent was written: of what comes in, and of what is refused."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2, tag="candidate"))
    node.passes()
    node.on(intent("v3", 3, tag="stable"))
    node.fails("gate smoke: NaN")
    told = [(r.to_version, r.result, r.tag) for r in node.records[-2:]]
    assert told == [("v2", "swapped", "candidate"), ("v3", "rejected", "stable")]
    assert node.saved["directive"]["tag"] == "stable"


def test_what_the_gates_found_travels_with_the_candidate_into_the_audit_log() -> None:
    """As far as they came, whether it was taken or refused; another attempt begins without."""
    contract, smoke = (
        GateResult("contract", True, {"classes": 3}),
        GateResult("smoke", False, reasons=("NaN",)),
    )
    node = Playbook()
    node.on(intent("v1", 1))
    node.reaches(Stage.VERIFYING, Stage.PREPARING, Stage.GATING)
    node.on(StageReached(1, Stage.GATING, gates=(contract,)))
    assert node.state.candidate
    assert node.state.candidate.gates == (contract,)
    node.on(CandidateFailed(1, "the disk", transient=True))
    node.after(POLICY.retry_min_s)
    assert node.state.candidate.gates == ()
    node.reaches(Stage.VERIFYING, Stage.PREPARING, Stage.GATING)
    node.on(StageReached(2, Stage.GATING, gates=(contract,)))
    node.on(StageReached(2, Stage.GATING, gates=(contract, smoke)))
    node.on(CandidateFailed(2, smoke.failure))
    assert [(r.result, r.gates) for r in node.records] == [("rejected", (contract, smoke))]


def test_without_probation_the_next_tick_makes_it_stable() -> None:
    """update.probation.seconds: 0."""
    node = Playbook(policy=Policy(probation_s=0)).serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    assert next_deadline(node.state) == node.now
    assert node.on(Tick()) == [RetireEngine(ref("v1"))]
    assert node.state.last_known_good == ref("v2")


def test_only_so_many_good_versions_are_remembered() -> None:
    """The oldest go."""
    node = Playbook().serves("v1", "v2", "v3", "v4")
    assert node.state.stable_versions == (ref("v2"), ref("v3"), ref("v4"))


def test_a_version_aspired_again_is_good_once_as_the_last() -> None:
    """v1, v2, and v1 as an update: v2 is now the version before."""
    node = Playbook().serves("v1", "v2", "v1")
    assert node.state.stable_versions == (ref("v2"), ref("v1"))


def test_a_name_that_came_back_with_other_content_replaces_the_content_before() -> None:
    """Nobody could go back to that: the store no longer has it."""
    node = Playbook().serves("v1", "v2")
    node.on(intent("v1", 3))
    assert node.passes(content="'") == [Swap(ref("v1", "'"), epoch=3)]
    node.after(POLICY.probation_s)
    assert node.state.stable_versions == (ref("v2"), ref("v1", "'"))


# -- nothing changes ---------------------------------------------------------------------------------


def test_the_intent_for_what_serves_changes_nothing() -> None:
    """Written again by a script that runs every minute."""
    node = Playbook().serves("v1")
    assert node.on(intent("v1", 2)) == []
    assert node.state.candidate is None


def test_the_same_intent_again_changes_nothing() -> None:
    """A watch that resumes says what it said before."""
    node = Playbook()
    node.on(intent("v1", 1))
    before = node.state
    assert node.on(intent("v1", 1)) == []
    assert node.state == before


def test_what_waits_for_its_turn_is_aspired() -> None:
    """Then it is fetched as ever, and the history tells how long it waited. Superseded meanwhile it is cancelled."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    c = node.state.candidate
    assert c is not None
    assert node.on(StageReached(c.id, Stage.ASPIRED)) == []
    assert next_deadline(node.state) is None
    assert node.after(60.0) == []
    assert node.on(StageReached(c.id, Stage.FETCHING)) == []
    node.after(2.0)
    node.passes()
    stages = node.records[-1].stages
    assert (stages["aspired"], stages["fetching"]) == (60.0, 2.0)
    node.on(intent("v3", 3))
    waits = node.state.candidate
    assert waits is not None
    node.on(StageReached(waits.id, Stage.ASPIRED))
    assert node.on(intent("v2", 4)) == [Cancel(waits.id)]


@pytest.mark.parametrize("reached", [1, 2, 3, 4])
def test_a_report_told_twice_changes_nothing(reached: int) -> None:
    """At any stage."""
    node = Playbook()
    node.on(intent("v1", 1))
    stages = (Stage.FETCHING, *UNPROVEN)
    node.reaches(*stages[1 : reached + 1])
    before = node.state
    assert node.reaches(stages[reached]) == []
    assert node.state == before


def test_ready_told_twice_swaps_once() -> None:
    """The second is outdated: there is no candidate any more."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.passes()
    before = node.state
    assert node.on(StageReached(1, Stage.READY, ref("v1").digest)) == []
    assert node.state == before


def test_a_tick_before_its_time_does_nothing() -> None:
    """Neither to probation nor to a retry."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    node.on(intent("v3", 3))
    node.fails("no route to the store", transient=True)
    before = node.state
    assert node.after(0.99) == []
    assert node.state == before


def test_a_value_that_makes_no_sense_changes_nothing_but_the_last_error() -> None:
    """Not even the candidate on its way; the next good value works and clears it."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    before = node.state
    assert node.on(IntentInvalid("key /models/yolo/current: is empty")) == []
    assert node.state.last_error == "key /models/yolo/current: is empty"
    assert (node.state.candidate, node.state.directive) == (before.candidate, before.directive)
    assert begun(node.on(intent("v3", 4))) == ["v3"]
    assert node.state.last_error == ""


def test_a_step_that_the_lifecycle_does_not_know_raises() -> None:
    """A fault of the program is not to be served."""
    node = Playbook()
    node.on(intent("v1", 1))
    before = node.state
    with pytest.raises(IllegalTransitionError):
        node.reaches(Stage.READY)
    assert node.state == before


# -- another intent meanwhile --------------------------------------------------------------------------


def test_a_newer_intent_supersedes_the_candidate() -> None:
    """The outdated one is cancelled first, and told of in the audit log."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(Stage.VERIFYING)
    assert node.on(intent("v3", 3)) == [
        Cancel(2),
        PrepareCandidate(3, Goal(Directive("v3", "/models/yolo/current@3", "etcd")), PrepareMode.UPDATE),
    ]
    assert (node.records[-1].result, node.records[-1].to_version) == ("superseded", "v2")


@pytest.mark.parametrize(
    "late",
    [
        StageReached(2, Stage.READY, ref("v2").digest),
        StageReached(2, Stage.REJECTED),
        CandidateFailed(2, "hash is wrong"),
        CandidateFailed(2, "store away", transient=True),
    ],
)
def test_an_outdated_candidate_that_finishes_late_is_discarded(late: StageReached | CandidateFailed) -> None:
    """Whatever it says, the new one is not touched by it."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.on(intent("v3", 3))
    before = node.state
    assert node.on(late) == []
    assert node.state == before


def test_the_intent_going_back_to_what_serves_cancels_the_candidate() -> None:
    """And that is all."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    assert node.on(intent("v1", 3)) == [Cancel(2)]
    assert node.state.candidate is None


def test_the_same_version_aspired_anew_goes_on_under_the_new_intent() -> None:
    """What is done for it is not thrown away."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(Stage.VERIFYING, Stage.PREPARING)
    assert node.on(intent("v2", 3, reason="now really")) == []
    node.reaches(Stage.GATING, Stage.WARMING)
    assert node.reaches(Stage.READY) == [Swap(ref("v2"), epoch=2)]
    assert node.records[-1].why == "now really"


def test_leave_to_change_the_class_names_needs_the_gates_again() -> None:
    """They run with what was allowed when they were begun."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    acts = node.on(intent("v2", 3, allow_new_contract=True))
    assert acts[0] == Cancel(2)
    assert begun(acts) == ["v2"]


def test_a_new_intent_during_probation_keeps_the_last_known_good_warm() -> None:
    """What was on probation has not earned to be the standby."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    assert begun(node.on(intent("v3", 3))) == ["v3"]
    assert node.passes() == [Swap(ref("v3"), epoch=3), RetireEngine(ref("v2"))]
    assert node.state.standby == ref("v1")
    assert node.after(POLICY.probation_s) == [RetireEngine(ref("v1"))]
    assert node.state.stable_versions == (ref("v1"), ref("v3"))


def test_probation_that_ends_while_the_next_is_prepared() -> None:
    """The newer one then finds a proven version to go back to."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    node.on(intent("v3", 3))
    assert node.after(POLICY.probation_s) == [RetireEngine(ref("v1"))]
    assert node.passes() == [Swap(ref("v3"), epoch=3)]
    assert node.state.standby == ref("v2")


def test_the_intent_going_back_to_the_standby_is_a_swap_at_once() -> None:
    """It is warm and has served well: no load, no gates, no probation."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    assert node.on(intent("v1", 3)) == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]
    assert node.state.stable_versions == (ref("v1"),)
    assert (node.state.standby, node.state.probation_until) == (None, None)


def test_the_intent_going_back_to_the_standby_while_a_third_is_prepared() -> None:
    """The candidate is cancelled before the swap."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    node.on(intent("v3", 3))
    assert node.on(intent("v1", 4)) == [Cancel(3), Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]


# -- promote on this node ----------------------------------------------------------------------------


def test_promote_outweighs_the_intent_until_that_changes() -> None:
    """It passes the gates like any other; then the next intent ends it."""
    node = Playbook().serves("v1")
    assert begun(node.on(PromoteRequested(Directive("v2", "api@1", by="Ada", reason="try it")))) == ["v2"]
    assert node.passes() == [Swap(ref("v2"), epoch=2)]
    assert (node.records[-1].event, node.records[-1].by) == ("promote", "Ada")
    node.after(POLICY.probation_s)
    assert node.on(intent("v1", 1)) == []
    assert begun(node.on(intent("v3", 2))) == ["v3"]
    assert node.state.override is None


def test_promote_told_twice_changes_nothing() -> None:
    """The same request."""
    node = Playbook().serves("v1")
    asked = PromoteRequested(Directive("v2", "api@1", by="Ada"))
    node.on(asked)
    before = node.state
    assert node.on(asked) == []
    assert node.state == before


def test_promote_works_on_a_node_that_was_never_told_anything() -> None:
    """No config store needed."""
    node = Playbook()
    assert begun(node.on(PromoteRequested(Directive("v1", "api@1", by="Ada")))) == ["v1"]
    assert node.passes() == [Swap(ref("v1"), epoch=1)]
