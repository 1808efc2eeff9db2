# SPDX-License-Identifier: AGPL-3.0-or-later
"""SHADOW: what a version waits for beside the one that serves, and what ends it; the watch after the swap, by pairs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeagent.core.directive_fields import ProbationTerms, ShadowTerms
from edgeagent.core.events import (
    ApproveRequested,
    AwaitMoment,
    Cancel,
    CandidateFailed,
    MomentCame,
    PairsJudged,
    PrepareCandidate,
    ProbationBreached,
    RefuseRequested,
    RetireEngine,
    RollbackRequested,
    ShadowFinished,
    StartShadow,
    Swap,
)
from edgeagent.core.lifecycle import Stage
from edgeagent.core.policy import EntryTerms, PairRules
from edgeagent.core.reconciler import next_deadline
from edgeagent.core.state import Candidate, Shadow
from edgeagent.errors import ConflictError
from tests.support.playbook import POLICY, UNPROVEN, Act, Playbook, begun, intent, ref, summary

SWAPPED: list[Act] = [Swap(ref("v2"), epoch=2)]
SEEN = summary(100, 30)


def in_shadow(**terms: Any) -> Playbook:
    """A node on which v1 serves and v2, asked for in these terms, is loaded beside it."""
    node = Playbook(policy=replace(POLICY, has_windows=True)).serves("v1")
    node.on(intent("v2", 2, **terms))
    acts = node.passes()
    c = candidate(node)
    assert c.stage is Stage.SHADOW
    assert acts[0] == StartShadow(c.id, ref("v2"))
    return node


def candidate(node: Playbook) -> Candidate:
    """The version on its way in."""
    assert node.state.candidate is not None
    return node.state.candidate


def shadow(node: Playbook) -> Shadow:
    """How far it is."""
    found = candidate(node).shadow
    assert found is not None
    return found


def sees(node: Playbook, frames: int, shortfall: str = "") -> list[Act]:
    """Both versions have seen so many frames; what is to be done."""
    return node.on(PairsJudged(ref("v2"), summary(frames, 30), shortfall))


# -- how long -----------------------------------------------------------------------------------------


def test_without_a_word_about_it_there_is_no_shadow() -> None:
    """Old directives mean what they meant."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    assert node.passes() == SWAPPED


@pytest.mark.parametrize("by_directive", [True, False])
def test_it_ends_after_the_seconds(by_directive: bool) -> None:
    """The directive's, or the node's."""
    node = Playbook(policy=replace(POLICY, entry=EntryTerms(0.0 if by_directive else 120.0))).serves("v1")
    node.on(intent("v2", 2, shadow=ShadowTerms(seconds=120) if by_directive else None))
    node.passes()
    assert sees(node, 1) == []
    assert next_deadline(node.state) == node.now + 120
    assert node.after(119) == []
    assert node.after(1) == SWAPPED
    assert (node.records[-1].stages["shadow"], node.records[-1].shadow) == (120.0, summary(1, 30))


def test_a_directive_can_do_without_the_shadow_of_the_node() -> None:
    """Zero seconds are none."""
    node = Playbook(policy=replace(POLICY, entry=EntryTerms(120.0))).serves("v1")
    node.on(intent("v2", 2, shadow=ShadowTerms(seconds=0)))
    assert node.passes() == SWAPPED


def test_it_ends_after_the_frames() -> None:
    """That both have answered."""
    node = in_shadow(shadow=ShadowTerms(frames=100))
    assert sees(node, 99) == []
    assert next_deadline(node.state) is None
    assert sees(node, 100) == SWAPPED


@pytest.mark.parametrize("frames", [0, 500])
def test_no_data_is_no_health(frames: int) -> None:
    """An empty belt, or a camera that is away, for however long: it goes on, until there was enough to tell."""
    node = in_shadow(shadow=ShadowTerms(seconds=60))
    sees(node, frames, "too little was seen")
    assert node.after(86_400) == []
    assert next_deadline(node.state) is None
    assert sees(node, 1000) == SWAPPED


def test_a_node_may_go_by_the_time_alone() -> None:
    """Where objects are rare. Without a single frame it goes on all the same."""
    node = in_shadow(shadow=ShadowTerms(seconds=60))
    node.policy = replace(node.policy, pairs=PairRules(shadow_needs_evidence=False))
    assert node.after(60) == []
    assert sees(node, 1, "too little was seen") == SWAPPED


