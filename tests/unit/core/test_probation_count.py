# SPDX-License-Identifier: AGPL-3.0-or-later
"""A node that dies in each probation of a version: counted on disk before it serves, refused after the third time."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgeagent.core.lifecycle import Stage
from edgeagent.core.probation_count import ended_in_order
from edgeagent.core.state import from_json, to_json
from tests.support.playbook import PROVEN, UNPROVEN, Playbook, begun, intent, ref

WHY = "the node ended 3 times while it served this version on probation"


def dies_on_probation(node: Playbook, version: str = "v2") -> None:
    """The version is brought in, and the node ends; after the start v1 serves, and the key is read again."""
    node.passes()
    assert (node.state.active, node.state.stage) == (ref(version), Stage.PROBATION)
    node.restarts()
    node.passes()
    assert node.state.active == ref("v1")
    node.rereads()


def test_after_three_deaths_it_is_refused_until_the_intent_changes() -> None:
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
    assert begun(node.on(intent("v2", 3))) == ["v2"]
    node.passes()
    assert node.state.active == ref("v2")


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
