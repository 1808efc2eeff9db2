# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who is in, in which order, and with what."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeagent.core.directive_fields import ShadowTerms
from edgeagent.core.fleet_report import Phase, Report
from edgeagent.core.rollout import (
    CANARIES,
    PLACES,
    Rollout,
    Status,
    is_in,
    place,
    rollout_directive,
    wave_size,
)
from edgeagent.core.rollout_view import Fleet, Member, openings
from tests.support.rollouts import CURRENT, a_rollout, node


def a_fleet(nodes: int, **labels: str) -> Fleet:
    """All there, none excused."""
    return Fleet({node(n): Member(True, Report(labels=labels)) for n in range(nodes)}, CURRENT)


def opened(rollout: Rollout, fleet: Fleet, index: int) -> Rollout:
    """With the waves up to that one open."""
    opening = openings(rollout, fleet)[index]
    return replace(rollout, wave=opening.index, open_below=opening.below, status=Status.ROLLING)


def inside(rollout: Rollout, fleet: Fleet) -> set[str]:
    """The nodes that find themselves in."""
    return {n for n, m in fleet.members.items() if is_in(rollout, n, m.report.labels)}


def test_a_place_is_the_same_on_every_machine() -> None:
    """A node of another release, and a script, must come to the same: 52 bits of SHA-256 of salt, NUL and name."""
    assert place("s", "press-07") == 0x1721BDBCCE809
    assert place("t", "press-07") != place("s", "press-07")
    assert 0 <= place("", "") < PLACES


@pytest.mark.parametrize(
    ("wave", "nodes", "size"),
    [
        ("1", 0, 0),
        ("1", 1, 1),
        ("7", 5, 5),
        ("7", 300, 7),
        ("5%", 300, 15),
        ("5%", 301, 16),
        ("5%", 1, 1),
        ("5%", 0, 0),
        ("0.07%", 10_000, 7),  # as floats 7.000000000000001, of which 8 would be the next whole number
        ("0.000001%", 2000, 1),
        ("33.3%", 1000, 333),
        ("100%", 300, 300),
        (CANARIES, 300, 0),
    ],
)
def test_how_many_belong_to_a_wave(wave: str, nodes: int, size: int) -> None:
    """A share is rounded up, so that each wave of somebody has somebody."""
    assert wave_size(wave, nodes) == size


@pytest.mark.parametrize("nodes", [0, 1, 2, 10, 300])
def test_waves_have_exact_counts_and_each_includes_those_before(nodes: int) -> None:
    """Whatever the fleet."""
    rollout, fleet = a_rollout(waves=("1", "3", "5%", "25%", "100%")), a_fleet(nodes)
    before: set[str] = set()
    for index, wave in enumerate(rollout.plan.waves):
        now = inside(opened(rollout, fleet, index), fleet)
        assert before <= now
        assert len(now) == max(len(before), wave_size(wave, nodes))
        before = now
    assert len(before) == nodes


def test_another_salt_is_another_order() -> None:
    """It isn't the same node that always comes first."""
    fleet = a_fleet(300)
    firsts = {openings(a_rollout(salt=f"{n}"), fleet)[0].brings[0] for n in range(40)}
    assert len(firsts) > 30


def test_no_node_is_in_before_a_wave_is_open() -> None:
    """Not even a canary."""
    planned = a_rollout(waves=(CANARIES, "100%"), canaries=(node(1),))
    assert inside(planned, a_fleet(5)) == set()


def test_canaries_are_named_or_have_all_labels() -> None:
    """And are in with every wave, wherever their places are."""
    rollout = a_rollout(
        waves=(CANARIES, "100%"), canaries=("press-9",), selector={"line": "a", "hall": "north"}
    )
    rollout = replace(rollout, wave=0, status=Status.ROLLING)
    assert is_in(rollout, "press-9", {})
    assert is_in(rollout, "press-1", {"line": "a", "hall": "north", "shift": "2"})
    assert not is_in(rollout, "press-1", {"line": "a"})
    assert not is_in(rollout, "press-1", {})
    by_name = a_rollout(waves=(CANARIES, "100%"), canaries=("press-9",), wave=0, status=Status.ROLLING)
    assert not is_in(by_name, "press-1", {"line": "a"}), "no selector meets nobody, not everybody"


@given(canaries=st.sets(st.integers(0, 19), min_size=1, max_size=20))
def test_canaries_count_in_the_waves_that_follow(canaries: set[int]) -> None:
    """A quarter is a quarter, with them."""
    rollout = a_rollout(waves=(CANARIES, "5", "50%", "100%"), canaries=tuple(map(node, sorted(canaries))))
    fleet = a_fleet(20)
    sizes = [len(inside(opened(rollout, fleet, index), fleet)) for index in range(4)]
    assert sizes == [len(canaries), max(5, len(canaries)), max(10, len(canaries)), 20]


def test_who_joins_late_falls_where_it_belongs() -> None:
    """Half of those that come are in with half; all of them once all are, whatever their place."""
    rollout, fleet = a_rollout(waves=("50%", "100%")), a_fleet(200)
    newcomers = [f"late-{n}" for n in range(1000)]
    half = opened(rollout, fleet, 0)
    assert 400 < sum(is_in(half, name, {}) for name in newcomers) < 600
    assert all(is_in(opened(half, fleet, 0), name, {}) for name in newcomers)


def test_who_is_away_or_excused_is_not_counted_and_in_all_the_same() -> None:
    """Else a node could keep out of the fleet by being off when a wave opens."""
    rollout, fleet = a_rollout(waves=("50%", "100%")), a_fleet(10)
    members = dict(fleet.members)
    for name in list(members)[:4]:
        members[name] = Member(False, members[name].report)
    for name in list(members)[4:6]:
        members[name] = Member(True, Report(phase=Phase.EXCUSED))
    fleet = Fleet(members, CURRENT)
    first, last = openings(rollout, fleet)
    assert len(first.nodes) == 2
    assert len(last.nodes) == 4
    assert len(inside(opened(rollout, fleet, 1), fleet)) == 10


def test_two_nodes_with_one_place_are_in_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs chance of one in 10^9 for a fleet of 2,000; nothing is stuck then, and none is left out."""
    monkeypatch.setattr("edgeagent.core.rollout_view.place", lambda salt, name: 7)
    monkeypatch.setattr("edgeagent.core.rollout.place", lambda salt, name: 7)
    fleet = a_fleet(3)
    assert len(inside(opened(a_rollout(), fleet, 0), fleet)) == 3


def test_places_below_which_nodes_are_in_never_sink() -> None:
    """When the fleet is smaller at the next wave, nobody has to go back."""
    rollout = opened(a_rollout(waves=("10", "50%", "100%")), a_fleet(10), 0)
    assert [o.below >= rollout.open_below for o in openings(rollout, a_fleet(4))] == [True, True]


def test_what_nodes_that_are_in_should_serve() -> None:
    """It says on whose word, and stays the same whatever becomes of the roll-out."""
    rollout = a_rollout(by="Ada", reason="finds dents", terms={"shadow": {"seconds": 120}, "by": "nobody"})
    directive = rollout_directive("yolo", rollout)
    assert directive.version == "v2"
    assert directive.intent_id == "/models/yolo/rollout@r1"
    assert (directive.by, directive.reason) == ("Ada", "finds dents")
    assert directive.shadow == ShadowTerms(120.0)
    later = replace(rollout, status=Status.PAUSED, wave=1, open_below=7, why="look at it")
    assert rollout_directive("yolo", later) == directive