@pytest.mark.parametrize("event", [RollbackRequested("Ada"), None])
def test_what_has_served_well_skips_it(event: RollbackRequested | None) -> None:
    """Rolled back to, or started with: at once, as ever; so does the first version of all."""
    node = Playbook(policy=replace(POLICY, entry=EntryTerms(60.0, 0, "manual", "between-parts")))
    node.on(intent("v1", 1))
    assert node.passes() == [Swap(ref("v1"), epoch=1)]
    node.on(intent("v2", 2))
    node.passes()
    node.on(ApproveRequested("Ada"))
    node.on(MomentCame(candidate(node).id, "empty"))
    node.after(60)
    if event:
        assert begun(node.on(event)) == ["v1"]
        assert Swap(ref("v1"), epoch=3) in node.passes()
    else:
        assert begun(node.restarts()) == ["v2"]
        assert node.passes() == [Swap(ref("v2"), epoch=3)]


# -- approval -----------------------------------------------------------------------------------------


def test_manual_approval_waits_for_a_person() -> None:
    """However long, and however well it does. The approval is a record of its own."""
    node = in_shadow(approval="manual")
    assert sees(node, 100_000) == []
    assert node.after(86_400) == []
    assert node.on(ApproveRequested("Ada", "v2", ref("v2").digest)) == SWAPPED
    assert [(r.event, r.result, r.by) for r in node.records[-2:]] == [
        ("approval", "approved", "Ada"),
        ("update", "swapped", "etcd"),
    ]
    assert node.records[-2].shadow == summary(100_000, 30)


def test_a_person_may_shorten_a_shadow() -> None:
    """Who has seen enough need not wait for the rest of the time."""
    node = in_shadow(shadow=ShadowTerms(seconds=3600))
    assert node.on(ApproveRequested("Ada")) == SWAPPED


def test_refused_by_a_person() -> None:
    """With the reason, under the intent; the same version is not taken up again."""
    node = in_shadow(approval="manual")
    sees(node, 100)
    id = candidate(node).id
    assert node.on(RefuseRequested("Ada", "misses dents")) == [Cancel(id)]
    record = node.records[-1]
    assert (record.result, record.by, record.why) == ("rejected", "Ada", "refused by Ada: misses dents")
    assert record.shadow == summary(100, 30)
    assert node.state.last_error == "v2 refused in shadow: refused by Ada: misses dents"
    assert node.state.rejections[-1].stage is Stage.SHADOW
    assert node.after(60) == []
    assert node.state.active == ref("v1")


@pytest.mark.parametrize("event", [ApproveRequested("Ada"), RefuseRequested("Ada", "no")])
def test_nothing_waits(event: ApproveRequested | RefuseRequested) -> None:
    """It says what serves."""
    node = Playbook().serves("v1")
    with pytest.raises(ConflictError, match="no version waits on this node; v1 serves"):
        node.on(event)


@pytest.mark.parametrize("kind", [ApproveRequested, RefuseRequested])
@pytest.mark.parametrize(
    ("version", "digest", "why"),
    [
        ("v9", "", "v2 is on its way in by now, not v9"),
        ("v2", "sha256:old", "the content of v2 is sha256:v2, not sha256:old"),
    ],
)
def test_a_word_about_another_version_is_a_conflict(
    kind: type[ApproveRequested | RefuseRequested], version: str, digest: str, why: str
) -> None:
    """One approves what one saw, and nothing else; nothing changes."""
    node = in_shadow(approval="manual")
    before = node.state
    event = (
        ApproveRequested("Ada", version, digest)
        if kind is ApproveRequested
        else RefuseRequested("Ada", "no", version, digest)
    )
    with pytest.raises(ConflictError, match=why):
        node.on(event)
    assert node.state == before


