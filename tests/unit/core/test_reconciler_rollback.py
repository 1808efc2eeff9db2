# SPDX-License-Identifier: AGPL-3.0-or-later
"""Roll-back with hold, and starting again: the operator's word, and what a node falls back on."""

from __future__ import annotations

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    Cancel,
    PrepareCandidate,
    PromoteRequested,
    RetireEngine,
    RollbackRequested,
    Swap,
    Tick,
)
from edgeagent.core.goal import goal
from edgeagent.core.lifecycle import Stage
from edgeagent.core.rollback import rollback_target
from edgeagent.core.state import Goal, PrepareMode
from edgeagent.errors import ConflictError
from tests.support.playbook import POLICY, Playbook, begun, digest_of, intent, ref

BACK = RollbackRequested("Ada", "misses dents")


def boot_goal(version: str) -> Goal:
    """The last known good, as a goal."""
    return Goal(Directive(version, "boot", "boot", "last known good"), digest_of(version))


# -- roll-back ---------------------------------------------------------------------------------------


def test_during_probation_it_is_a_swap_at_once() -> None:
    """The version before is still warm."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    assert node.on(BACK) == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]
    assert (node.state.standby, node.state.probation_until) == (None, None)
    record = node.records[-1]
    assert (record.event, record.result, record.by, record.why) == (
        "rollback",
        "swapped",
        "Ada",
        "misses dents",
    )


def test_after_probation_the_version_before_is_loaded_without_gates() -> None:
    """It has served well here; what serves goes on until it is ready."""
    node = Playbook().serves("v1", "v2")
    wanted = Goal(Directive("v1", "rollback@2", "Ada", "misses dents"), digest_of("v1"))
    assert node.on(BACK) == [PrepareCandidate(3, wanted, PrepareMode.BOOT)]
    assert node.passes() == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]
    assert node.state.probation_until is None


def test_going_back_forgets_what_came_after() -> None:
    """The last known good is the version that the operator went back to."""
    node = Playbook().serves("v1", "v2", "v3")
    node.on(BACK)
    node.passes()
    assert node.state.stable_versions == (ref("v1"), ref("v2"))
    assert rollback_target(node.state) == ref("v1")


def test_held_until_the_intent_changes() -> None:
    """The same intent, told again, does not end it; a new one does, even for the same version."""
    node = Playbook().serves("v1", "v2")
    node.on(BACK)
    node.passes()
    assert node.on(intent("v2", 2)) == []
    assert node.after(3600) == []
    assert begun(node.on(intent("v2", 3))) == ["v2"]
    assert node.state.override is None


def test_held_over_a_restart() -> None:
    """The config store then says what it said before."""
    node = Playbook().serves("v1", "v2")
    node.on(BACK)
    node.passes()
    assert node.restarts() == [PrepareCandidate(1, boot_goal("v1"), PrepareMode.BOOT)]
    assert node.passes() == [Swap(ref("v1"), epoch=4)]
    assert node.on(intent("v2", 2)) == []
    assert begun(node.on(intent("v2", 3))) == ["v2"]


def test_killed_on_the_way_back_it_goes_on_after_the_start() -> None:
    """First what is safe, then what was asked for."""
    node = Playbook().serves("v1", "v2")
    node.on(BACK)
    node.reaches(Stage.VERIFYING)
    assert begun(node.restarts()) == ["v2"]
    assert begun(node.passes()) == ["v1"]
    assert node.passes() == [Swap(ref("v1"), epoch=4), RetireEngine(ref("v2"))]


def test_another_value_under_the_same_revision_ends_the_hold() -> None:
    """The config store was restored from a backup."""
    node = Playbook().serves("v1", "v2")
    node.on(BACK)
    node.passes()
    assert begun(node.on(intent("v3", 2))) == ["v3"]


def test_a_double_click_goes_back_once() -> None:
    """While the version before is loaded."""
    node = Playbook().serves("v1", "v2", "v3")
    assert begun(node.on(BACK)) == ["v2"]
    before = node.state
    assert node.on(BACK) == []
    assert node.state == before


@pytest.mark.parametrize("warm", [True, False])
def test_a_slow_double_click_goes_back_once_too(warm: bool) -> None:
    """The version before serves already, from the standby or loaded: it is not gone back from before it was watched."""
    node = Playbook().serves("v1", "v2")
    if warm:
        node.on(intent("v3", 3))
        node.passes()
    node.on(BACK)
    if not warm:
        node.passes()
    before = node.state
    node.after(POLICY.probation_s - 1)
    assert node.on(BACK) == []
    assert (node.state.active, node.state.override) == (before.active, before.override)


def test_a_roll_back_of_another_epoch_is_refused() -> None:
    """Who says what he saw serving goes back from that and from nothing else."""
    node = Playbook().serves("v1", "v2", "v3")
    seen = RollbackRequested("Ada", if_epoch=node.state.epoch)
    node.on(seen)
    node.on(seen)
    node.passes()
    before = node.state
    with pytest.raises(ConflictError, match="epoch 4 serves by now, not 3"):
        node.on(seen)
    assert node.state == before
    assert begun(node.on(RollbackRequested("Ada", if_epoch=4))) == ["v1"]


def test_asked_by_another_operator_meanwhile_it_goes_on_in_that_name() -> None:
    """One load, not two."""
    node = Playbook().serves("v1", "v2")
    node.on(BACK)
    assert node.on(RollbackRequested("Grace")) == []
    node.passes()
    assert node.records[-1].by == "Grace"


def test_back_again_goes_further_back() -> None:
    """Once it has served for the time of a probation, the next request is for the one before that."""
    node = Playbook().serves("v1", "v2", "v3")
    node.on(BACK)
    node.passes()
    node.after(POLICY.probation_s)
    assert begun(node.on(BACK)) == ["v1"]
    node.passes()
    node.after(POLICY.probation_s)
    with pytest.raises(ConflictError, match="no earlier version"):
        node.on(BACK)


@pytest.mark.parametrize("versions", [(), ("v1",)])
def test_with_nothing_to_go_back_to_it_is_refused(versions: tuple[str, ...]) -> None:
    """With what to do instead; nothing changes."""
    node = Playbook().serves(*versions)
    before = node.state
    with pytest.raises(ConflictError, match="promote a version instead"):
        node.on(BACK)
    assert node.state == before


def test_on_the_first_probation_there_is_nothing_to_go_back_to() -> None:
    """Nothing has served well yet."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.passes()
    with pytest.raises(ConflictError):
        node.on(BACK)


