# SPDX-License-Identifier: AGPL-3.0-or-later
"""A roll-out begins on a node, and is taken back: without gates, and without touching what was decided on the node."""

from __future__ import annotations

import json
from dataclasses import replace

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    Cancel,
    IntentChanged,
    PrepareCandidate,
    PromoteRequested,
    RetireEngine,
    RollbackRequested,
    Swap,
    WorkerFailed,
)
from edgeagent.core.goal import goal, rejections_in_force
from edgeagent.core.lifecycle import Stage
from edgeagent.core.rollout import rollout_intent
from edgeagent.core.state import PrepareMode, from_json, to_json
from tests.support.playbook import POLICY, UNPROVEN, Playbook, begun, digest_of, intent, ref

V1 = intent("v1", 1)
BACK = IntentChanged(replace(V1.directive, returns=True, by="roll-out r1", reason="aborted"))
ROLLOUT = IntentChanged(Directive("v2", rollout_intent("yolo", "r1"), "CI", spread_s=20.0))


def follows() -> Playbook:
    """v2 of a roll-out is on probation, v1 of the key warm."""
    node = Playbook().serves("v1")
    assert begun(node.on(ROLLOUT)) == ["v2"]
    node.passes()
    return node


def test_from_the_standby_it_is_a_swap_at_once() -> None:
    """Nothing is loaded, gated or watched; the receipt says on whose word."""
    node = follows()
    assert node.on(BACK) == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]
    assert (node.state.probation_until, node.state.standby) == (None, None)
    record = node.records[-1]
    assert (record.event, record.result, record.by) == ("rollback", "swapped", "roll-out r1")
    assert record.why == "aborted"
    assert node.on(BACK) == []


def test_from_a_stable_version_it_is_loaded_as_at_boot() -> None:
    """The version before has served well here: no gates, no shadow, no probation; what serves goes on until then."""
    node = follows()
    node.after(POLICY.probation_s)
    assert node.state.stage is Stage.STABLE
    wanted = goal(node.state)
    assert wanted
    assert wanted.version == "v2"
    acts = node.on(BACK)
    assert [(a.goal.digest, a.mode) for a in acts if isinstance(a, PrepareCandidate)] == [
        (digest_of("v1"), PrepareMode.BOOT)
    ]
    assert node.passes() == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]
    assert node.state.stable_versions == (ref("v1"),)
    assert node.state.probation_until is None


def test_a_candidate_that_has_not_served_goes() -> None:
    """v1 serves all the time."""
    node = Playbook().serves("v1")
    node.on(ROLLOUT)
    node.reaches(*UNPROVEN[:2])
    assert node.on(BACK) == [Cancel(2)]
    assert node.state.active == ref("v1")


def test_a_node_that_was_off_meanwhile_goes_back_when_it_comes() -> None:
    """It boots with what it knows to be good, and that is still the roll-out's."""
    node = follows()
    node.after(POLICY.probation_s)
    assert begun(node.restarts()) == ["v2"]
    node.passes()
    assert begun(node.on(BACK)) == ["v1"]
    assert node.passes() == [Swap(ref("v1"), epoch=4), RetireEngine(ref("v2"))]
    again = from_json("yolo", json.loads(json.dumps(to_json(node.state))))
    assert again.directive == BACK.directive  # so that the same, seen after a restart, is no other intent


def test_content_that_is_no_longer_what_served_is_refused() -> None:
    """The name alone proves nothing."""
    node = follows()
    node.after(POLICY.probation_s)
    node.on(BACK)
    node.reaches(Stage.VERIFYING, content=" other")
    assert node.state.candidate is None
    assert node.state.active == ref("v2")
    assert "no longer what served well" in node.state.last_error


def test_where_the_key_s_version_never_served_the_last_that_did_comes() -> None:
    """The key's version was refused here before the roll-out, and stays refused."""
    node = Playbook().serves("v0")
    node.on(V1)
    node.reaches(*UNPROVEN[:3])
    node.fails("gate golden: finds too little")
    node.on(ROLLOUT)
    assert rejections_in_force(node.state) == []
    node.passes()
    node.after(POLICY.probation_s)
    assert begun(node.on(BACK)) == ["v0"]
    assert node.passes() == [Swap(ref("v0"), epoch=3), RetireEngine(ref("v2"))]
    assert [(r.version, r.intent_id) for r in rejections_in_force(node.state)] == [
        ("v1", V1.directive.intent_id)
    ]
    assert node.after(1.0) == []


def test_what_is_refused_here_is_looked_after_also_when_it_was_just_tried() -> None:
    """The roll-out brings the version that the key's intent was refused with, and is taken back before it serves."""
    node = Playbook().serves("v1")
    v2 = intent("v2", 2)
    node.on(v2)
    node.passes()
    for _ in range(5):
        node.on(WorkerFailed(ref("v2"), "crashed"))
    node.on(ROLLOUT)
    node.on(IntentChanged(replace(v2.directive, returns=True)))
    assert (node.state.candidate, node.state.active) == (None, ref("v1"))
    node.after(10.0)
    assert node.checks == ["v2"]


def test_what_the_node_refused_in_the_roll_out_stays_refused_while_that_is_open() -> None:
    """It went back by itself; the roll-out, seen again after a restart, doesn't have it tried again."""
    node = follows()
    for _ in range(5):
        node.on(WorkerFailed(ref("v2"), "crashed"))
    assert node.state.active == ref("v1")
    node.restarts()
    node.passes()
    assert begun(node.on(ROLLOUT)) == []
    assert node.after(7200.0) == []
    assert node.state.active == ref("v1")
    assert [(r.version, r.stage) for r in node.state.rejections] == [("v2", Stage.PROBATION)]


def test_a_hold_of_another_version_outlasts_the_roll_out() -> None:
    """Somebody promoted v3 on this node; nobody wrote `current`."""
    node = follows()
    node.on(PromoteRequested(Directive("v3", "api@1", "Ada")))
    node.passes()
    node.on(BACK)
    assert node.state.override
    assert node.state.override.goal.version == "v3"
    assert node.on(intent("v1", 2)) == [Swap(ref("v1"), epoch=4), RetireEngine(ref("v3"))]
    assert node.state.override is None


def test_a_hold_that_did_the_same_ends_with_the_roll_out() -> None:
    """The operator rolled v2 back on this node: that the roll-out is taken back says it for good."""
    node = follows()
    node.on(RollbackRequested("Ada"))
    assert node.state.override
    assert node.on(BACK) == []
    assert (node.state.override, node.state.active) == (None, ref("v1"))
