# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a restart knows: everything that was decided, nothing that was only going on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.directive import Directive
from edgeagent.core.events import PromoteRequested, RollbackRequested
from edgeagent.core.lifecycle import Stage
from edgeagent.core.state import State, from_json, to_json
from tests.support.playbook import UNPROVEN, Playbook, intent

OPTIONAL = ("by", "reason", "allow_new_contract", "allow_slow", "again")
"""Fields that an earlier release didn't know, or may leave out."""


def busy() -> State:
    """v2 is held by a roll-back, v3 was refused; v4 is on its way on the operator's word."""
    node = Playbook().serves("v1", "v2", "v3")
    node.on(RollbackRequested("Ada"))
    node.passes()
    node.on(intent("v3", 4, reason="größer", allow_new_contract=True))
    node.reaches(*UNPROVEN[:2])
    node.fails("gate contract: class names differ")
    node.on(PromoteRequested(Directive("v4", "api@1", "Ada", "try it")))
    node.reaches(Stage.VERIFYING)
    return node.state


def saved() -> dict[str, Any]:
    """As it would be read from disk."""
    doc: dict[str, Any] = json.loads(json.dumps(to_json(busy())))
    return doc


def test_what_is_remembered() -> None:
    """Intent, intent of the node, good versions, refusals, epoch."""
    before, after = busy(), from_json("yolo", saved())
    assert after.directive == before.directive
    assert after.override == before.override
    assert (after.stable_versions, after.rejections, after.epoch) == (
        before.stable_versions,
        before.rejections,
        before.epoch,
    )
    assert to_json(after) == to_json(before)


def test_what_is_not_remembered() -> None:
    """No engine runs, no candidate is on its way, the clock begins anew."""
    after = from_json("yolo", saved())
    assert (after.active, after.standby, after.candidate, after.probation_until) == (None, None, None, None)


def test_a_fresh_state_round_trips() -> None:
    """Nothing is there yet."""
    assert from_json("yolo", json.loads(json.dumps(to_json(State("yolo"))))) == State("yolo")


def test_what_failed_at_boot_is_not_written() -> None:
    """It is tried again at the next."""
    node = Playbook().serves("v1")
    node.restarts()
    node.fails("weights don't load")
    assert node.state.rejections
    assert to_json(node.state)["rejections"] == []


@pytest.mark.parametrize("doc", [None, [], {}, "state", 5, {"schema": 1}, {"schema": 1, "model": "yolo"}])
def test_what_is_no_state_raises_value_error(doc: Any) -> None:
    """Another file, or a part of one."""
    with pytest.raises(ValueError, match="not a saved state"):
        from_json("yolo", doc)


@pytest.mark.parametrize("change", [{"schema": 2}, {"model": "other"}])
def test_a_state_of_another_schema_or_model_raises_value_error(change: dict[str, Any]) -> None:
    """A newer edgeagent's, or a file that was copied."""
    with pytest.raises(ValueError, match="state of model"):
        from_json("yolo", {**saved(), **change})


@pytest.mark.parametrize("epoch", [-1, 10**30])
def test_an_epoch_that_no_record_can_hold_raises_value_error(epoch: int) -> None:
    """JSON's readers take integers up to 2**53; records with it would be lost, one and all."""
    with pytest.raises(ValueError, match="epoch"):
        from_json("yolo", {**to_json(State("yolo")), "epoch": epoch})


def test_a_field_that_an_earlier_release_did_not_know_has_its_default() -> None:
    """A directive may get further fields; a state folder written before is taken over."""
    doc = saved()
    del doc["directive"]["allow_new_contract"]
    state = from_json("yolo", doc)
    assert state.directive is not None
    assert state.directive.allow_new_contract is False


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(sorted(to_json(State("yolo")))), JSON))
def test_whatever_stands_in_the_fields_only_value_errors_come(changes: dict[str, Any]) -> None:
    """A disk may give back anything."""
    try:
        state = from_json("yolo", {**saved(), **changes})
    except ValueError:
        return
    json.dumps(to_json(state))


@given(st.data())
def test_whatever_is_missing_one_level_down_only_value_errors_come(data: st.DataObject) -> None:
    """In the intent and in that of the node."""
    doc = saved()
    part = doc[data.draw(st.sampled_from(["directive", "override"]))]
    part[data.draw(st.sampled_from(sorted(part)))] = data.draw(JSON)
    del part[data.draw(st.sampled_from(sorted(part.keys() - set(OPTIONAL))))]
    with pytest.raises(ValueError, match="not a saved state"):
        from_json("yolo", doc)


def test_what_no_key_s_value_says_is_remembered_too() -> None:
    """That a version came back because a roll-out was aborted, and how far a roll-out's fetches are spread."""
    directive = Directive("v1", "/models/yolo/current@5", returns=True, spread_s=20.0)
    state = from_json("yolo", json.loads(json.dumps(to_json(State("yolo", directive)))))
    assert state.directive == directive
    assert not {"returns", "spread_s"} & to_json(State("yolo", Directive("v1", "x@1")))["directive"].keys()