def test_it_cancels_an_update_on_its_way() -> None:
    """The operator wants another version, and no newer one."""
    node = Playbook().serves("v1", "v2")
    node.on(intent("v3", 3))
    acts = node.on(BACK)
    assert acts[0] == Cancel(3)
    assert begun(acts) == ["v1"]


def test_back_fails_and_what_serves_goes_on() -> None:
    """Asked again, it is tried again."""
    node = Playbook().serves("v1", "v2")
    node.on(BACK)
    assert node.fails("no such version") == []
    assert node.state.active == ref("v2")
    assert node.on(Tick()) == []
    assert begun(node.on(BACK)) == ["v1"]


def test_other_content_than_what_served_well_is_refused() -> None:
    """It would skip the gates on another version's merits."""
    node = Playbook().serves("v1", "v2")
    node.on(BACK)
    assert node.reaches(Stage.VERIFYING, content="'") == [Cancel(3)]
    assert node.state.active == ref("v2")
    assert "no longer what served well" in node.state.last_error


def test_promote_ends_a_hold() -> None:
    """The last word on this node counts."""
    node = Playbook().serves("v1", "v2")
    node.on(BACK)
    node.passes()
    assert begun(node.on(PromoteRequested(Directive("v2", "api@1", by="Ada")))) == ["v2"]
    assert node.passes() == [Swap(ref("v2"), epoch=4)]
    assert node.state.standby == ref("v1")


def test_back_from_a_promoted_version() -> None:
    """To what the intent says, and held there as any."""
    node = Playbook().serves("v1")
    node.on(PromoteRequested(Directive("v2", "api@1", by="Ada")))
    node.passes()
    assert node.on(BACK) == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]
    assert begun(node.on(intent("v2", 2))) == ["v2"]


# -- starting ----------------------------------------------------------------------------------------


def test_a_start_brings_the_last_known_good_first_then_the_intent() -> None:
    """Killed on probation: v2 has to earn its place again."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    assert node.restarts() == [PrepareCandidate(1, boot_goal("v1"), PrepareMode.BOOT)]
    assert node.passes() == [Swap(ref("v1"), epoch=3)]
    assert begun(node.rereads()) == ["v2"]
    assert node.passes() == [Swap(ref("v2"), epoch=4)]
    assert node.state.standby == ref("v1")


def test_a_start_without_config_store() -> None:
    """What serves well is enough; the intent from before starts no update until it is known to stand still."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    assert node.restarts() == [PrepareCandidate(1, boot_goal("v1"), PrepareMode.BOOT)]
    assert node.passes() == [Swap(ref("v1"), epoch=2)]
    assert node.records[-1].event == "boot"
    assert node.after(1e6) == []
    assert goal(node.state) is None
    assert node.on(intent("v1", 3)) == [], "it no longer stood"


