# SPDX-License-Identifier: AGPL-3.0-or-later
"""How far a roll-out is, for those who look at it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import CANARIES, Rollout, Status
from edgeagent.core.rollout_progress import Wave, progress_of
from tests.support.fleets import a_fleet, a_rollout, took

ROLLING = a_rollout(
    Status.ROLLING, waves=(CANARIES, "100%"), canaries=("a", "b", "c", "d", "e", "f"), reason="ticket 7"
)
FLEET = a_fleet(
    {
        "a": took(),
        "b": took(Phase.BEGUN),
        "c": took(Phase.REFUSED, why="class names differ"),
        "d": took(Phase.ROLLED_BACK, why="it misses parts"),
        "e": took(Phase.SWAPPED),
        "f": replace(Report(version="v1"), phase=Phase.EXCUSED, why="pinned"),
        "x": Report(version="v1"),
    },
    away=("e",),
)


def test_each_node_of_the_open_waves_is_accounted_for() -> None:
    """With the reason of those that don't have the version."""
    found = progress_of(ROLLING, FLEET, has_leader=True)
    assert (found.fleet, found.nodes, found.stable) == (5, 5, 1)
    assert found.pending == ("b",)
    assert found.refused == {"c": "class names differ"}
    assert found.failed == {"d": "it misses parts", "e": "vanished with it"}
    assert found.excused == {"f": "pinned"}
    assert found.away == ()
    assert "wave 1 of 2 (canaries) is rolling" in found.summary
    assert found.notes == ()


def test_who_was_away_before_has_not_failed() -> None:
    """It is waited for by nobody."""
    fleet = a_fleet({"a": took(), "b": Report(version="v1")}, away=("b",))
    found = progress_of(ROLLING, fleet, has_leader=True)
    assert (found.away, found.failed, found.pending) == (("b",), {}, ())


def test_each_wave_is_told_with_its_nodes() -> None:
    """Those that are open, and those to come."""
    assert progress_of(ROLLING, FLEET, has_leader=True).waves == (
        Wave(CANARIES, 4, True),
        Wave("100%", 5, False),
    )


@pytest.mark.parametrize(
    ("rollout", "revision", "has_leader", "note"),
    [
        (ROLLING, "7", False, "no coordinator leads"),
        (ROLLING, "8", True, "somebody wrote `current`"),
        (replace(ROLLING, status=Status.PAUSED), "7", True, "no further wave opens until"),
        (replace(ROLLING, advance=True), "7", True, "the next wave opens as soon as"),
    ],
)
def test_what_else_is_to_be_known(rollout: Rollout, revision: str, has_leader: bool, note: str) -> None:
    """Each in a sentence."""
    notes = progress_of(rollout, replace(FLEET, current_revision=revision), has_leader).notes
    assert len(notes) == 1
    assert notes[0].startswith(note)


def test_of_one_that_has_ended_nothing_is_to_be_done() -> None:
    """Whoever leads, and whatever `current` says by now."""
    ended = replace(ROLLING, status=Status.DONE)
    assert progress_of(ended, replace(FLEET, current_revision="9"), has_leader=False).notes == ()
