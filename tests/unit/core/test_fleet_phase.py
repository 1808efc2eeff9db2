# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a node says it has done in a roll-out: the reconciler on paper goes through one, and is asked on the way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from edgeagent.core.directive import Directive
from edgeagent.core.events import (
    IntentChanged,
    PairsJudged,
    ProbationBreached,
    PromoteRequested,
    RollbackRequested,
    WorkerFailed,
)
from edgeagent.core.fleet_phase import (
    Figures,
    carried_on,
    is_news,
    pairs_of,
    phase_of,
    report_of,
    view_of,
)
from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.following import Followed, Part, Standing, as_current, part_in
from edgeagent.core.lifecycle import Stage
from edgeagent.core.preloaded import PreloadState
from edgeagent.core.probation import MAX_STABLE_FAILURES, MIN_FAILING_S
from edgeagent.core.probation_count import MAX_BEGUN
from edgeagent.core.rollout import Plan, Status, rollout_directive
from tests.support.playbook import POLICY, UNPROVEN, Playbook, intent, ref, summary
from tests.support.rollout_seen import CURRENT, a_rollout, seen

ROLLED = IntentChanged(rollout_directive("yolo", a_rollout()))
PIN = Directive("v9", "/models/yolo/pins/n1@3")


class Member(Playbook):
    """A node that follows the fleet; v1 of `current` serves."""

    def __init__(self) -> None:
        super().__init__()
        self.on(IntentChanged(CURRENT))
        self.passes()
        self.after(self.policy.probation_s)

    def begins(self) -> Member:
        """It takes up the roll-out, and prepares its version."""
        self.on(ROLLED)
        return self

    def followed(self, status: Status = Status.ROLLING, **fields: Any) -> Followed:
        """What it knows of the roll-out."""
        document = seen(status, **fields)
        held = self.state.override is not None
        me = Standing("yolo", "n1", directive=self.state.directive, held=held)
        return Followed(document, part_in(document, CURRENT, "5", me), leader="3")

    def phase(self, status: Status = Status.ROLLING) -> Phase:
        """What it says that it has done."""
        return phase_of(self.state, self.followed(status))[0]


def test_a_good_version() -> None:
    """From waiting to stable; nobody is in before a wave opens, and nobody is when it is over."""
    node = Member()
    assert node.phase(Status.PLANNED) is Phase.NONE
    assert phase_of(node.state, node.followed(), "no coordinator") == (Phase.WAITING, "no coordinator")
    assert node.begins().phase() is Phase.BEGUN
    node.passes()
    assert node.phase() is Phase.SWAPPED
    node.after(POLICY.probation_s)
    assert (node.phase(), node.phase(Status.PAUSED)) == (Phase.STABLE, Phase.STABLE)
    assert node.phase(Status.DONE) is Phase.NONE


def test_a_version_that_is_refused_before_it_serves() -> None:
    """Harmless; the reason is the gate's."""
    node = Member().begins()
    node.reaches(*UNPROVEN[:3])
    node.fails("gate golden: finds too little")
    assert phase_of(node.state, node.followed()) == (Phase.REFUSED, "gate golden: finds too little")


def test_a_version_that_is_taken_back_on_probation() -> None:
    """It has served. That is known over a restart, and after the roll-out was aborted."""
    node = Member().begins()
    node.passes()
    node.on(ProbationBreached(ref("v2"), "it finds fewer dents"))
    assert phase_of(node.state, node.followed()) == (Phase.ROLLED_BACK, "it finds fewer dents")
    node.restarts()
    assert node.phase() is Phase.ROLLED_BACK
    node.passes()
    aborted = node.followed(Status.ABORTING)
    me = Standing("yolo", "n1", directive=node.state.directive)
    node.on(IntentChanged(as_current(CURRENT, aborted.part, aborted.seen, me)))
    assert node.phase(Status.ABORTED) is Phase.ROLLED_BACK
    assert phase_of(node.state, Followed(seen(id="r2"), Part.WAITS))[0] is Phase.WAITING


def test_a_version_that_the_node_ends_with() -> None:
    """It served, whatever the stage at which it isn't tried once more: that is harm, and no refusal before a swap."""
    node = Member().begins()
    for _ in range(MAX_BEGUN):
        node.passes()
        assert node.phase() is Phase.SWAPPED
        node.restarts()
        node.passes()
        node.rereads()
        assert node.phase() is Phase.BEGUN
    node.reaches(Stage.VERIFYING)
    phase, why = phase_of(node.state, node.followed())
    assert phase is Phase.ROLLED_BACK
    assert why.startswith(f"the node ended {MAX_BEGUN} times while it served")
    node.restarts()
    assert node.phase() is Phase.ROLLED_BACK