def test_a_version_that_is_not_loaded_yet_can_not_be_approved() -> None:
    """There is nothing to be seen of it."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2, approval="manual"))
    node.reaches(*UNPROVEN[:3])
    with pytest.raises(ConflictError, match="v2 is at GATING, not at SHADOW"):
        node.on(ApproveRequested("Ada"))


# -- what ends it -------------------------------------------------------------------------------------


def test_what_does_worse_is_refused() -> None:
    """With what was seen; by its digest too, for another name is no other content."""
    node = in_shadow(approval="manual")
    id = candidate(node).id
    assert node.on(ShadowFinished(id, "it loses 7 of 30 scratches", SEEN)) == [Cancel(id)]
    assert (node.records[-1].result, node.records[-1].shadow) == ("rejected", SEEN)
    assert node.state.rejections[-1].digest == ref("v2").digest
    assert node.state.active == ref("v1")
    assert node.on(ShadowFinished(id, "it loses 7 of 30 scratches", SEEN)) == []


def test_another_intent_supersedes_it() -> None:
    """Its engine goes."""
    node = in_shadow(approval="manual")
    id = candidate(node).id
    assert node.on(intent("v3", 3))[0] == Cancel(id)
    assert node.records[-1].result == "superseded"


def test_other_terms_for_the_same_version_count_at_once() -> None:
    """Nothing is prepared anew; what was seen stays."""
    node = in_shadow(approval="manual")
    sees(node, 100)
    assert node.on(intent("v2", 3, shadow=ShadowTerms(frames=50))) == SWAPPED


@pytest.mark.parametrize("from_outside", [True, False])
def test_its_worker_ends(from_outside: bool) -> None:
    """It is refused for a crash of its own, and tried again after somebody else's signal."""
    node = in_shadow(approval="manual")
    id = candidate(node).id
    assert node.on(CandidateFailed(id, "killed", transient=from_outside)) == [Cancel(id)]
    if from_outside:
        assert (candidate(node).stage, candidate(node).shadow) == (Stage.ASPIRED, None)
        acts = node.after(node.policy.retry_min_s)
        assert begun(acts) == ["v2"]
    else:
        assert node.state.candidate is None


def test_killed_in_shadow_the_node_starts_with_what_is_good() -> None:
    """And tries again what was in shadow; days in it are no deaths on probation."""
    node = in_shadow(approval="manual")
    for _ in range(5):
        assert begun(node.restarts()) == ["v1"]
        node.passes()
        assert begun(node.rereads()) == ["v2"]
        node.passes()
        assert candidate(node).stage is Stage.SHADOW
    assert node.state.begun_probations is None
    node.on(ApproveRequested("Ada"))
    assert node.state.begun_probations is not None
    assert node.saved["begun_probations"]["times"] == 1


