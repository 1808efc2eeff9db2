# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where there is no room for two: what serves is stopped, and comes back at once if the next one fails."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeagent.core.events import (
    CandidateFailed,
    EngineRetired,
    PastJudged,
    PrepareCandidate,
    ProbationBreached,
    RetireEngine,
    RollbackRequested,
    StageReached,
    StopServing,
    Swap,
    Tick,
)
from edgeagent.core.lifecycle import Stage
from edgeagent.core.state import PrepareMode
from edgeagent.errors import ConflictError
from tests.support.playbook import POLICY, UNPROVEN, Act, Playbook, begun, digest_of, intent, ref

STOP_START = replace(POLICY, stop_start=True)


def stopped(version: str = "v2") -> Playbook:
    """v1 has made room for another, which is loading."""
    node = Playbook(policy=STOP_START).serves("v1")
    node.on(intent(version, 2))
    node.reaches(*UNPROVEN[:-1])
    assert warms(node) == [StopServing(ref("v1"))]
    return node


def warms(node: Playbook) -> list[Act]:
    """The candidate has no room beside what serves; what is to be done."""
    c = node.state.candidate
    assert c is not None
    return node.on(StageReached(c.id, Stage.WARMING, digest_of(c.goal.version), stops=True))


def test_what_serves_is_stopped_before_the_next_is_loaded() -> None:
    """Once; nothing else is begun meanwhile, and what was in flight is finished."""
    node = stopped()
    assert (node.state.active, node.state.draining) == (None, (ref("v1"),))
    assert node.on(Tick()) == []
    assert node.on(EngineRetired(ref("v1"))) == []
    assert node.state.draining == ()


def test_the_swap_ends_the_gap_and_says_how_long_it_was() -> None:
    """From the stop on; the version is watched, without a standby."""
    node = stopped()
    node.now += 1.75
    assert node.reaches(Stage.READY) == [Swap(ref("v2"), 2)]
    record = node.records[-1]
    assert (record.result, record.from_version, record.to_version) == ("swapped", "v1", "v2")
    assert record.stages["gap"] == 1.75
    assert (node.state.run.gap, node.state.standby, node.state.stage) == (None, None, Stage.PROBATION)
    node.after(node.policy.probation_s)
    assert node.state.last_known_good == ref("v2")


def test_a_version_that_fails_in_its_gap_has_the_one_before_loaded_at_once() -> None:
    """From the cache, without gates; also when the failure might pass, for the gap isn't made again and again."""
    for transient in (False, True):
        node = stopped()
        c = node.state.candidate
        assert c is not None
        node.now += 1.0
        (act,) = node.on(CandidateFailed(c.id, "it doesn't load", transient))
        assert isinstance(act, PrepareCandidate)
        assert (act.goal.version, act.mode) == ("v1", PrepareMode.BOOT)
        node.now += 0.5
        assert node.passes() == [Swap(ref("v1"), 2)]
        assert node.state.stage is Stage.STABLE
        assert (node.records[-1].from_version, node.records[-1].stages["gap"]) == ("v1", 1.5)
        assert "v2 refused while warming" in node.state.last_error
        assert node.on(Tick()) == []


def test_an_intent_that_changes_in_the_gap_has_the_one_before_loaded_first() -> None:
    """What comes now has yet to be fetched."""
    node = stopped()
    acts = node.on(intent("v3", 3))
    assert begun(acts) == ["v1"]
    acts = node.passes()
    assert begun(acts) == ["v3"]
    assert node.state.active == ref("v1")


def test_a_roll_back_in_the_gap_is_told_why_not() -> None:
    """Nothing serves that it could go back from."""
    node = stopped()
    with pytest.raises(ConflictError, match="v1 made room"):
        node.on(RollbackRequested("Ada"))


def test_a_restart_in_the_gap_serves_the_last_known_good() -> None:
    """As any restart."""
    node = stopped()
    assert begun(node.restarts()) == ["v1"]


def test_the_standby_goes_too() -> None:
    """It takes room as well."""
    node = Playbook(policy=STOP_START).serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    assert node.state.standby == ref("v1")
    node.on(intent("v3", 3))
    node.reaches(*UNPROVEN[:-1])
    assert warms(node) == [StopServing(ref("v2")), RetireEngine(ref("v1"))]
    assert node.state.standby is None
    assert node.reaches(Stage.READY) == [Swap(ref("v3"), 3)]


