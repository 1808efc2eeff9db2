# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is made of the nodes' reports: evidence, waves to come, and a sentence."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from math import floor, log
from typing import Any

import pytest

from edgeagent.core.evidence import log_evidence
from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import CANARIES, Rollout, Status, place
from edgeagent.core.rollout_steps import EVIDENCE_LIMIT, paused
from edgeagent.core.rollout_view import Fleet, Member, View, in_words, named, openings
from tests.support.rollouts import CURRENT, Led, a_rollout, node

ROLLING: Rollout = replace(a_rollout(), status=Status.ROLLING, wave=1, open_below=1)


def together(*told: tuple[float, int], phase: Phase = Phase.STABLE, version: str = "v2") -> float:
    """The evidence of nodes that tell so much each, after so many objects."""
    members = {
        node(n): Member(True, Report(version, rollout="r1", phase=phase, evidence=evidence, objects=objects))
        for n, (evidence, objects) in enumerate(told)
    }
    return View(ROLLING, Fleet(members, CURRENT)).evidence


# -- evidence ----------------------------------------------------------------------------------------


def test_many_nodes_that_are_each_a_little_worse() -> None:
    """None of them would have gone back."""
    assert together(*[(1.0, 64)] * 3) < EVIDENCE_LIMIT < together(*[(1.0, 64)] * 8)


def test_one_node_that_is_much_worse_among_many_that_are_well() -> None:
    """Their number counts little: it isn't one of many looks, but of many lines."""
    assert together((6.0, 64), *[(0.0, 64)] * 99) > EVIDENCE_LIMIT
    assert together((3.0, 64), *[(0.0, 64)] * 99) < EVIDENCE_LIMIT


def test_nodes_that_saw_nothing_say_nothing() -> None:
    """Neither for the version nor against it."""
    assert together() == 0.0
    assert together(*[(0.0, 0)] * 50) == pytest.approx(0.0)
    assert together(*[(1.0, 64)] * 8, *[(0.0, 0)] * 500) > EVIDENCE_LIMIT


@pytest.mark.parametrize("told", [1e15, -1e15])
def test_hostile_figures(told: float) -> None:
    """Anything that a report may hold."""
    assert isinstance(together((told, 64), (told, 0)), float)


@pytest.mark.parametrize("about", [{"phase": Phase.BEGUN}, {"phase": Phase.ROLLED_BACK}, {"version": "v1"}])
def test_evidence_about_another_version(about: dict[str, Any]) -> None:
    """It is about what serves."""
    assert together((9.0, 64), **about) == 0.0


@cache
def told(hits: int, misses: int) -> float:
    """As a node tells it: a power of ten, rounded down."""
    return floor(10 * log_evidence(hits, misses, 0.5) / log(10)) / 10


def highest(rng: random.Random, nodes: int, objects: int, worse: float) -> float:
    """The most that the nodes' evidence together ever comes to, when each object that only one version finds is the
    incumbent's with this probability."""
    hits, most = [0] * nodes, 0.0
    for seen in range(1, objects + 1):
        for n in range(nodes):
            hits[n] += rng.random() < worse
        most = max(most, together(*[(told(h, seen - h), seen) for h in hits]))
    return most


def test_equal_versions_seldom_look_unequal_however_often_one_looks() -> None:
    """An e-value above 10 at any time: at most one roll-out in ten."""
    rng = random.Random(11)
    assert sum(highest(rng, 5, 40, 0.5) >= 1.0 for _ in range(100)) <= 10


def test_unequal_versions_do_before_any_node_is_sure() -> None:
    """Of those that only one finds, three in four are the incumbent's."""
    rng = random.Random(11)
    assert sum(highest(rng, 8, 40, 0.75) >= EVIDENCE_LIMIT for _ in range(20)) >= 18


# -- the waves to come -------------------------------------------------------------------------------


def test_a_dry_run() -> None:
    """Canaries first, then in the order of places; waves that bring in nobody are there, too."""
    rollout = a_rollout(waves=(CANARIES, "1", "50%", "100%"), canaries=(node(7),))
    fleet = Led(rollout, 10).fleet
    coming = openings(rollout, fleet)
    order = sorted((node(n) for n in range(10) if n != 7), key=lambda n: place("s", n))
    assert [o.brings for o in coming] == [(node(7),), (), tuple(order[:4]), tuple(order[4:])]
    assert [len(o.nodes) for o in coming] == [1, 1, 5, 10]
    assert [o.index for o in coming] == [0, 1, 2, 3]


def test_of_a_roll_out_under_way_what_is_still_to_come() -> None:
    """Who is in isn't brought in again, though it is away when the next wave is counted."""
    run = Led(a_rollout(waves=("2", "4", "100%")))
    run.to_wave(0)
    run.goes(run.inside[0])
    coming = openings(run.rollout, run.fleet)
    assert [o.index for o in coming] == [1, 2]
    assert [len(o.brings) for o in coming] == [3, 5]
    assert not {*coming[0].brings, *coming[1].brings} & set(run.inside)


# -- in words ----------------------------------------------------------------------------------------


def test_how_far_it_is_in_words() -> None:
    """Each node once."""
    run = Led(a_rollout(waves=("1", "100%"), max_failures=3), 12)
    assert in_words(run.rollout, run.fleet) == "planned: no wave of 2 is open"
    run.to_wave(1)
    phases = [
        Phase.STABLE,
        Phase.STABLE,
        Phase.SWAPPED,
        Phase.BEGUN,
        Phase.WAITING,
        Phase.REFUSED,
        Phase.ROLLED_BACK,
        Phase.STABLE,
        Phase.EXCUSED,
        Phase.EXCUSED,
    ]
    run.members = {n: Member(True, Report("v1")) for n in run.members}
    for n, phase in enumerate(phases):
        run.tell(node(n), phase)
    run.goes(node(7), node(9), node(11))
    assert in_words(run.rollout, run.fleet) == (
        "wave 2 of 2 (100%) is rolling: 2 of 9 nodes stable, 1 on probation, 1 preparing, 2 waiting to begin, "
        "1 refused, 1 went back, 1 vanished, 1 excused, 2 away"
    )
    run.rollout = paused(run.rollout, "lunch")
    assert in_words(run.rollout, run.fleet).startswith("wave 2 of 2 (100%) is paused: 2 of 9 nodes stable")
    assert in_words(run.rollout, run.fleet).endswith("; lunch")


@pytest.mark.parametrize("status", [Status.ABORTING, Status.DONE, Status.SUPERSEDED])
def test_how_it_ends_in_words(status: Status) -> None:
    """The nodes follow something else by then; what they serve is known."""
    run = Led(a_rollout(waves=("1", "100%")), 3)
    run.to_wave(1)
    run.members = {n: Member(True, Report("v1")) for n in run.members}
    run.members[node(0)] = Member(True, Report("v2"))
    run.rollout = replace(run.rollout, status=status, why="lunch")
    assert (
        in_words(run.rollout, run.fleet) == f"{status} in wave 2 of 2 (100%), nodes that serve it: 1; lunch"
    )


def test_how_far_preparing_is_in_words() -> None:
    """Before the first wave."""
    run = Led(a_rollout(preload=True), 3)
    run.members[node(0)] = Member(True, Report("v1", preloaded="v2"))
    assert in_words(run.rollout, run.fleet) == "planned: no wave of 3 is open, 1 of 3 nodes have prepared it"


def test_a_sentence_names_a_few() -> None:
    """The status has them all."""
    assert named(["b", "a"]) == "a, b"
    assert named(node(n) for n in range(9)) == "node-0, node-1, node-2, node-3, node-4 and 4 more"