def test_compared_with_another_version_from_now_on() -> None:
    """What serves was rolled back meanwhile: what was seen beside it counts no more."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    node.on(intent("v3", 3, shadow=ShadowTerms(frames=100)))
    node.passes()
    node.on(PairsJudged(ref("v3"), summary(99, 30)))
    acts = node.on(ProbationBreached(ref("v2"), "it loses scratches"))
    assert acts == [
        Swap(ref("v1"), epoch=3),
        RetireEngine(ref("v2")),
        StartShadow(candidate(node).id, ref("v3")),
    ]
    assert (shadow(node).against, shadow(node).pairs) == (ref("v1"), None)


def test_a_stable_version_that_keeps_failing_does_not_wait_for_an_approval() -> None:
    """The version before comes as a stop-gap; nobody may be there to approve what is in shadow."""
    node = Playbook().serves("v1", "v2")
    node.on(intent("v3", 3, approval="manual"))
    node.passes()
    for _ in range(5):
        node.now += 3.0
        acts = node.crashes("v2")
    assert isinstance(acts[0], Cancel)
    assert begun(acts) == ["v1"]


def test_a_breach_may_only_be_reported() -> None:
    """It is said, and the rest of the shadow goes on as it would, without asking for more evidence."""
    node = in_shadow(shadow=ShadowTerms(frames=100))
    node.policy = replace(node.policy, pairs=PairRules(reports=frozenset({"shadow"})))
    seen, why = summary(50, 30), "lost 9 of 20 dents"
    assert node.on(ShadowFinished(candidate(node).id, why, seen)) == []
    record = node.records[-1]
    assert (record.event, record.result, record.why, record.shadow) == ("shadow", "reported", why, seen)
    assert node.state.rejections == ()
    assert sees(node, 99, "too little was seen") == []
    assert shadow(node).breach == why
    assert sees(node, 100, "too little was seen") == SWAPPED


@pytest.mark.parametrize(
    ("terms", "pairs_come", "skipped"),
    [
        ({"shadow": ShadowTerms(seconds=3600)}, False, True),
        ({"shadow": ShadowTerms(seconds=3600)}, True, False),
        ({"shadow": ShadowTerms(seconds=3600), "approval": "manual"}, False, False),
    ],
)
def test_a_fix_does_not_wait_for_evidence_that_can_not_come(
    terms: dict[str, Any], pairs_come: bool, skipped: bool
) -> None:
    """What serves keeps failing, and nothing else is there to go back to; the record says that it was skipped."""
    node = in_shadow(**terms)
    acts: list[Act] = []
    for n in range(8):
        node.now += 3.0
        assert acts == []
        if pairs_come:
            assert sees(node, n + 1, "too little was seen") == []
        acts = node.crashes("v1", "signal 11")
        if acts:
            break
    assert (acts == SWAPPED) == skipped
    if skipped:
        assert "SHADOW was skipped: v1 keeps failing" in node.records[-1].why
        assert node.state.candidate is None


# -- the moment ---------------------------------------------------------------------------------------


def test_between_parts() -> None:
    """The swap waits for the moment; the record says which, and how long it took."""
    node = in_shadow(at="between-parts")
    id = candidate(node).id
    node.now += 4.5
    assert node.on(MomentCame(id, "nothing on 3 frames")) == SWAPPED
    assert node.records[-1].moment == "between-parts: nothing on 3 frames, after 4.5 s"
    assert node.on(MomentCame(id, "nothing on 3 frames")) == []


def test_no_moment_comes() -> None:
    """It is waited for so long and no longer."""
    node = in_shadow(at="between-parts")
    assert node.after(node.policy.switch_max_wait_s - 1) == []
    assert node.after(1) == SWAPPED
    assert "no longer is waited, after 300.0 s" in node.records[-1].moment


def test_a_window_is_waited_for_however_long_it_takes() -> None:
    """Who wants the swap at night doesn't want it in the afternoon."""
    node = in_shadow(at="window")
    assert node.after(20 * 3600) == []
    assert next_deadline(node.state) is None
    assert node.on(MomentCame(candidate(node).id, "02:00")) == SWAPPED


def test_the_moment_comes_after_the_rest() -> None:
    """One before it has proved itself is none."""
    node = in_shadow(at="between-parts", approval="manual")
    id = candidate(node).id
    assert shadow(node).awaits == ""
    assert node.on(MomentCame(id, "empty")) == []
    assert node.on(ApproveRequested("Ada")) == [AwaitMoment(id, "between-parts")]
    assert node.on(MomentCame(id, "empty")) == SWAPPED


def test_a_window_that_the_node_has_none_of() -> None:
    """The directive can't be followed: that is said, and nothing is loaded."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2, at="window"))
    acts = node.reaches(Stage.VERIFYING)
    assert isinstance(acts[0], Cancel)
    assert "update.switch.windows of this node names no time of day" in node.state.last_error


# -- probation ----------------------------------------------------------------------------------------


def on_probation(**terms: Any) -> Playbook:
    """A node on which v2 was swapped in just now; v1 is warm."""
    node = Playbook(policy=replace(POLICY, probation_longest=2.0)).serves("v1")
    node.on(intent("v2", 2, **terms))
    node.passes()
    assert node.state.standby == ref("v1")
    return node


def test_the_directive_says_how_long_it_is_watched() -> None:
    """Instead of the node."""
    node = on_probation(probation=ProbationTerms(600))
    sees(node, 100)
    assert node.after(599) == []
    assert node.after(1) == [RetireEngine(ref("v1"))]
    assert (node.records[-1].result, node.records[-1].why, node.records[-1].probation) == (
        "stable",
        "",
        summary(100, 30),
    )


@pytest.mark.parametrize(
    ("said", "may_be_slow"),
    [
        ({}, False),
        ({"gates": {"golden": {"min_recall": 0.9}}}, False),
        ({"gates": {"latency": {"max_ratio": 4.0}}}, True),
        ({"allow_slow": True}, True),
    ],
)
def test_how_slow_it_may_be_counts_on_probation_too(said: dict[str, Any], may_be_slow: bool) -> None:
    """What the gate let in on the operator's word isn't taken back for it."""
    node = on_probation(**said)
    assert node.state.run.probation
    assert node.state.run.probation.may_be_slow is may_be_slow


def test_what_pairs_say_on_probation_may_only_be_reported() -> None:
    """Nothing is swapped back, the watch isn't made longer, and the end says it again. What needs no pairs acts."""
    node = on_probation(probation=ProbationTerms(600))
    node.policy = replace(node.policy, pairs=PairRules(reports=frozenset({"probation"})))
    assert node.on(ProbationBreached(ref("v2"), "lost 9 of 20 dents", SEEN)) == []
    assert (node.records[-1].event, node.records[-1].result) == ("probation", "reported")
    assert node.records[-1].probation == SEEN
    sees(node, 100, "too little was seen")
    assert node.state.run.probation
    assert node.state.run.probation.breach == "lost 9 of 20 dents"
    assert (node.state.active, node.state.rejections) == (ref("v2"), ())
    assert node.after(600) == [RetireEngine(ref("v1"))]
    assert (node.records[-1].result, node.records[-1].why) == (
        "stable",
        "pairs speak against it: lost 9 of 20 dents",
    )


