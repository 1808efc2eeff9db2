# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can't serve: waited for, refused, quarantined by its content, taken back from probation."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    Cancel,
    CandidateFailed,
    IntentInvalid,
    PrepareCandidate,
    PromoteRequested,
    RetireEngine,
    StageReached,
    StoreChecked,
    Swap,
    Tick,
)
from edgeagent.core.goal import goal, rejection_of
from edgeagent.core.lifecycle import Stage
from edgeagent.core.reconciler import next_deadline
from edgeagent.core.state import MAX_REJECTIONS, PrepareMode
from tests.support.playbook import POLICY, UNPROVEN, Playbook, begun, intent, ref


def refusal(node: Playbook) -> str:
    """Why what should serve now was refused, "" if it wasn't."""
    wanted = goal(node.state)
    rejection = rejection_of(node.state, wanted) if wanted else None
    return rejection.why if rejection else ""


# -- through no fault of its own ---------------------------------------------------------------------


def test_a_store_that_is_away_is_tried_again_ever_more_rarely() -> None:
    """1, 2, 4, … seconds, at most 30."""
    node = Playbook()
    node.on(intent("v1", 1))
    waited = []
    for _ in range(8):
        assert node.fails("store away", transient=True) == []
        at = next_deadline(node.state)
        assert at is not None
        waited.append(at - node.now)
        assert node.after(waited[-1] - 0.01) == []
        assert begun(node.after(0.02)) == ["v1"]
    assert waited == [1, 2, 4, 8, 16, 30, 30, 30]


def test_each_try_has_an_id_of_its_own() -> None:
    """What the one before still reports is outdated."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.fails("store away", transient=True)
    wanted = goal(node.state)
    assert wanted is not None
    assert node.after(1.0) == [PrepareCandidate(2, wanted, PrepareMode.UPDATE)]
    before = node.state
    assert node.on(CandidateFailed(1, "hash is wrong")) == []
    assert node.on(StageReached(1, Stage.VERIFYING)) == []
    assert node.state == before


@pytest.mark.parametrize(
    "late",
    [
        CandidateFailed(1, "store away", transient=True),
        CandidateFailed(1, "hash is wrong"),
        StageReached(1, Stage.VERIFYING, "sha256:v1"),
    ],
)
def test_a_candidate_that_waits_hears_no_more_of_the_try_before(late: StageReached | CandidateFailed) -> None:
    """A failure told twice does not double its wait."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.fails("store away", transient=True)
    before = node.state
    assert node.on(late) == []
    assert node.state == before


@pytest.mark.parametrize("reached", range(len(UNPROVEN) + 1))
def test_any_stage_of_preparation_can_be_tried_again(reached: int) -> None:
    """A disk that fails while the gates read the weights says nothing about the weights."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.reaches(*UNPROVEN[:reached])
    assert node.fails("disk", transient=True) == []
    assert begun(node.after(1.0)) == ["v1"]
    assert node.passes() == [Swap(ref("v1"), epoch=1)]


def test_a_new_intent_for_the_same_version_does_not_wait() -> None:
    """The operator knows that the store is back."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.fails("store away", transient=True)
    acts = node.on(intent("v1", 2))
    assert acts[0] == Cancel(1)
    assert begun(acts) == ["v1"]


def test_what_kept_a_version_away_is_forgotten_once_it_serves() -> None:
    """But not what is wrong with the key, which is still to be mended."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.fails("store away", transient=True)
    assert node.state.last_error == "store away"
    node.after(1.0)
    node.passes()
    assert node.state.last_error == ""
    node.on(intent("v2", 2))
    node.on(IntentInvalid("key: broken"))
    node.passes()
    assert node.state.last_error == "key: broken"


def test_what_serves_goes_on_while_the_store_is_away() -> None:
    """And its probation ends in time."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    node.on(intent("v3", 3))
    for _ in range(10):
        node.fails("store away", transient=True)
        assert node.state.active == ref("v2")
        node.after(30.0)
    assert node.state.last_known_good == ref("v2")


# -- refused -----------------------------------------------------------------------------------------