def test_a_hold_needs_no_config_store() -> None:
    """An intent made on the node stands by itself."""
    node = Playbook().serves("v1", "v2")
    node.on(PromoteRequested(Directive("v3", "api@1", by="Ada")))
    node.restarts()
    assert begun(node.passes()) == ["v3"]


def test_a_intent_that_comes_during_the_start_waits_for_it() -> None:
    """The line first."""
    node = Playbook().serves("v1")
    node.restarts()
    assert node.on(intent("v2", 2)) == []
    acts = node.passes()
    assert acts[0] == Swap(ref("v1"), epoch=2)
    assert begun(acts) == ["v2"]


@pytest.mark.parametrize("transient", [False, True])
def test_a_last_known_good_that_fails_gives_way_to_the_one_before(transient: bool) -> None:
    """At once, also when its files are gone and the store is away: any good version now beats the best one later."""
    node = Playbook().serves("v1", "v2", "v3")
    assert begun(node.restarts()) == ["v3"]
    assert begun(node.fails("its file is gone", transient)) == ["v2"]
    assert begun(node.fails("its file is gone", transient)) == ["v1"]
    assert node.passes() == [Swap(ref("v1"), epoch=4)]
    assert begun(node.rereads()) == ["v3"], "the intent still stands, and passes the gates again"


def test_when_no_good_version_starts_the_intent_is_tried_through_the_gates() -> None:
    """And for as long as it takes."""
    node = Playbook().serves("v1")
    node.restarts()
    acts = node.fails("store away", transient=True)
    assert acts == [
        PrepareCandidate(2, Goal(Directive("v1", "/models/yolo/current@1", "etcd")), PrepareMode.UPDATE)
    ]
    for _ in range(5):
        assert node.fails("store away", transient=True) == []
        assert begun(node.after(POLICY.retry_max_s)) == ["v1"]
    assert node.passes() == [Swap(ref("v1"), epoch=2)]


def test_what_failed_at_a_start_is_tried_again_at_the_next() -> None:
    """The disk may have been mended."""
    node = Playbook().serves("v1", "v2")
    node.restarts()
    node.fails("weights don't load")
    assert begun(node.restarts()) == ["v2"]


def test_what_failed_at_a_start_is_nothing_to_roll_back_to() -> None:
    """v2 didn't start, v1 serves: there is no earlier version than v1."""
    node = Playbook().serves("v1", "v2")
    node.restarts()
    node.fails("weights don't load")
    node.passes()
    assert node.state.last_known_good == ref("v1")
    with pytest.raises(ConflictError):
        node.on(BACK)


def test_what_failed_at_a_start_can_earn_its_place_again() -> None:
    """Through gates and probation."""
    node = Playbook().serves("v1", "v2")
    node.restarts()
    node.fails("weights don't load")
    node.passes()
    node.rereads()
    assert node.passes() == [Swap(ref("v2"), epoch=4)]
    node.after(POLICY.probation_s)
    assert node.state.stable_versions == (ref("v1"), ref("v2"))


def test_leave_to_change_the_class_names_outlives_a_restart() -> None:
    """The gate must not refuse what the operator has allowed: the intent is saved whole."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2, allow_new_contract=True))
    node.restarts()
    node.passes()
    (begin,) = node.rereads()
    assert isinstance(begin, PrepareCandidate)
    assert begin.goal.directive.allow_new_contract
    assert node.on(intent("v2", 2, allow_new_contract=True)) == []


@pytest.mark.parametrize(
    "stage", [Stage.FETCHING, Stage.VERIFYING, Stage.PREPARING, Stage.GATING, Stage.WARMING]
)
def test_killed_at_any_stage_of_an_update_it_serves_the_last_known_good_and_tries_again(stage: Stage) -> None:
    """The sequence is replayed from its beginning."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    way = [Stage.FETCHING, Stage.VERIFYING, Stage.PREPARING, Stage.GATING, Stage.WARMING]
    node.reaches(*way[1 : way.index(stage) + 1])
    assert begun(node.restarts()) == ["v1"]
    assert node.passes() == [Swap(ref("v1"), epoch=2)]
    assert begun(node.rereads()) == ["v2"]
    assert node.passes() == [Swap(ref("v2"), epoch=3)]


def test_the_epoch_goes_on_after_a_restart() -> None:
    """Two versions never share one."""
    node = Playbook().serves("v1", "v2")
    for epoch in (3, 4, 5):
        node.restarts()
        assert node.passes() == [Swap(ref("v2"), epoch)]
