# SPDX-License-Identifier: AGPL-3.0-or-later
"""Rebuilding the version that serves, in a better form, beside its engine; nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    Cancel,
    CandidateFailed,
    EngineRetired,
    FormConfirmed,
    FramesSeen,
    PrepareCandidate,
    ReplaceEngine,
    RetireEngine,
    RollbackRequested,
    StageReached,
    Swap,
    WorkerFailed,
)
from edgeagent.core.form import Form, FrameSizes
from edgeagent.core.lifecycle import Stage
from edgeagent.core.model import Contract
from edgeagent.core.reconciler import next_deadline
from edgeagent.core.state import Goal, PrepareMode, to_json
from edgeagent.core.tuning import Tuning
from tests.support.playbook import POLICY, PROVEN, UNPROVEN, Act, Playbook, begun, digest_of, intent, ref

CONTRACT = Contract("detect", ("scratch",), (320, 320), 32)
WIDE, HIGH, SMALL = (720, 1280), (1280, 720), (480, 640)
AS_PUBLISHED = Form(CONTRACT, None, tuning=Tuning.UNCONVERTED)


def made_for(*sizes: tuple[int, int]) -> Form:
    """The form for frames of these sizes."""
    return Form(CONTRACT, CONTRACT.fitted(sizes))


def frames(*sizes: tuple[int, int], complete: bool = True) -> FramesSeen:
    """Frames of these sizes have come until now."""
    return FramesSeen(FrameSizes(frozenset(sizes), complete))


def swap_in(node: Playbook, form: Form) -> list[Act]:
    """The candidate goes all its way, and comes in this form."""
    c = node.state.candidate
    assert c is not None
    node.reaches(*(PROVEN if c.goal.known_good else UNPROVEN))
    return node.on(StageReached(c.id, Stage.READY, digest_of(c.goal.version), form=form))


def serving(form: Form, *sizes: tuple[int, int]) -> Playbook:
    """v1 serves in this form, and frames of these sizes come."""
    node = Playbook()
    node.on(frames(*sizes))
    node.on(intent("v1", 1))
    swap_in(node, form)
    node.records.clear()
    return node


def rebuild_reaches(node: Playbook, *stages: Stage, form: Form | None = None) -> list[Act]:
    """The rebuild goes through these stages; what is to be done at the last."""
    acts: list[Act] = []
    for stage in stages:
        assert acts == []
        r = node.state.rebuild
        assert r is not None
        acts = node.on(StageReached(r.id, stage, r.goal.digest, form=form if stage is Stage.READY else None))
    return acts


def rebuild_fails(node: Playbook, why: str) -> list[Act]:
    """The rebuild can't go on."""
    assert node.state.rebuild is not None
    return node.on(CandidateFailed(node.state.rebuild.id, why))


def test_other_frames_have_the_version_rebuilt() -> None:
    """Beside the engine that serves, which goes then; version, digest and epoch stay. The history tells of it."""
    node = serving(made_for(WIDE), WIDE)
    wanted = Goal(
        Directive("v1", "rebuild", "edgeagent", "its input is 320×192, the frames need 320×320"),
        digest_of("v1"),
    )
    assert node.on(frames(WIDE, HIGH)) == [PrepareCandidate(2, wanted, PrepareMode.REBUILD)]
    node.now += 3.0
    assert rebuild_reaches(node, *PROVEN) == []
    assert (node.state.candidate, node.state.stage) == (None, Stage.STABLE)
    assert rebuild_reaches(node, Stage.READY, form=made_for(WIDE, HIGH)) == [ReplaceEngine(ref("v1"))]
    assert (node.state.active, node.state.epoch) == (ref("v1"), 1)
    assert (node.state.rebuild, node.state.draining) == (None, (ref("v1"),))
    (record,) = node.records
    assert (record.event, record.result, record.by) == ("rebuild", "rebuilt", "edgeagent")
    assert (record.from_version, record.to_version, record.digest) == ("", "v1", digest_of("v1"))
    assert (record.why, record.stages["fetching"]) == (wanted.directive.reason, 3.0)
    node.on(EngineRetired(ref("v1")))
    assert node.state.draining == ()


def test_a_version_that_serves_as_it_was_published_is_rebuilt_at_once() -> None:
    """It was known to be good, and had to serve soon."""
    node = Playbook().serves("v1")
    node.restarts()
    acts = swap_in(node, AS_PUBLISHED)
    assert acts[0] == Swap(ref("v1"), epoch=2)
    assert begun(acts) == ["v1"]
    assert rebuild_reaches(node, *PROVEN, Stage.READY, form=made_for()) == [ReplaceEngine(ref("v1"))]
    assert node.on(frames()) == []


