# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stable version that keeps failing, and a value that asks again for what was rolled back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    IntentChanged,
    PrepareCandidate,
    PromoteRequested,
    RetireEngine,
    RollbackRequested,
    StageReached,
    Swap,
    Tick,
    WorkerFailed,
)
from edgeagent.core.goal import goal
from edgeagent.core.lifecycle import Stage
from edgeagent.core.state import Goal, PrepareMode
from tests.support.playbook import POLICY, Act, Playbook, begun, digest_of, intent, ref

WHY = "frames of line-1 keep failing: NaN"


def fails_for(node: Playbook, seconds: float, version: str = "v2", from_outside: bool = False) -> list[Act]:
    """It fails twice a second; all that is to be done about it."""
    acts: list[Act] = []
    for _ in range(int(seconds * 2)):
        node.now += 0.5
        acts += node.on(WorkerFailed(ref(version), WHY, from_outside))
    return acts


# -- a stable version that keeps failing -------------------------------------------------------------


def test_it_goes_back_to_the_version_before_and_is_held_there() -> None:
    """That one is loaded beside it, without gates; the one that fails goes on until then."""
    node = Playbook().serves("v1", "v2")
    wanted = Goal(Directive("v1", "sentinel@2", "edgeagent", f"v2 keeps failing: {WHY}"), digest_of("v1"))
    assert fails_for(node, 15) == [PrepareCandidate(3, wanted, PrepareMode.BOOT)]
    assert [(r.event, r.result, r.to_version, r.why) for r in node.records[-1:]] == [
        ("sentinel", "rejected", "v2", WHY)
    ]
    assert node.passes() == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]
    assert (node.records[-1].event, node.records[-1].by) == ("sentinel", "edgeagent")
    assert node.state.stage == "STABLE"
    assert "v2 refused when it was stable" in node.state.last_error


def test_held_over_a_restart_until_the_intent_changes() -> None:
    """The key says v2 still; what fails is not brought again for that."""
    node = Playbook().serves("v1", "v2")
    fails_for(node, 15)
    node.passes()
    assert begun(node.restarts()) == ["v1"]
    node.passes()
    assert node.on(intent("v2", 2)) == []
    assert node.after(3600) == []
    assert begun(node.on(intent("v3", 3))) == ["v3"]


@pytest.mark.parametrize("from_outside", [False, True])
def test_also_when_its_worker_keeps_dying(from_outside: bool) -> None:
    """Whoever ends it: it may take more memory than there is."""
    node = Playbook().serves("v1", "v2")
    assert begun(fails_for(node, 15, from_outside=from_outside)) == ["v1"]


def test_what_passes_costs_nothing() -> None:
    """Nine seconds of dark pictures, again and again, each time long after the last."""
    node = Playbook().serves("v1", "v2")
    for _ in range(20):
        assert fails_for(node, 9) == []
        node.now += POLICY.failure_window_s + 1
    assert node.state.active == ref("v2")


def test_unless_the_operator_says_otherwise() -> None:
    """By the configuration."""
    node = Playbook(policy=replace(POLICY, leave_failing=False)).serves("v1", "v2")
    assert fails_for(node, 60) == []


def test_without_a_version_before_it_goes_on() -> None:
    """Its worker is started again, and that is better than nothing."""
    node = Playbook().serves("v1")
    assert fails_for(node, 60, "v1") == []
    assert goal(node.state) == Goal(Directive("v1", "/models/yolo/current@1", "etcd"))


def test_when_the_version_before_does_not_come_up_it_goes_on() -> None:
    """And that is tried once, not with every failure."""
    node = Playbook().serves("v1", "v2")
    fails_for(node, 15)
    node.fails("its file is gone")
    assert fails_for(node, 60) == []
    assert node.state.active == ref("v2")


def test_one_that_fails_in_its_turn_goes_further_back() -> None:
    """As long as there is one."""
    node = Playbook().serves("v1", "v2", "v3")
    assert begun(fails_for(node, 15, "v3")) == ["v2"]
    node.passes()
    assert begun(fails_for(node, 15, "v2")) == ["v1"]
    node.passes()
    assert fails_for(node, 60, "v1") == []


