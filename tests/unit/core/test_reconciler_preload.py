# SPDX-License-Identifier: AGPL-3.0-or-later
"""A version that is made ready ahead: it never serves, gives way, and is ready when it is wanted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    Cancel,
    CandidateFailed,
    FramesSeen,
    GaveWay,
    PreloadReady,
    PreloadWanted,
    PrepareCandidate,
    StageReached,
    Swap,
)
from edgeagent.core.form import FrameSizes
from edgeagent.core.gating import GateResult
from edgeagent.core.lifecycle import Stage
from edgeagent.core.preload import preload_state
from edgeagent.core.preloaded import PreloadState
from edgeagent.core.reconciler import next_deadline
from edgeagent.core.state import Goal, PrepareMode
from tests.support.playbook import POLICY, Act, Playbook, digest_of, intent, ref

PASSED = GateResult("smoke", True)


def asked(version: str = "v2", revision: int = 1, **fields: Any) -> Directive:
    """The operator wants this version made ready."""
    return Directive(version, f"/models/yolo/current@p{revision}", "Ada", preload=True, **fields)


def id_of(node: Playbook) -> int:
    """Of the work on it."""
    assert node.state.run.preload is not None
    return node.state.run.preload.id


def seen(node: Playbook) -> tuple[str, bool, str]:
    """Stage, readiness and why."""
    found = preload_state(node.state)
    assert found is not None
    return found.stage.value, found.ready, found.why


def made_ready(node: Playbook, *, begun: bool = True) -> list[Act]:
    """All goes well with the work on it; what is to be done then."""
    id, version = id_of(node), node.state.run.preload.version if node.state.run.preload else ""
    for stage in (Stage.VERIFYING, Stage.PREPARING, Stage.GATING):
        assert node.on(StageReached(id, stage, digest_of(version))) == []
    return node.on(PreloadReady(id, digest_of(version), (PASSED,)))


def fails(node: Playbook, why: str, transient: bool = False) -> list[Act]:
    """The work on it can't go on."""
    return node.on(CandidateFailed(id_of(node), why, transient))


def test_it_is_prepared_and_nothing_more() -> None:
    """What serves goes on; the history tells who asked for it."""
    node = Playbook().serves("v1")
    served = node.state.active
    directive = asked()
    assert node.on(PreloadWanted(directive)) == [PrepareCandidate(2, Goal(directive), PrepareMode.PRELOAD)]
    assert node.on(PreloadWanted(directive)) == []
    assert seen(node) == ("FETCHING", False, "")
    assert made_ready(node) == []
    assert seen(node) == ("READY", True, "")
    assert (node.state.active, node.state.candidate, next_deadline(node.state)) == (served, None, None)
    record = node.records[-1]
    assert (record.event, record.result, record.by, record.to_version) == ("preload", "ready", "Ada", "v2")
    assert (record.digest, record.gates) == (digest_of("v2"), (PASSED,))
    assert node.after(1e6) == []


def test_an_update_to_it_is_an_update_as_any_other() -> None:
    """Only sooner; then there is nothing to make ready, also not when another comes after it."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    made_ready(node)
    (begun,) = node.on(intent("v2", 9))
    assert isinstance(begun, PrepareCandidate)
    assert begun.mode is PrepareMode.UPDATE
    assert node.passes() == [Swap(ref("v2"), epoch=2)]
    assert seen(node) == ("READY", True, "it serves")
    node.on(PreloadWanted(None))
    assert preload_state(node.state) is None


def test_the_standby_is_ready_already() -> None:
    """It is warm, even."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    assert node.on(PreloadWanted(asked("v1"))) == []
    assert seen(node) == ("READY", True, "it is the standby")
    node.after(POLICY.probation_s)  # now it isn't
    assert seen(node)[:2] == ("FETCHING", False)


def test_it_begins_when_nothing_else_is_prepared() -> None:
    """No candidate and no rebuild of this model; a candidate in its shadow, or that waits to be tried again, is no
    reason to wait."""
    node = Playbook().serves("v1")
    node.on(intent("v3", 3))
    assert node.on(PreloadWanted(asked())) == []
    assert seen(node) == ("ASPIRED", False, "v3 comes first")
    (act,) = node.fails("the store is away", transient=True)[-1:] or [None]
    assert isinstance(act, PrepareCandidate)
    assert act.mode is PrepareMode.PRELOAD