def test_what_serves_in_the_best_form_already_stays() -> None:
    """That was found out, and is told; nothing is loaded for it."""
    node = serving(AS_PUBLISHED)
    assert node.state.rebuild is not None
    assert node.on(FormConfirmed(node.state.rebuild.id, replace(AS_PUBLISHED, tuning=Tuning.SETTLED))) == []
    assert (node.state.rebuild, node.state.draining) == (None, ())
    assert [(r.event, r.result) for r in node.records] == [("rebuild", "confirmed")]


PROVISIONAL = replace(AS_PUBLISHED, tuning=Tuning.PROVISIONAL)


def test_a_provisional_tuning_result_is_looked_at_again_once_the_swap_is_over() -> None:
    """Not at once, beside an update that has just come; the status shows when."""
    node = serving(PROVISIONAL)
    planned = node.state.rebuild
    assert planned is not None
    assert (planned.stage, planned.attempt, planned.error) == (Stage.ASPIRED, 0, "")
    assert planned.goal.directive.reason == "its tuning result is provisional"
    assert node.after(POLICY.settle_after_s - 0.1) == []
    acts = node.after(0.2)
    assert [type(act) for act in acts] == [PrepareCandidate]
    assert node.state.rebuild is not None
    assert node.state.rebuild.attempt == 1
    node.on(FormConfirmed(node.state.rebuild.id, replace(PROVISIONAL, tuning=Tuning.SETTLED)))
    assert node.state.rebuild is None
    assert node.after(POLICY.settle_after_s) == []


def test_what_stays_provisional_is_looked_at_ever_more_seldom() -> None:
    """A line that is never calm; the history tells it once."""
    node = serving(PROVISIONAL)
    waits = []
    for _ in range(7):
        r = node.state.rebuild
        assert r is not None
        assert r.retry_at is not None
        waits.append(r.retry_at - node.now)
        node.after(waits[-1])
        assert node.state.rebuild is not None
        node.on(FormConfirmed(node.state.rebuild.id, PROVISIONAL))
    assert waits == [60, 300, 600, 1200, 2400, 3600, 3600]
    assert [r.why for r in node.records] == [
        "what is fastest can't be told yet: the machine was busy, or there was nothing to be seen"
    ]


def test_other_frames_do_not_wait_for_a_look_that_is_planned() -> None:
    """They need another input now."""
    node = serving(replace(made_for(WIDE), tuning=Tuning.PROVISIONAL), WIDE)
    assert begun(node.on(frames(WIDE, HIGH))) == ["v1"]


def test_a_look_that_is_planned_goes_with_the_version() -> None:
    """Another serves."""
    node = serving(PROVISIONAL)
    node.on(intent("v2", 2))
    swap_in(node, made_for())
    assert node.state.rebuild is None
    assert begun(node.after(POLICY.settle_after_s)) == []


def test_frames_of_a_third_size_during_a_rebuild() -> None:
    """What is on its way takes over, and is rebuilt once more."""
    node = serving(made_for(WIDE), WIDE)
    node.on(frames(WIDE, SMALL))
    assert node.on(frames(WIDE, SMALL, HIGH)) == []
    acts = rebuild_reaches(node, *PROVEN, Stage.READY, form=made_for(WIDE, SMALL))
    assert acts[0] == ReplaceEngine(ref("v1"))
    assert begun(acts) == ["v1"]
    assert rebuild_reaches(node, *PROVEN, Stage.READY, form=made_for(WIDE, SMALL, HIGH)) == [
        ReplaceEngine(ref("v1"))
    ]
    assert node.state.draining == (ref("v1"), ref("v1"))


def test_a_rebuild_that_nobody_needs_any_more_is_given_up() -> None:
    """The pipeline with the other frames is gone."""
    node = serving(made_for(WIDE), WIDE)
    node.on(frames(WIDE, HIGH))
    assert node.on(frames(WIDE)) == [Cancel(2)]
    assert node.state.rebuild is None


def test_a_swap_during_a_rebuild() -> None:
    """The version that was rebuilt serves no more: what still comes of it is outdated."""
    node = serving(made_for(WIDE), WIDE)
    node.on(intent("v2", 2))
    node.on(frames(WIDE, HIGH))
    assert swap_in(node, made_for(WIDE, HIGH)) == [Swap(ref("v2"), epoch=2), Cancel(3)]
    before = node.state
    late = (
        StageReached(3, Stage.READY, digest_of("v1"), form=made_for(WIDE, HIGH)),
        CandidateFailed(3, "late"),
    )
    for report in late:
        assert node.on(report) == []
        assert node.state == before