def test_a_bad_version_without_a_standby_gives_way_to_the_one_before() -> None:
    """Which is loaded in its place; once."""
    node = stopped()
    node.reaches(Stage.READY)
    acts = node.crashes("v2")
    assert begun(acts) == ["v1"]
    assert node.records[-1].result == "rejected"
    node.reaches(Stage.VERIFYING, Stage.PREPARING)
    assert warms(node) == [StopServing(ref("v2"))]
    assert node.reaches(Stage.READY) == [Swap(ref("v1"), 3)]
    assert node.state.stage is Stage.STABLE
    assert node.on(Tick()) == []


def test_where_the_operator_did_not_allow_it_a_bad_version_without_a_standby_goes_on() -> None:
    """Better than nothing."""
    node = stopped()
    node.reaches(Stage.READY)
    node.policy = POLICY
    assert node.crashes("v2") == []
    assert node.state.active == ref("v2")


def on_probation() -> Playbook:
    """v2 serves in the place of v1, and nothing can be compared with it."""
    node = stopped()
    node.reaches(Stage.READY)
    return node


def test_a_version_that_does_worse_than_the_past_has_the_one_before_loaded() -> None:
    """The same way as one that fails; and it isn't tried again."""
    node = on_probation()
    (act,) = node.on(ProbationBreached(ref("v2"), "it finds 0.0 objects"))
    assert isinstance(act, PrepareCandidate)
    assert (act.goal.version, act.mode) == ("v1", PrepareMode.BOOT)
    assert node.on(ProbationBreached(ref("v2"), "it finds 0.0 objects")) == []
    assert "it finds 0.0 objects" in node.state.last_error


def test_a_watch_waits_for_the_blocks_that_the_past_needs() -> None:
    """It keeps no second version loaded; and ends with them."""
    node = on_probation()
    node.on(PastJudged(ref("v2"), "1 block", waits=True))
    node.after(node.policy.probation_s)
    assert node.state.stage is Stage.PROBATION
    node.now += 60
    node.on(PastJudged(ref("v2")))
    assert node.state.last_known_good == ref("v2")
    assert (node.records[-1].result, node.records[-1].why) == ("stable", "")


def test_a_watch_without_data_ends_with_a_word_about_that() -> None:
    """Whether no block ever comes, or the past says too little; missing data is not taken for health."""
    waits = on_probation()
    waits.on(PastJudged(ref("v2"), "0 blocks in a row", waits=True))
    waits.after(waits.policy.probation_s)
    waits.after(waits.policy.past_s - waits.policy.probation_s)
    nothing = on_probation()
    nothing.on(PastJudged(ref("v2"), "this line was watched for 0 blocks"))
    nothing.after(nothing.policy.probation_s)
    untold = on_probation()
    untold.after(untold.policy.probation_s)
    for node, why in ((waits, "0 blocks"), (nothing, "watched for 0 blocks"), (untold, "nothing was held")):
        assert node.state.last_known_good == ref("v2")
        assert "this line's past doesn't tell" in node.records[-1].why
        assert why in node.records[-1].why


def test_what_the_past_says_may_only_be_reported() -> None:
    """As what pairs say; the limits of health act in any case."""
    reports = replace(STOP_START, pairs=replace(STOP_START.pairs, reports=frozenset({"probation"})))
    node = on_probation()
    node.policy = reports
    assert node.on(ProbationBreached(ref("v2"), "it finds 0.0 objects", by_past=True)) == []
    assert (node.records[-1].result, node.records[-1].why) == ("reported", "it finds 0.0 objects")
    node.after(node.policy.probation_s)
    assert node.records[-1].why == "what was seen speaks against it: it finds 0.0 objects"
    other = on_probation()
    other.policy = reports
    (act,) = other.on(ProbationBreached(ref("v2"), "its memory grows"))
    assert isinstance(act, PrepareCandidate)


def test_what_has_nothing_to_go_back_to_is_told_once() -> None:
    """It goes on, and doesn't become stable without a word."""
    node = on_probation()
    node.policy = POLICY
    for _ in range(3):
        assert node.on(ProbationBreached(ref("v2"), "its memory grows")) == []
    assert [record.result for record in node.records].count("reported") == 1
    node.after(node.policy.probation_s)
    assert node.records[-1].why == "what was seen speaks against it: its memory grows"
