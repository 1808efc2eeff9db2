# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node that dies in each probation of a version: counted on disk before it serves, refused after the third time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    ApproveRequested,
    PromoteRequested,
    RefuseRequested,
    RollbackRequested,
    StateSaved,
    Swap,
)
from edgeagent.core.lifecycle import Stage
from edgeagent.core.probation_count import ended_in_order
from edgeagent.core.state import from_json, to_json
from tests.support.playbook import PROVEN, UNPROVEN, Playbook, begun, intent, ref

WHY = (
    "the node ended 3 times while it served this version on probation;"
    " to have it tried all the same, promote it with --again"
)


def dies_on_probation(node: Playbook, version: str = "v2") -> None:
    """The version is brought in, and the node ends; after the start v1 serves, and the key is read again."""
    node.passes()
    assert (node.state.active, node.state.stage) == (ref(version), Stage.PROBATION)
    node.restarts()
    node.passes()
    assert node.state.active == ref("v1")
    node.rereads()


def test_after_three_deaths_it_is_refused_until_something_else_is_asked_for() -> None:
    """Not before, and whatever else it may be called in the store."""
    node = Playbook().serves("v1")
    assert begun(node.on(intent("v2", 2))) == ["v2"]
    for _ in range(3):
        dies_on_probation(node)
    assert node.state.candidate is not None  # tried a fourth time: what it is has to be looked at
    node.reaches(Stage.VERIFYING)
    assert node.state.candidate is None
    assert (node.state.rejections[-1].why, node.state.active) == (WHY, ref("v1"))
    node.restarts()
    node.passes()
    node.rereads()
    assert [r.why for r in node.state.rejections] == [WHY]
    assert begun(node.on(intent("v2", 3))) == ["v2"]  # it may be other content by now
    node.reaches(Stage.VERIFYING)
    assert [r.why for r in node.state.rejections] == [WHY]
    assert begun(node.on(intent("v2", 4, again=True))) == ["v2"]
    node.passes()
    assert node.state.active == ref("v2")


@pytest.mark.parametrize("by", ["key", "promote"])
def test_a_job_that_writes_its_value_again_and_again_brings_no_further_deaths(by: str) -> None:
    """At each start the value was just written once more."""
    node = Playbook().serves("v1")
    for n in range(2, 10):
        directive = Directive("v2", f"api@{n}", "job")
        node.on(intent("v2", n) if by == "key" else PromoteRequested(directive))
        node.reaches(Stage.VERIFYING)
        if node.state.candidate is None:
            break
        node.reaches(*UNPROVEN[1:], Stage.READY)
        node.restarts()
        node.passes()
    assert (n, node.state.rejections[-1].why) == (5, WHY)


@pytest.mark.parametrize("end", ["refused", "rolled back"])
def test_what_the_node_survives_is_not_held_against_a_version(end: str) -> None:
    """However often it is tried by the same value."""
    node = Playbook().serves("v1")
    for revision in range(2, 8):
        node.on(intent("v2", revision))
        if end == "refused":
            node.reaches(*UNPROVEN)
            node.fails("it does not load")
        else:
            node.passes()
            assert node.state.active == ref("v2")
            node.on(RollbackRequested("Ada"))
        assert node.state.begun_probations is None


def test_what_was_not_counted_does_not_count_less() -> None:
    """A known good version, which warms up when the node ends or lacks something, takes none off another's."""
    node = Playbook().serves("v0", "v1")
    node.on(intent("v2", 2))
    node.passes()
    node.restarts()
    deaths = node.state.begun_probations
    assert deaths is not None
    node.reaches(*PROVEN)
    assert ended_in_order(node.state).begun_probations == deaths
    node.reaches(Stage.READY)
    node.on(RollbackRequested("Ada"))
    node.reaches(*PROVEN)
    node.fails("no process", transient=True)
    assert node.state.begun_probations == deaths


def test_it_is_counted_before_it_serves() -> None:
    """With what is saved while it warms up; a report that is repeated counts once."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(*UNPROVEN, Stage.WARMING)
    assert node.saved["begun_probations"] == {
        "digest": ref("v2").digest,
        "wish": "/models/yolo/current@2",
        "times": 1,
    }


@pytest.mark.parametrize("end", ["stable", "rolled back", "failed"])
def test_what_comes_to_an_end_counts_no_more(end: str) -> None:
    """However it ends: the node has survived it."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    if end == "failed":
        node.reaches(*UNPROVEN)
        node.fails("no process", transient=True)
    else:
        node.passes()
        if end == "stable":
            node.after(60)
        else:
            node.crashes("v2")
    assert node.state.begun_probations is None


def test_other_content_has_its_own_chances() -> None:
    """The store holds something else under the same name."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    for _ in range(3):
        dies_on_probation(node)
    node.reaches(Stage.VERIFYING, content="+")
    assert node.state.candidate is not None


def test_an_end_in_order_is_no_death() -> None:
    """Somebody restarts the node again and again, each time while it watches the version."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    for _ in range(5):
        node.passes()
        node.saved = json.loads(json.dumps(to_json(ended_in_order(node.state))))
        node.restarts()
        node.passes()
        node.rereads()
    assert begun(node.on(intent("v2", 2))) == []
    assert node.state.candidate is not None
    assert ended_in_order(Playbook().serves("v1").state) == Playbook().serves("v1").state


def test_what_has_earned_its_place_is_not_counted() -> None:
    """Neither the first version of a node nor one to go back to."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.reaches(*UNPROVEN)
    assert node.state.begun_probations is None
    node = Playbook().serves("v1", "v2")
    node.restarts()
    node.reaches(*PROVEN)
    assert node.state.begun_probations is None


def test_it_outlives_a_restart_and_an_earlier_release_may_know_nothing_of_it() -> None:
    """Round trip; without it there is none."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    saved = to_json(node.state)
    assert from_json("yolo", saved).begun_probations == node.state.begun_probations
    del saved["begun_probations"]
    assert from_json("yolo", saved) == replace(from_json("yolo", to_json(node.state)), begun_probations=None)


@pytest.mark.parametrize("end", ["swap", "refused", "crash", "another"])
def test_out_of_shadow_it_is_counted_on_disk_before_it_serves(end: str) -> None:
    """Not while it sees frames only; and what ends while the disk is at work counts no more."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2, approval="manual"))
    node.passes()
    assert "begun_probations" not in node.saved
    node.disk_takes = False
    assert node.on(ApproveRequested("Ada")) == []
    assert node.saved["begun_probations"]["times"] == 1
    assert node.state.active == ref("v1")
    c = node.state.candidate
    assert c is not None
    match end:
        case "swap":
            assert node.on(StateSaved(c.id)) == [Swap(ref("v2"), 2)]
            assert node.saved["begun_probations"]["times"] == 1
            return
        case "refused":
            node.on(RefuseRequested("Ada", "misses dents"))
        case "crash":
            node.fails("killed", transient=True)
        case "another":
            node.on(intent("v3", 3))
    assert node.state.begun_probations is None
    assert "begun_probations" not in node.saved
    assert node.on(StateSaved(c.id)) == []