def test_a_refused_candidate_leaves_what_serves_alone() -> None:
    """It is told of with the reason, and not tried again."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(*UNPROVEN[:3])
    assert node.fails("gate contract: class names differ") == []
    assert (node.state.active, node.state.candidate) == (ref("v1"), None)
    assert refusal(node) == "gate contract: class names differ"
    assert node.state.last_error == "v2 refused while gating: gate contract: class names differ"
    record = node.records[-1]
    assert (record.result, record.from_version, record.to_version) == ("rejected", "v1", "v2")
    assert record.digest == ref("v2").digest
    assert node.after(3600) == []


def test_refused_stays_refused_under_the_same_intent() -> None:
    """However often the watch repeats it."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.fails("no such version")
    assert node.on(intent("v1", 1)) == []
    assert node.on(Tick()) == []


def test_a_restart_does_not_forget_what_was_refused() -> None:
    """Nor does the intent, told again, bring it back."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.fails("hash is wrong")
    assert begun(node.restarts()) == ["v1"]
    node.passes()
    assert node.on(intent("v2", 2)) == []
    assert refusal(node) == "hash is wrong"


def test_writing_the_key_again_lifts_it() -> None:
    """The operator's intent has changed, even if its words haven't."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.fails("hash is wrong")
    assert begun(node.on(intent("v1", 2))) == ["v1"]
    assert node.state.rejections == ()


def test_promote_tries_what_the_intent_s_version_was_refused_for() -> None:
    """It is another intent; each click is."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.fails("hash is wrong")
    assert begun(node.on(PromoteRequested(Directive("v2", "api@1", by="Ada")))) == ["v2"]
    node.fails("hash is wrong")
    assert node.on(PromoteRequested(Directive("v2", "api@1", by="Ada"))) == []
    assert begun(node.on(PromoteRequested(Directive("v2", "api@2", by="Ada")))) == ["v2"]


# -- quarantine by content ---------------------------------------------------------------------------


def refused_at_the_gate() -> Playbook:
    """v1 serves; the intent's v2 was refused after its content was known."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(*UNPROVEN[:3])
    node.fails("gate smoke: NaN")
    return node


def test_content_that_was_refused_is_refused_again_as_soon_as_it_is_recognised() -> None:
    """The store's folder changed, its content is the same: no gate runs a second time."""
    node = refused_at_the_gate()
    assert begun(node.store_changes()) == ["v2"]
    assert node.reaches(Stage.VERIFYING) == [Cancel(3)]
    assert refusal(node) == "quarantined: gate smoke: NaN"
    assert node.state.active == ref("v1")


def test_other_content_under_the_same_name_is_tried() -> None:
    """It may be good."""
    node = refused_at_the_gate()
    node.store_changes()
    assert node.passes(content="'") == [Swap(ref("v2", "'"), epoch=2)]


def test_the_quarantine_holds_each_content_once_and_keeps_the_first_reason() -> None:
    """However often somebody touches the store."""
    node = refused_at_the_gate()
    for _ in range(2 * MAX_REJECTIONS):
        node.store_changes()
        node.reaches(Stage.VERIFYING)
    assert len(node.state.rejections) == 1
    assert refusal(node) == "quarantined: gate smoke: NaN"
    node.store_changes()
    node.reaches(Stage.VERIFYING, content="'")
    node.fails("gate smoke: Inf")
    assert {r.digest for r in node.state.rejections} == {ref("v2").digest, ref("v2", "'").digest}
    node.store_changes()
    assert node.reaches(Stage.VERIFYING) == [Cancel(node.state.next_id - 1)]


def test_a_new_try_that_is_killed_is_made_again() -> None:
    """The store was put right, the node was killed on the way: it must not believe the old refusal."""
    node = refused_at_the_gate()
    node.store_changes()
    node.restarts()
    node.passes()
    assert begun(node.rereads()) == ["v2"]
    assert node.passes(content="'") == [Swap(ref("v2", "'"), epoch=3)]


def test_the_quarantine_survives_a_restart() -> None:
    """By content too."""
    node = refused_at_the_gate()
    node.store_changes()
    node.restarts()
    node.passes()
    node.rereads()
    assert node.reaches(Stage.VERIFYING) == [Cancel(2)]


def test_the_store_changing_what_was_not_refused_is_no_news() -> None:
    """A late or wrong notice."""
    node = refused_at_the_gate()
    before = node.state
    assert node.on(StoreChecked("v1", "other content")) == []
    assert node.state == before