def test_a_roll_back_during_a_rebuild() -> None:
    """The standby serves at once; if it isn't in the form that it should have, it is rebuilt."""
    node = serving(made_for(WIDE), WIDE)
    node.on(intent("v2", 2))
    swap_in(node, made_for(WIDE))
    assert begun(node.on(frames(WIDE, HIGH))) == ["v2"]
    acts = node.on(RollbackRequested("Ada"))
    assert acts[:3] == [Swap(ref("v1"), epoch=3), RetireEngine(ref("v2")), Cancel(3)]
    assert begun(acts) == ["v1"]
    assert rebuild_reaches(node, *PROVEN, Stage.READY, form=made_for(WIDE, HIGH)) == [
        ReplaceEngine(ref("v1"))
    ]
    assert (node.state.epoch, node.state.draining) == (3, (ref("v2"), ref("v1")))


def test_a_roll_back_by_probation_during_a_rebuild() -> None:
    """As well."""
    node = serving(made_for(WIDE, HIGH), WIDE, HIGH)
    node.on(intent("v2", 2))
    swap_in(node, AS_PUBLISHED)
    assert node.on(WorkerFailed(ref("v2"), "crashed")) == [
        Swap(ref("v1"), epoch=3),
        RetireEngine(ref("v2")),
        Cancel(3),
    ]
    assert node.state.rebuild is None


def test_a_rebuild_goes_on_beside_a_candidate_and_over_the_end_of_probation() -> None:
    """None of them waits for another."""
    node = serving(made_for(WIDE), WIDE)
    node.on(intent("v2", 2))
    swap_in(node, made_for(WIDE))
    node.on(frames(WIDE, HIGH))
    assert begun(node.on(intent("v3", 3))) == ["v3"]
    assert node.after(POLICY.probation_s) == [RetireEngine(ref("v1"))]
    assert rebuild_reaches(node, *PROVEN, Stage.READY, form=made_for(WIDE, HIGH)) == [
        ReplaceEngine(ref("v2"))
    ]
    assert node.state.candidate is not None


def test_a_rebuild_that_fails_is_tried_again_after_a_while() -> None:
    """The version goes on as it is. The history tells of each way to fail once."""
    node = serving(made_for(WIDE), WIDE)
    node.on(frames(WIDE, HIGH))
    assert rebuild_fails(node, "disk full") == []
    assert next_deadline(node.state) == node.now + POLICY.rebuild_retry_s
    assert node.after(POLICY.rebuild_retry_s - 0.1) == []
    assert begun(node.after(0.2)) == ["v1"]
    rebuild_fails(node, "disk full")
    node.after(POLICY.rebuild_retry_s)
    rebuild_fails(node, "no process")
    assert node.state.active == ref("v1")
    assert [(r.result, r.why) for r in node.records] == [
        ("not rebuilt", "disk full"),
        ("not rebuilt", "no process"),
    ]
    assert node.state.last_error == ""


def test_other_frames_are_another_chance_for_a_rebuild_that_failed() -> None:
    """It doesn't wait for its time; the same frames again are no news."""
    node = serving(made_for(WIDE), WIDE)
    node.on(frames(WIDE, HIGH))
    rebuild_fails(node, "disk full")
    assert node.on(frames(WIDE, HIGH)) == []
    assert begun(node.on(frames(WIDE, HIGH, SMALL))) == ["v1"]


@pytest.mark.parametrize("confirmed", [False, True])
def test_what_comes_out_as_it_was_is_not_rebuilt_over_and_over(confirmed: bool) -> None:
    """A node that would never end rebuilding."""
    node = serving(made_for(WIDE), WIDE)
    node.on(frames(WIDE, HIGH))
    rebuild_reaches(node, *PROVEN)
    r = node.state.rebuild
    assert r is not None
    event = StageReached(r.id, Stage.READY, digest_of("v1"), form=made_for(WIDE))
    assert node.on(FormConfirmed(r.id, made_for(WIDE)) if confirmed else event) == []
    assert node.records[-1].why == "it came out as it was"
    assert begun(node.after(POLICY.rebuild_retry_s)) == ["v1"]


def test_other_content_is_no_rebuild() -> None:
    """What serves must stay what it was."""
    node = serving(made_for(WIDE), WIDE)
    node.on(frames(WIDE, HIGH))
    assert node.on(StageReached(2, Stage.VERIFYING, "sha256:other")) == [Cancel(2)]
    assert node.records[-1].why == "its content is no longer what serves"


def test_a_rebuild_is_not_remembered() -> None:
    """A start finds out anew in which form the version serves."""
    node = serving(made_for(WIDE), WIDE)
    before = to_json(node.state)
    node.on(frames(WIDE, HIGH))
    assert to_json(node.state) == before