def test_the_operator_s_roll_back_is_a_further_one() -> None:
    """It finds what it would find after any."""
    node = Playbook().serves("v1", "v2", "v3")
    fails_for(node, 15, "v3")
    node.passes()
    assert begun(node.on(RollbackRequested("Ada"))) == ["v1"]


# -- a stable version that keeps failing, while another one is asked for ------------------------------

ASKED = pytest.mark.parametrize(
    "asked", [intent("v3", 3), PromoteRequested(Directive("v3", "api@1", "Ada"))], ids=["key", "promote"]
)


@ASKED
def test_the_fix_that_is_worked_on_is_waited_for(asked: IntentChanged | PromoteRequested) -> None:
    """Whoever asked for it: nothing takes its place."""
    node = Playbook().serves("v1", "v2")
    assert begun(node.on(asked)) == ["v3"]
    assert fails_for(node, 15) == []
    node.passes()
    assert node.state.active == ref("v3")


@ASKED
def test_the_fix_that_waits_for_its_turn_is_not_waited_for(asked: IntentChanged | PromoteRequested) -> None:
    """Another model's update may take for ever: the version before is a stop-gap, and the fix comes after it."""
    node = Playbook().serves("v1", "v2")
    node.on(asked)
    assert node.state.candidate is not None
    node.on(StageReached(node.state.candidate.id, Stage.ASPIRED))
    assert begun(fails_for(node, 15)) == ["v1"]
    assert begun(node.passes()) == ["v3"]


@ASKED
def test_the_fix_that_can_not_come_yet_is_tried_again(asked: IntentChanged | PromoteRequested) -> None:
    """The store is away: the version before is a stop-gap, without a hold."""
    node = Playbook().serves("v1", "v2")
    node.on(asked)
    for _ in range(8):  # from now on it waits for longer than failures take to be too many
        node.fails("the store is away", transient=True)
        node.after(POLICY.retry_max_s)
    node.fails("the store is away", transient=True)
    assert begun(fails_for(node, 15)) == ["v1"]
    acts = node.passes()
    assert acts[:2] == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]
    assert [(r.event, r.result) for r in node.records if r.to_version == "v1"][-1] == ("sentinel", "swapped")
    assert begun(acts) == ["v3"]
    node.passes()
    assert node.state.active == ref("v3")


@pytest.mark.parametrize("transient", [False, True])
def test_a_stop_gap_that_does_not_come_up_is_in_nobody_s_way(transient: bool) -> None:
    """It is tried once, and what is asked for is gone on with."""
    node = Playbook().serves("v1", "v2")
    node.on(intent("v3", 3))
    for _ in range(8):
        node.fails("the store is away", transient=True)
        node.after(POLICY.retry_max_s)
    node.fails("the store is away", transient=True)
    assert begun(fails_for(node, 15)) == ["v1"]
    assert begun(node.fails("no process", transient)) == ["v3"]
    node.fails("the store is away", transient=True)
    assert [v for v in begun(fails_for(node, 15)) if v != "v3"] == []


def test_a_fix_that_was_refused_is_not_forgotten() -> None:
    """The version before serves, and what is published anew in its place is taken."""
    node = Playbook().serves("v1", "v2")
    node.on(intent("v3", 3))
    node.fails("damaged")
    assert begun(fails_for(node, 15)) == ["v1"]
    node.passes()
    assert node.state.active == ref("v1")
    assert begun(node.store_changes()) == ["v3"]


@pytest.mark.parametrize("asked", [intent("v2", 4), PromoteRequested(Directive("v2", "api@1", "Ada"))])
def test_a_newer_word_ends_a_stop_gap(asked: IntentChanged | PromoteRequested) -> None:
    """Whoever asks for the failing version itself keeps it."""
    node = Playbook().serves("v1", "v2")
    node.on(intent("v3", 3))
    node.fails("damaged")
    fails_for(node, 15)
    node.on(asked)
    assert (node.state.active, node.state.candidate) == (ref("v2"), None)


# -- the same value, again and again -----------------------------------------------------------------