def test_a_refusal_before_its_content_was_known_is_forgotten_when_the_store_changes() -> None:
    """There was no version; now there is one."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.fails("no such version")
    assert begun(node.store_changes()) == ["v1"]
    assert node.passes() == [Swap(ref("v1"), epoch=1)]


def test_refusals_are_kept_within_bounds() -> None:
    """A node lives for years."""
    node = Playbook().serves("v1")
    for n in range(3 * MAX_REJECTIONS):
        node.on(PromoteRequested(Directive("v2", f"api@{n}", by="Ada")))
        node.fails("hash is wrong")
    assert len(node.state.rejections) == MAX_REJECTIONS
    assert refusal(node) == "hash is wrong"


# -- on probation ------------------------------------------------------------------------------------


def on_probation() -> Playbook:
    """v2 serves on probation, v1 stays warm."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    return node


def test_trouble_on_probation_brings_the_standby_back_at_once() -> None:
    """The version is refused under its intent, by content."""
    node = on_probation()
    assert node.crashes("v2", "crashed twice") == [
        Swap(ref("v1"), epoch=3),
        RetireEngine(ref("v2")),
    ]
    assert (node.state.active, node.state.standby, node.state.probation_until) == (ref("v1"), None, None)
    assert refusal(node) == "crashed twice"
    assert node.state.last_error == "v2 refused on probation: crashed twice"
    record = node.records[-1]
    assert (record.event, record.result) == ("probation", "rolled_back")
    assert (record.from_version, record.to_version) == ("v2", "v1")


def test_trouble_told_twice_changes_nothing() -> None:
    """The version is no longer the active one."""
    node = on_probation()
    node.crashes("v2", "crashed twice")
    before = node.state
    assert node.crashes("v2", "crashed twice") == []
    assert node.state == before


def test_what_exceeded_its_failure_budget_is_not_tried_again_after_a_restart() -> None:
    """Nor when the store is touched with the same content in it."""
    node = on_probation()
    node.crashes("v2", "crashed twice")
    assert begun(node.restarts()) == ["v1"]
    assert node.passes() == [Swap(ref("v1"), epoch=4)]
    assert node.on(intent("v2", 2)) == []
    node.store_changes()
    assert node.reaches(Stage.VERIFYING) == [Cancel(2)]


def test_what_exceeded_its_failure_budget_is_tried_again_when_the_key_is_written_again() -> None:
    """And passes all gates again."""
    node = on_probation()
    node.crashes("v2", "crashed twice")
    node.after(POLICY.again_min_s)
    assert begun(node.on(intent("v2", 3))) == ["v2"]
    assert node.passes() == [Swap(ref("v2"), epoch=4)]
    assert node.state.standby == ref("v1")


def test_trouble_while_a_newer_version_is_prepared_leaves_that_one_alone() -> None:
    """It has nothing to do with it."""
    node = on_probation()
    node.on(intent("v3", 3))
    assert node.crashes("v2", "crashed twice") == [
        Swap(ref("v1"), epoch=3),
        RetireEngine(ref("v2")),
    ]
    assert node.passes() == [Swap(ref("v3"), epoch=4)]
    assert node.state.standby == ref("v1")


def test_trouble_of_a_promoted_version_goes_back_and_stays_there() -> None:
    """The refusal is under the promote's intent."""
    node = Playbook().serves("v1")
    node.on(PromoteRequested(Directive("v2", "api@1", by="Ada")))
    node.passes()
    assert node.crashes("v2", "hangs") == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]
    assert refusal(node) == "hangs"
    assert node.on(Tick()) == []


def test_trouble_without_a_standby_leaves_the_only_version_there_is() -> None:
    """Its worker is started again and again; that is better than nothing."""
    node = Playbook()
    node.on(intent("v1", 1))
    node.passes()
    before = node.state
    assert node.crashes("v1", "crashed twice") == []
    assert node.state == replace(before, run=node.state.run)


def test_trouble_of_a_stable_version_changes_nothing() -> None:
    """It has earned its place: what changed is not the model."""
    node = Playbook().serves("v1", "v2")
    before = node.state
    assert node.crashes("v2", "crashed twice") == []
    assert node.state == replace(before, run=node.state.run)


def test_trouble_of_the_standby_is_no_trouble() -> None:
    """Nobody is served by it."""
    node = on_probation()
    before = node.state
    assert node.crashes("v1", "crashed twice") == []
    assert node.state == before


def test_trouble_at_the_last_moment_of_probation() -> None:
    """The tick is late: what was not made stable yet has not earned it."""
    node = on_probation()
    node.now += POLICY.probation_s
    assert node.crashes("v2", "hangs") == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]
    assert node.on(Tick()) == []
