# SPDX-License-Identifier: AGPL-3.0-or-later
"""The lifecycle as data: which steps there are, and which there must not be."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from edgeagent.core import lifecycle
from edgeagent.core.directive_fields import ShadowTerms
from edgeagent.core.events import (
    CandidateFailed,
    EngineRetired,
    RefuseRequested,
    RollbackRequested,
    StageReached,
)
from edgeagent.core.lifecycle import TRANSITIONS, IllegalTransitionError, Stage, advance
from tests.support.playbook import UNPROVEN, Playbook, digest_of, intent, ref

PREPARATION = (Stage.FETCHING, Stage.VERIFYING, Stage.PREPARING, Stage.GATING, Stage.WARMING)
WAY_OF_AN_UPDATE = (*PREPARATION, Stage.READY, Stage.PROBATION, Stage.STABLE, Stage.DRAINING, Stage.RETIRED)


def test_the_table_speaks_of_every_stage() -> None:
    """No stage is forgotten, and none is made up."""
    assert set(TRANSITIONS) == set(Stage)


def test_the_way_of_an_update() -> None:
    """From intent to retirement, step by step."""
    stage = Stage.ASPIRED
    for step in WAY_OF_AN_UPDATE:
        stage = advance(stage, step)
    assert stage is Stage.RETIRED


def test_a_version_that_has_served_well_skips_the_gates() -> None:
    """Hashes are checked all the same; probation is not asked of it again."""
    stage = Stage.FETCHING
    for step in (Stage.VERIFYING, Stage.PREPARING, Stage.WARMING, Stage.READY, Stage.STABLE):
        stage = advance(stage, step)


def test_shadow_stands_between_ready_and_probation() -> None:
    """The optional stage."""
    assert advance(advance(Stage.READY, Stage.SHADOW), Stage.PROBATION) is Stage.PROBATION


@pytest.mark.parametrize("stage", [*PREPARATION, Stage.SHADOW])
def test_whatever_is_prepared_can_wait_for_another_try(stage: Stage) -> None:
    """A network or a disk can fail at any time, through no fault of the version."""
    assert advance(stage, Stage.ASPIRED) is Stage.ASPIRED


@pytest.mark.parametrize("stage", [*PREPARATION, Stage.READY, Stage.SHADOW, Stage.PROBATION])
def test_rejected_from_any_state_before_stable(stage: Stage) -> None:
    """Once something was found out about it."""
    assert advance(stage, Stage.REJECTED) is Stage.REJECTED


@pytest.mark.parametrize("stage", [Stage.STABLE, Stage.DRAINING])
def test_what_has_earned_its_place_is_not_rejected(stage: Stage) -> None:
    """It can only be replaced."""
    with pytest.raises(IllegalTransitionError):
        advance(stage, Stage.REJECTED)


@pytest.mark.parametrize(("stage", "to"), [*product((Stage.RETIRED, Stage.REJECTED), Stage)])
def test_no_way_out_of_the_end(stage: Stage, to: Stage) -> None:
    """What is retired or rejected comes back as a new candidate, not as itself."""
    with pytest.raises(IllegalTransitionError):
        advance(stage, to)


@pytest.mark.parametrize("stage", Stage)
def test_every_stage_is_reached_from_aspired(stage: Stage) -> None:
    """No stage is there for show."""
    seen: set[Stage] = set()
    ahead = {Stage.ASPIRED}
    while ahead:
        seen |= ahead
        ahead = {to for at in ahead for to in TRANSITIONS[at]} - seen
    assert stage in seen


@pytest.mark.parametrize(
    ("stage", "to"), [(a, b) for a, b in product(Stage, Stage) if b not in TRANSITIONS[a]]
)
def test_any_other_step_raises_and_names_it(stage: Stage, to: Stage) -> None:
    """Also a step on the spot: nothing is entered twice."""
    with pytest.raises(IllegalTransitionError, match=f"{stage} -> {to}"):
        advance(stage, to)


@pytest.mark.parametrize("to", [Stage.PROBATION, Stage.STABLE])
def test_only_what_is_ready_may_serve(to: Stage) -> None:
    """No short cut to the line."""
    sources = {stage for stage in Stage if to in TRANSITIONS[stage]}
    assert sources <= {Stage.READY, Stage.SHADOW, Stage.PROBATION}


# -- lived -------------------------------------------------------------------------------------------

Step = tuple[Stage, Stage]
LISTED = {(stage, to) for stage, ahead in TRANSITIONS.items() for to in ahead}


class _Taken(dict[Stage, frozenset[Stage]]):
    """The table, which notes what it is asked for."""

    def __init__(self) -> None:
        super().__init__(TRANSITIONS)
        self.steps: set[Step] = set()

    def __getitem__(self, stage: Stage) -> Any:
        return _Ahead(self, stage)


class _Ahead:
    def __init__(self, taken: _Taken, stage: Stage) -> None:
        self._taken, self._stage = taken, stage

    def __contains__(self, to: Stage) -> bool:
        self._taken.steps.add((self._stage, to))
        return to in TRANSITIONS[self._stage]


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> set[Step]:
    """The steps that the reconciler takes."""
    table = _Taken()
    monkeypatch.setattr(lifecycle, "TRANSITIONS", table)
    return table.steps


def updates() -> None:
    """From the intent to the end of probation, and out again when the next is stable."""
    node = Playbook().serves("v1", "v2", "v3")
    for version in ("v1", "v2"):
        node.on(EngineRetired(ref(version)))


def roll_back() -> None:
    """To the standby, which is warm; and later, by loading it anew."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    node.on(RollbackRequested("Ada"))
    node.on(intent("v2", 3))
    node.passes()
    node.after(node.policy.probation_s)
    node.on(RollbackRequested("Ada"))
    node.passes()


