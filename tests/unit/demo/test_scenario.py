# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long the scenario takes, and when it holds."""

from __future__ import annotations

from typing import Any

import pytest

from edgeagent.demo.console import Console
from edgeagent.demo.demo_node import DemoNode
from edgeagent.demo.judgement import judge
from edgeagent.demo.scenario import Change, Pace, Scenario, short
from edgeagent.testing import PIPELINE
from tests.support.demo import figures_of, good_run, record
from tests.support.statuses import a_status


class StoppedNode(DemoNode):
    """Has said all that it has to say: so many frames dropped for want of time."""

    def __init__(self, busy: int) -> None:
        self.url, self._busy = "http://nowhere", busy

    def new_records(self, pipeline: str = PIPELINE) -> list[dict[str, Any]]:
        return []

    def status(self) -> dict[str, Any]:
        return a_status(busy=self._busy).model_dump()


def judged(records: list[Any], rollbacks: int = 2, busy: int = 0, other_load: float = 0.0) -> dict[str, bool]:
    """Which expectations hold. busy: frames that the node says it dropped for want of time."""
    measurements = figures_of(records)
    scenario = Scenario(StoppedNode(busy), measurements, Console(), Pace.of(None))
    scenario.settle()
    done = Change("roll back", "v1", 0.0, "swapped", serving_ms=20.0)
    scenario.changes += [done] * rollbacks
    judge(scenario, measurements, other_load)
    return {e.name.split()[0]: e.held for e in scenario.expectations}


def test_pace_follows_the_seconds_asked_for() -> None:
    """40 s by default; never without any watching, and always a probation."""
    assert Pace.of(None).planned == Pace.of(45).planned == 45
    assert Pace.of(80).planned == pytest.approx(80)
    assert Pace.of(1) * 7 > 0
    assert Pace.of(1).probation == 2
    assert Pace.of(1e6).probation == 20


def test_a_good_run_meets_every_expectation() -> None:
    """Nothing lost, more found, rolled back twice."""
    assert judged(good_run()) == {"v2": True, "roll-back": True, "only": True, "no": True}


@pytest.mark.parametrize(
    ("records", "rollbacks", "failed"),
    [
        ([r for r in good_run() if r["seq"] != 25], 2, "no"),
        ([*good_run(), record(39, "v2", 4, 0.6)], 2, "no"),
        ([*good_run(), record(40, "v3-permuted", 5)], 2, "only"),
        ([*good_run(), record(40, "v1", 4)], 2, "only"),
        (good_run(), 1, "roll-back"),
        ([record(i, "v1", 1) for i in range(9)], 2, "v2"),
        ([], 2, "no"),
    ],
)
def test_each_expectation_can_fail(records: list[Any], rollbacks: int, failed: str) -> None:
    """A lost or doubled frame, a bad version, a missing roll-back, no improvement."""
    assert judged(records, rollbacks)[failed] is False


@pytest.mark.parametrize(
    ("busy", "other_load", "held"),
    [(1, 0.6, True), (1, 0.02, False), (0, 0.6, False)],
    ids=["the machine's", "of a quiet machine", "one that the node doesn't know of"],
)
def test_a_lost_frame_is_the_machines_only_if_it_was_taken_by_others(
    busy: int, other_load: float, held: bool
) -> None:
    """Dropped for want of time while other programs ran: no fault of what the demo shows. Any other loss is."""
    records = [r for r in good_run() if r["seq"] != 25]
    assert judged(records, busy=busy, other_load=other_load)["no"] is held
    assert judged([*records, record(39, "v2", 4, 0.6)], busy=busy, other_load=other_load)["no"] is False


def test_hashes_are_shortened_and_nothing_else() -> None:
    """64 hexadecimal digits become eight."""
    assert short(f"sha256 {'ab' * 32}; size 2515734") == "sha256 abababab…; size 2515734"