def rolled_back(node: Playbook | None = None) -> Playbook:
    """v2 was swapped in, and rolled back on probation."""
    node = node or Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    assert node.crashes("v2") != []
    return node


def test_a_job_that_writes_its_value_again_and_again_swaps_once() -> None:
    """Every six seconds for a minute: one more try after the first pause, and not seven."""
    node = rolled_back()
    swaps = 0
    for revision in range(3, 13):
        node.on(intent("v2", revision))
        for _ in range(6):
            node.after(1)
            if node.state.candidate and node.state.candidate.retry_at is None:
                node.passes()
                assert node.crashes("v2") != []
                swaps += 1
    assert swaps == 1


def test_it_waits_and_says_so() -> None:
    """As a candidate whose time has yet to come; then it is tried, and no sooner."""
    node = rolled_back()
    assert node.on(intent("v2", 3)) == []
    c = node.state.candidate
    assert c is not None
    assert (c.stage, c.attempt, c.retry_at) == ("ASPIRED", 0, node.now + POLICY.again_min_s)
    assert "promote it with --again" in c.error
    assert node.after(POLICY.again_min_s - 1) == []
    assert begun(node.after(1)) == ["v2"]


def test_written_later_it_is_tried_at_once() -> None:
    """Quick succession is what is waited out."""
    node = rolled_back()
    node.after(POLICY.again_min_s)
    assert begun(node.on(intent("v2", 3))) == ["v2"]


def test_the_pause_doubles_from_one_time_to_the_next() -> None:
    """And has an end."""
    node = rolled_back()
    pauses = []
    for revision in range(3, 13):
        node.on(intent("v2", revision))
        assert node.state.candidate is not None
        assert node.state.candidate.retry_at is not None
        pauses.append(node.state.candidate.retry_at - node.now)
        node.after(pauses[-1])
        node.passes()
        node.crashes("v2")
    assert pauses[:3] == [30.0, 60.0, 120.0]
    assert pauses[-1] == POLICY.again_max_s


@pytest.mark.parametrize(
    "asked",
    [
        intent("v2", 4, again=True),
        intent("v2", 4, reason="mended the lamp"),
        intent("v3", 4),
        PromoteRequested(Directive("v2", "api@1", "Ada")),
    ],
)
def test_another_value_is_followed_at_once(asked: intent) -> None:  # type: ignore[valid-type]
    """Also while the one before waits."""
    node = rolled_back()
    node.on(intent("v2", 3))
    assert len(begun(node.on(asked))) == 1


def test_a_restart_forgets_no_roll_back() -> None:
    """Of the pause it doesn't know how much is over, and begins it anew."""
    node = rolled_back()
    node.now += 25
    node.restarts()
    node.passes()
    assert node.rereads() == []
    assert node.on(intent("v2", 3)) == []
    assert node.after(POLICY.again_min_s - 1) == []
    assert begun(node.after(1)) == ["v2"]


def test_once_stable_it_is_forgotten() -> None:
    """The next roll-back is a first one."""
    node = rolled_back()
    node.after(POLICY.again_min_s)
    node.on(intent("v2", 3))
    node.passes()
    node.after(POLICY.probation_s)
    assert node.state.comeback is None


def test_what_was_left_when_it_was_stable_counts_too() -> None:
    """It isn't brought back at once by whoever writes its value again."""
    node = Playbook().serves("v1", "v2")
    fails_for(node, 15)
    node.passes()
    assert node.on(intent("v2", 3)) == []
    assert begun(node.after(POLICY.again_min_s)) == ["v2"]


def test_an_operator_s_roll_back_ends_with_any_new_write() -> None:
    """As it always did: whoever writes the key wants what it says."""
    node = Playbook().serves("v1", "v2")
    node.on(RollbackRequested("Ada"))
    node.passes()
    assert begun(node.on(intent("v2", 3))) == ["v2"]


def test_told_again_nothing_changes() -> None:
    """While it waits."""
    node = rolled_back()
    node.on(intent("v2", 3))
    before = node.state
    assert node.on(intent("v2", 3)) == []
    assert node.on(Tick()) == []
    assert node.state == before