def test_a_version_that_the_node_ended_with_once_and_is_refused_then() -> None:
    """Such as one that was withdrawn meanwhile."""
    node = Member().begins()
    node.passes()
    node.restarts()
    node.passes()
    node.rereads()
    node.fails("it was withdrawn")
    assert phase_of(node.state, node.followed()) == (Phase.ROLLED_BACK, "it was withdrawn")


def test_why_current_is_refused_is_told_when_no_roll_out_is_in_force() -> None:
    """Else only the node itself would know."""
    node = Member()
    node.on(intent("v2", 9))
    node.reaches(*UNPROVEN[:3])
    node.fails("gate golden: finds too little")
    report = report_of(node.state, Followed(None, Part.OUT, leader=""), Figures(), {})
    assert (report.phase, report.state, report.why) == (
        Phase.NONE,
        "REJECTED",
        "gate golden: finds too little",
    )
    node.on(intent("v1", 10))
    assert report_of(node.state, Followed(None, Part.OUT, leader=""), Figures(), {}).why == ""


def test_a_stable_version_that_keeps_failing() -> None:
    """The node's own hold is no excuse: it went back from the roll-out's version."""
    node = Member().begins()
    node.passes()
    node.after(POLICY.probation_s)
    for _ in range(MAX_STABLE_FAILURES):
        node.now += MIN_FAILING_S / (MAX_STABLE_FAILURES - 1)
        node.on(WorkerFailed(ref("v2"), "NaN"))
    assert node.state.override
    assert node.state.override.kind == "sentinel"
    assert phase_of(node.state, node.followed()) == (Phase.ROLLED_BACK, "NaN")


def test_a_version_that_somebody_takes_back_on_the_node() -> None:
    """Whoever stands before the line has seen what it does: nobody's hold is an excuse for the version that it is
    about. Something else is promoted there for reasons of its own."""
    node = Member().begins()
    node.passes()
    node.on(RollbackRequested("Ada", reason="misses dents"))
    assert phase_of(node.state, node.followed()) == (Phase.ROLLED_BACK, "taken back by Ada: misses dents")
    node.restarts()
    assert node.phase() is Phase.ROLLED_BACK
    other = Member().begins()
    other.passes()
    other.on(PromoteRequested(Directive("v9", "api@1", "Ada")))
    assert other.phase() is Phase.EXCUSED


def test_a_node_that_follows_somebody_else() -> None:
    """A pin, a promotion or a roll-back on the node excuses it, whatever else: also while there is no roll-out."""
    node = Member().begins()
    node.passes()
    pinned = replace(node.followed(), pin=PIN)
    assert phase_of(node.state, pinned) == (Phase.EXCUSED, "pinned to v9")
    assert phase_of(node.state, Followed(None, pin=PIN))[0] is Phase.EXCUSED
    held = Member()
    held.on(PromoteRequested(Directive("v3", "api@1", "Ada")))
    held.passes()
    held.after(held.policy.probation_s)
    held.on(RollbackRequested("Ada"))
    assert phase_of(held.state, held.followed()) == (Phase.EXCUSED, "held on v1 by Ada")
    other = Member()
    other.on(PromoteRequested(Directive("v9", "api@1", "Ada")))
    assert other.followed().part is Part.HELD
    assert phase_of(other.state, Followed(None))[0] is Phase.EXCUSED


def test_a_node_that_went_back() -> None:
    """It has nothing to do with it any more."""
    node = Member().begins()
    node.passes()
    assert node.phase(Status.ABORTING) is Phase.NONE
    report = report_of(node.state, node.followed(Status.ABORTING), Figures(), {})
    assert (report.version, report.rollout) == ("v2", "")