def test_limits_of_health_act_where_pairs_only_report() -> None:
    """The breach without pairs swaps back."""
    node = on_probation()
    node.policy = replace(node.policy, pairs=PairRules(reports=frozenset({"probation"})))
    node.on(ProbationBreached(ref("v2"), "p95 is 3 times as long"))
    assert node.state.active == ref("v1")
    assert node.records[-1].result == "rolled_back"


def test_no_probation_is_not_said_to_have_seen_too_little() -> None:
    """None was asked for."""
    node = on_probation(probation=ProbationTerms(0))
    assert node.after(0) == [RetireEngine(ref("v1"))]
    assert (node.records[-1].result, node.records[-1].why) == ("stable", "")


def test_a_breach_goes_back_at_once() -> None:
    """The digest is refused under the intent, and the record says which figure, over what, against what."""
    node = on_probation()
    why = "beside the version before it loses 7 of 30 scratches"
    assert node.on(ProbationBreached(ref("v2"), why, SEEN)) == [
        Swap(ref("v1"), epoch=3),
        RetireEngine(ref("v2")),
    ]
    record = node.records[-1]
    assert (record.event, record.result, record.why, record.probation) == (
        "probation",
        "rolled_back",
        why,
        SEEN,
    )
    assert (node.state.rejections[-1].digest, node.state.rejections[-1].why) == (ref("v2").digest, why)
    assert node.on(ProbationBreached(ref("v2"), why, SEEN)) == []


def test_a_breach_of_a_version_that_has_become_stable_is_outdated() -> None:
    """It was under way when the watch ended."""
    node = on_probation()
    sees(node, 100)
    node.after(60)
    assert node.on(ProbationBreached(ref("v2"), "it loses scratches", SEEN)) == []
    assert node.state.active == ref("v2")


@pytest.mark.parametrize("more", [True, False])
def test_too_little_was_seen(more: bool) -> None:
    """It is watched for longer, up to a bound, and ends as soon as there was enough; or with a word about it."""
    node = on_probation()
    sees(node, 900, "too little was seen to tell: 3 objects")
    assert node.after(60) == []
    assert node.state.stage is Stage.PROBATION
    if more:
        assert sees(node, 1000) == [RetireEngine(ref("v1"))]
        assert node.records[-1].why == ""
    else:
        assert node.after(59) == []
        assert node.after(1) == [RetireEngine(ref("v1"))]
        assert node.records[-1].why == "not judged by pairs: too little was seen to tell: 3 objects"


def test_one_crash_on_probation_is_enough() -> None:
    """The version before is warm: nothing is gained by another try."""
    node = on_probation()
    assert node.crashes("v2") == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2"))]


def test_prepared_is_what_was_asked_for_first() -> None:
    """A shadow, a moment or a probation is no reason to prepare a version anew."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(Stage.VERIFYING)
    acts = node.on(intent("v2", 3, approval="manual"))
    assert not [act for act in acts if isinstance(act, PrepareCandidate)]
