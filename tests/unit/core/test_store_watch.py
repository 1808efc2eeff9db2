# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looking at the store now and then, while what should serve is refused."""

from __future__ import annotations

from edgeagent.core.events import CandidateFailed, StoreChecked, Tick
from edgeagent.core.lifecycle import Stage
from edgeagent.core.reconciler import next_deadline
from tests.support.playbook import POLICY, UNPROVEN, Playbook, begun, intent


def refused(fingerprint: str = "as refused") -> Playbook:
    """v1 serves, v2 was refused at a gate; the store held this then."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(*UNPROVEN[:3])
    assert node.state.candidate is not None
    node.on(CandidateFailed(node.state.candidate.id, "gate smoke: NaN", fingerprint=fingerprint))
    return node


def waits(node: Playbook) -> float:
    """Seconds until the next look."""
    at = next_deadline(node.state)
    assert at is not None
    return at - node.now


def test_the_store_is_looked_at_ever_more_rarely() -> None:
    """2, 4, 8, … seconds, at most as the policy says; the same content is no reason to try again."""
    node, waited = refused(), []
    for look in range(6):
        waited.append(waits(node))
        assert node.after(waited[-1] - 0.01) == []
        assert len(node.checks) == look
        node.after(0.02)
        assert node.checks == ["v2"] * (look + 1)
        assert next_deadline(node.state) is None  # the answer is awaited
        assert node.on(StoreChecked("v2", "as refused")) == []
    assert waited == [2, 4, 8, 16, 30, 30]
    assert max(waited) == POLICY.store_check_max_s


def test_a_store_that_can_not_be_asked_is_asked_again() -> None:
    """That it is away says nothing about what it holds."""
    node = refused()
    node.after(waits(node))
    assert node.on(StoreChecked("v2", "")) == []
    assert waits(node) == 4


def test_other_content_is_tried_at_once_and_remembered() -> None:
    """Refused by its digest, without another look at the store, it is what was seen last: no reason for another try."""
    node = refused()
    node.after(waits(node))
    assert begun(node.on(StoreChecked("v2", "touched"))) == ["v2"]
    assert next_deadline(node.state) is None
    node.reaches(Stage.VERIFYING)
    assert waits(node) == 2
    node.after(2)
    assert node.on(StoreChecked("v2", "touched")) == []


def test_what_was_refused_before_a_restart_is_tried_once_more() -> None:
    """Nobody knows what the store held then."""
    node = refused()
    node.restarts()
    node.passes()
    node.rereads()
    assert waits(node) == 2
    node.after(2)
    assert begun(node.on(StoreChecked("v2", "as refused"))) == ["v2"]


def test_nothing_is_looked_at_when_something_else_should_serve() -> None:
    """Also not by an answer that comes late."""
    node = refused()
    node.after(waits(node))
    node.on(intent("v1", 3))
    assert (node.state.run.store_watch, next_deadline(node.state)) == (None, None)
    before = node.state
    assert node.on(StoreChecked("v2", "touched")) == []
    assert node.state == before


def test_an_answer_that_comes_while_the_version_is_tried_again_is_no_news() -> None:
    """The operator wrote the key again meanwhile."""
    node = refused()
    node.after(waits(node))
    assert begun(node.on(intent("v2", 3))) == ["v2"]
    before = node.state
    assert node.on(StoreChecked("v2", "touched")) == []
    assert node.state == before
    assert node.on(Tick()) == []
