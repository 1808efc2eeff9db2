# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two versions side by side: which nodes count, with which figures."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import CANARIES, PLACES, Status
from edgeagent.core.rollout_compare import compare
from edgeagent.core.student import Estimate
from tests.support.fleets import a_fleet, a_rollout, took

INSIDE = ("a", "b", "c")


def old(**said: float) -> Report:
    """Of a node that isn't in."""
    return Report(version="v1", **said)


def test_figures_are_means_over_nodes() -> None:
    """One that has seen ten times as many frames counts once, too."""
    fleet = a_fleet(
        {
            "a": took(frames=1000, boxes=2.0, latency_ms=20.0, golden=0.9),
            "b": took(frames=100, boxes=4.0, latency_ms=30.0),
            "x": old(frames=500, boxes=3.0, latency_ms=10.0),
            "y": old(frames=700, boxes=3.0, latency_ms=10.0),
        }
    )
    found = compare(a_rollout(Status.ROLLING, waves=(CANARIES, "100%"), canaries=INSIDE), fleet)
    assert (found.inside.version, found.inside.nodes, found.inside.serving) == ("v2", 2, 2)
    assert (found.outside.version, found.outside.nodes, found.outside.serving) == ("v1", 2, 2)
    assert found.inside.figures["boxes"].mean == 3.0
    assert found.inside.figures["golden"] == Estimate(1, 0.9)  # the other one has none
    assert found.outside.figures["golden"] == Estimate(0)
    latency = found.differences["latency_ms"]
    assert latency.mean == 15.0
    assert latency.low is not None
    assert latency.low < 15.0
    assert found.chosen == 2


def test_only_who_serves_the_version_has_figures_of_it() -> None:
    """Who refused it, went back, is away, or is pinned shows something else."""
    fleet = a_fleet(
        {
            "a": took(Phase.REFUSED, frames=10, boxes=1.0),
            "b": took(Phase.ROLLED_BACK, frames=10, boxes=1.0),
            "c": took(frames=10, boxes=1.0),
            "x": old(frames=10, boxes=1.0),
            "y": replace(old(frames=10, boxes=9.0), version="v9"),
            "z": replace(old(frames=10, boxes=9.0), phase=Phase.EXCUSED),
        },
        away=("c",),
    )
    found = compare(a_rollout(Status.ROLLING, waves=(CANARIES, "100%"), canaries=INSIDE), fleet)
    assert (found.inside.nodes, found.inside.serving) == (3, 0)
    assert found.inside.figures["boxes"] == Estimate(0)
    assert (found.outside.nodes, found.outside.serving) == (2, 1)
    assert found.outside.figures["boxes"].mean == 1.0
    assert found.inside.refused.mean == pytest.approx(1 / 3)
    assert found.inside.rolled_back.mean == pytest.approx(2 / 3)  # one vanished with it
    assert found.inside.refused.low is not None
    assert 0 < found.inside.refused.low < 1 / 3
    assert found.outside.refused == Estimate(0)


def test_none_has_failed_is_no_certainty() -> None:
    """Of three nodes, none went back: up to 71 % might."""
    fleet = a_fleet({name: took() for name in INSIDE})
    rolled_back = compare(
        a_rollout(Status.ROLLING, waves=(CANARIES, "100%"), canaries=INSIDE), fleet
    ).inside.rolled_back
    assert rolled_back.mean == 0
    assert rolled_back.high == pytest.approx(0.708, abs=1e-3)


def test_nodes_that_fell_in_by_their_place_are_not_chosen() -> None:
    """All places are open, and nobody is outside."""
    rollout = replace(a_rollout(Status.ROLLING), wave=3, open_below=PLACES)
    found = compare(rollout, a_fleet({"a": took(), "b": Report()}))
    assert (found.inside.nodes, found.outside.nodes, found.chosen) == (2, 0, 0)
    assert found.differences["frames"] == Estimate(0)
