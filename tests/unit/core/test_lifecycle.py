# SPDX-License-Identifier: AGPL-3.0-or-later
"""The lifecycle as data: which steps there are, and which there must not be."""

from __future__ import annotations

from itertools import product

import pytest

from edgeagent.core.lifecycle import TRANSITIONS, IllegalTransitionError, Stage, advance

PREPARATION = (Stage.FETCHING, Stage.VERIFYING, Stage.PREPARING, Stage.GATING, Stage.WARMING)
WAY_OF_AN_UPDATE = (*PREPARATION, Stage.READY, Stage.PROBATION, Stage.STABLE, Stage.DRAINING, Stage.RETIRED)


def test_the_table_speaks_of_every_stage() -> None:
    """No stage is forgotten, and none is made up."""
    assert set(TRANSITIONS) == set(Stage)


def test_the_way_of_an_update() -> None:
    """From wish to retirement, step by step."""
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


@pytest.mark.parametrize("stage", PREPARATION)
def test_whatever_is_prepared_can_wait_for_another_try(stage: Stage) -> None:
    """A network or a disk can fail at any time, through no fault of the version."""
    assert advance(stage, Stage.ASPIRED) is Stage.ASPIRED


@pytest.mark.parametrize("stage", [*PREPARATION, Stage.ASPIRED, Stage.READY, Stage.SHADOW, Stage.PROBATION])
def test_rejected_from_any_state_before_stable(stage: Stage) -> None:
    """The promise of the design."""
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
