# SPDX-License-Identifier: AGPL-3.0-or-later
"""A roll-out on real nodes, each in processes of its own, with a real etcd and coordinator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgeagent.core.rollout import Status
from tests.support.line import assert_seamless
from tests.support.real_fleet import RealFleet

LINE = {"url": "synthetic://conveyor?fps=2&width=320&height=192", "live": False}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[RealFleet]:
    """Three nodes that serve v1, and a coordinator."""
    with RealFleet(tmp_path, 3, LINE) as made:
        for version in ("v1", "v2"):
            made.one.publish(version)
        made.promote("v1")
        made.coordinate()
        for node in made.nodes.values():
            node.start()
        for node in made.nodes.values():
            node.wait_active("v1")
            node.wait_more(2)
        made.wait_reported()
        yield made
        made.show_logs()


@pytest.mark.soak
def test_back_from_the_second_wave_and_then_to_all(fleet: RealFleet) -> None:
    """Aborted in its second wave, a version goes from two nodes, and never came to the third; asked for again it
    reaches all, the canary first. No line loses a frame."""
    fleet.rollout("start", "v2", "--waves", "1,2,100%", "--bake", "0", "--approval", "manual")
    fleet.wait_serving("v2", 1)
    fleet.rollout("advance")
    fleet.wait_serving("v2", 2)
    fleet.rollout("abort", "--reason", "a test says so")
    fleet.wait_status(Status.ABORTED)
    assert fleet.serving("v1") == set(fleet.nodes)
    seen = sorted(node.wait_versions("v1") for node in fleet.nodes.values())
    assert seen == [["v1"], ["v1", "v2", "v1"], ["v1", "v2", "v1"]]

    fleet.rollout("start", "v2", "--waves", "1,100%", "--bake", "1", "--wait")
    assert fleet.serving("v2") == set(fleet.nodes)
    assert fleet.archived().status is Status.DONE
    for node in fleet.nodes.values():
        node.wait_versions("v2")
        assert_seamless(node.records())
    canary, *others = (node.last_swap() for node in fleet.in_order())
    assert canary < min(others)