def test_the_report_of_a_version_that_serves() -> None:
    """Which, in the place of which, in which state, and what was seen of it; what pairs saw stays when it is stable."""
    node = Member().begins()
    node.passes()
    pairs = pairs_of(node.state, {})
    assert pairs == {}
    node.on(PairsJudged(ref("v2"), replace(summary(900, 70), evidence=1.234), "too little"))
    pairs = pairs_of(node.state, pairs)
    node.after(POLICY.probation_s)
    node.after(POLICY.probation_s * POLICY.probation_longest)
    pairs = pairs_of(node.state, pairs)
    figures = Figures(since=1767225600, frames=1234, latency_ms=21.234, boxes=1.2345, golden=0.91)
    assert report_of(node.state, node.followed(), figures, pairs) == Report(
        version="v2",
        digest="sha256:v2",
        before="v1",
        state="STABLE",
        since=1767225600,
        rollout="r1",
        phase=Phase.STABLE,
        frames=1024,
        objects=64,
        evidence=1.2,
        latency_ms=21.2,
        boxes=1.23,
        golden=0.91,
    )
    node.on(intent("v3", 9))
    node.passes()
    assert pairs_of(node.state, pairs) == {}


def test_a_version_in_shadow_is_judged_before_it_serves() -> None:
    """What speaks against it is the fleet's to know as soon as it is known."""
    node = Member()
    node.on(IntentChanged(rollout_directive("yolo", a_rollout(plan=_with_shadow()))))
    node.passes()
    node.on(PairsJudged(ref("v2"), replace(summary(900, 70), evidence=2.0), ""))
    report = report_of(node.state, node.followed(), Figures(frames=8000), pairs_of(node.state, {}))
    assert (report.version, report.phase, report.state) == ("v1", Phase.BEGUN, "SHADOW")
    assert (report.evidence, report.objects) == (2.0, 64)


def test_what_is_made_ready_ahead() -> None:
    """Once it is; or why it can't be."""
    node = Member()

    def told(stage: Stage, ready: bool, why: str = "") -> tuple[str, str]:
        ahead = PreloadState("v2", stage, ready, why)
        report = report_of(node.state, node.followed(Status.PLANNED), Figures(), {}, ahead)
        return report.preloaded, report.preload_refused

    assert told(Stage.FETCHING, False) == ("", "")
    assert told(Stage.READY, True, "it serves") == ("v2", "")
    assert told(Stage.REJECTED, False, "gate smoke: no boxes") == ("v2", "gate smoke: no boxes")


def _with_shadow() -> Plan:
    return replace(a_rollout().plan, terms={"shadow": {"frames": 100_000}})


def test_a_restart_forgets_nothing_that_was_reported() -> None:
    """Frames go on from where they were; what pairs saw is as it was, until they see more."""
    before = Report(version="v2", digest="d", since=1767225600, frames=1024, objects=64, evidence=1.0)
    again = carried_on(Report(version="v2", digest="d", since=1767229200, frames=8), before)
    assert again.since == 1767225600
    assert carried_on(Report(version="v2", digest="d", since=7), replace(before, since=0)).since == 7
    assert (again.frames, again.objects, again.evidence) == (1024, 64, 1.0)
    grown = carried_on(Report(version="v2", digest="d", frames=600, objects=4, evidence=0.1), before)
    assert (grown.frames, grown.objects, grown.evidence) == (1536, 4, 0.1)
    for other in (Report(version="v3", digest="e"), Report(version="v2", digest="other"), Report()):
        assert carried_on(other, before) == other


def test_what_is_news() -> None:
    """Not each stage on the way, nor what moves a little all the time: each writing stays in the store's history."""
    before = Report(version="v2", state="STABLE", frames=64, latency_ms=20.0, boxes=1.0, evidence=0.2)
    assert not is_news(before, before)
    assert not is_news(before, replace(before, latency_ms=22.0, boxes=1.1, evidence=0.4))
    assert not is_news(before, replace(before, state="FETCHING"))
    changes: list[dict[str, Any]] = [
        {"latency_ms": 30.0},
        {"boxes": 0.5},
        {"evidence": 0.8},
        {"frames": 96},
        {"state": "REJECTED"},
        {"phase": Phase.BEGUN},
        {"version": "v3"},
        {"labels": {"line": "a"}},
    ]
    for change in changes:
        assert is_news(before, replace(before, **change))
    assert is_news(Report(), Report(boxes=0.1))


def test_what_the_status_shows() -> None:
    """The document, and this node in it; nothing where there is none."""
    node = Member().begins()
    me = Standing("yolo", "n1")
    view = view_of(node.state, node.followed(Status.PAUSED, why="n7 refused it"), me)
    assert view
    assert (view.is_in, view.phase, view.why, view.led) == (True, Phase.BEGUN, "n7 refused it", True)
    assert view_of(node.state, Followed(None), me) is None
    unknown = view_of(node.state, replace(node.followed(open_below=0), leader=None), me)
    assert unknown
    assert (unknown.is_in, unknown.led) == (False, None)