def roll_back_by_probation() -> None:
    """The version fails while it is watched."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.passes()
    node.crashes("v2")


def ends_at(end: str, stages: tuple[Stage, ...]) -> None:
    """A candidate that came so far is tried again later, refused, or superseded."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(*stages)
    match end:
        case "waits":
            node.fails("disk", transient=True)
            node.after(node.policy.retry_min_s)
        case "is superseded while it waits":
            node.fails("disk", transient=True)
            node.on(intent("v3", 3))
        case "is refused":
            node.fails("bad")
        case "is superseded":
            node.on(intent("v3", 3))


def known_good_watched_again() -> None:
    """It failed at the start, came back by its gates, and stays warm for the version after it."""
    node = Playbook().serves("v1")
    node.restarts()
    node.fails("weights don't load")
    node.on(intent("v1", 2))
    node.passes()
    assert node.state.stage is Stage.PROBATION
    node.on(intent("v2", 3))
    node.passes()
    assert node.state.standby == ref("v1")
    node.crashes("v2")
    assert node.state.active == ref("v1")


def shadow() -> None:
    """Beside what serves: it comes in, is refused, superseded, or loses its worker to somebody else's signal."""
    for end in ("time", "refused", "superseded", "killed"):
        node = Playbook().serves("v1")
        node.on(intent("v2", 2, approval="manual"))
        node.passes()
        c = node.state.candidate
        assert c is not None
        match end:
            case "time":
                node.on(intent("v2", 3, shadow=ShadowTerms(0)))
                assert node.state.stage is Stage.PROBATION
            case "refused":
                node.on(RefuseRequested("Ada", "scratches"))
            case "superseded":
                node.on(intent("v3", 3))
            case "killed":
                node.on(CandidateFailed(c.id, "killed from outside", transient=True))


def content_known_late() -> None:
    """That it was refused before shows when it is ready only."""
    node = Playbook().serves("v1")
    node.on(intent("v2", 2))
    node.reaches(Stage.VERIFYING)
    node.fails("bad")
    node.store_changes()
    c = node.state.candidate
    assert c is not None
    for stage in UNPROVEN:
        node.on(StageReached(c.id, stage))
    node.on(StageReached(c.id, Stage.READY, digest_of("v2")))


def test_every_listed_step_is_taken(taken: set[Step]) -> None:
    """By some course of events; nothing stands in the table for show."""
    updates()
    roll_back()
    roll_back_by_probation()
    known_good_watched_again()
    content_known_late()
    shadow()
    for end in ("waits", "is superseded while it waits", "is refused", "is superseded"):
        for count in range(len(UNPROVEN) + 1):
            ends_at(end, UNPROVEN[:count])
    assert taken == LISTED