def test_it_gives_way_and_is_begun_anew() -> None:
    """Which counts as no failure."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    first = id_of(node)
    node.on(StageReached(first, Stage.VERIFYING, digest_of("v2")))
    cancel, again = node.on(GaveWay(first))
    assert cancel == Cancel(first)
    assert isinstance(again, PrepareCandidate)
    assert again.id == id_of(node) != first
    assert node.on(GaveWay(first)) == []  # outdated
    node.on(StageReached(again.id, Stage.ASPIRED))
    assert preload_state(node.state, "for its turn: labels is being updated") == PreloadState(
        "v2", Stage.ASPIRED, False, "for its turn: labels is being updated"
    )
    node.on(StageReached(again.id, Stage.FETCHING))
    fails(node, "the store is away", transient=True)
    assert next_deadline(node.state) == node.now + POLICY.retry_min_s


def test_it_gives_way_to_an_update_of_its_own_model() -> None:
    """And comes after it, made ready for what serves then."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    node.on(intent("v3", 3))
    assert node.on(GaveWay(id_of(node))) == [Cancel(id_of(node))]
    acts = node.passes()
    assert [act.goal.version for act in acts if isinstance(act, PrepareCandidate)] == ["v2"]
    made_ready(node)
    assert seen(node) == ("READY", True, "")


def test_a_failure_that_may_pass_is_tried_again_ever_more_rarely() -> None:
    """However long it takes; nothing that serves is touched."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    pauses = []
    for _ in range(12):
        assert fails(node, "the store is away", transient=True) == []
        assert seen(node) == ("ASPIRED", False, "the store is away")
        due = next_deadline(node.state)
        assert due is not None
        pauses.append(due - node.now)
        (again,) = node.after(due - node.now)
        assert isinstance(again, PrepareCandidate)
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == POLICY.rebuild_retry_s
    made_ready(node)
    assert seen(node) == ("READY", True, "")


def test_when_its_time_has_come_while_another_is_prepared_nobody_is_waked_for_nothing() -> None:
    """It is begun when that one is ready."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    fails(node, "the store is away", transient=True)
    node.on(intent("v3", 3))
    assert node.after(60.0) == []
    assert next_deadline(node.state) is None
    assert any(isinstance(act, PrepareCandidate) for act in node.passes())


@pytest.mark.parametrize("again", [None, asked(revision=2), asked("v4", 2)])
def test_what_was_refused_is_not_tried_again_until_it_is_asked_for_anew(again: Directive | None) -> None:
    """It says why, and the history does; the version itself isn't refused."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    node.on(StageReached(id_of(node), Stage.VERIFYING, digest_of("v2")))
    assert fails(node, "gate smoke: NaN") == []
    assert seen(node) == ("REJECTED", False, "gate smoke: NaN")
    assert (node.records[-1].event, node.records[-1].result) == ("preload", "rejected")
    assert node.state.rejections == ()
    assert node.after(1e6) == []
    acts = node.on(PreloadWanted(again))
    assert bool(acts) == (again is not None)
    assert node.on(intent("v2", 5)) != []


def test_another_one_takes_its_place() -> None:
    """Whatever it has reached; and none ends it."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    first = id_of(node)
    cancel, begun = node.on(PreloadWanted(asked("v3", 2)))
    assert cancel == Cancel(first)
    assert isinstance(begun, PrepareCandidate)
    assert begun.goal.version == "v3"
    assert node.on(PreloadReady(first, digest_of("v2"))) == []
    assert seen(node)[1] is False
    assert node.on(PreloadWanted(None)) == [Cancel(begun.id)]


def test_what_is_made_for_both_goes_on() -> None:
    """The same version under another revision is in the same work, and stays ready; under other terms it isn't."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    assert node.on(PreloadWanted(asked(revision=2, reason="soon"))) == []
    made_ready(node)
    assert node.on(PreloadWanted(asked(revision=3))) == []
    assert seen(node)[1] is True
    assert node.on(PreloadWanted(asked(revision=4, allow_slow=True))) != []
    assert seen(node)[1] is False


def test_when_something_else_serves_it_is_made_ready_for_that() -> None:
    """The gates compare it with what serves, and it may be made for the frames."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    made_ready(node)
    assert node.on(FramesSeen(FrameSizes(frozenset({(720, 1280)})))) != []
    made_ready(node)
    node.on(intent("v3", 3))
    acts = node.passes()
    assert isinstance(acts[-1], PrepareCandidate)
    assert seen(node) == ("FETCHING", False, "")
    made_ready(node)
    assert seen(node)[1] is True


def test_what_changed_while_it_was_made_is_seen_when_it_is_ready() -> None:
    """It isn't said to be ready for what it was not made for."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    node.state = replace(node.state, frames=FrameSizes(frozenset({(720, 1280)})))
    (again,) = made_ready(node)
    assert isinstance(again, PrepareCandidate)
    assert seen(node)[1] is False


def test_a_restart_forgets_it() -> None:
    """Whoever wants it says so again: a key is read again, and so is a roll-out."""
    node = Playbook().serves("v1")
    node.on(PreloadWanted(asked()))
    node.restarts()
    assert preload_state(node.state) is None
