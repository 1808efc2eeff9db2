# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a row of the fault matrix is made of."""

from __future__ import annotations

from typing import Any

import pytest

from bench.fault_outcome import (
    NOT_CAUGHT,
    back_after,
    caught_by,
    decision,
    differs,
    longest_gap,
    lost_frames,
    served_by,
)
from tests.support.demo import record

GATES = [{"name": "contract", "passed": True}, {"name": "golden", "passed": False}]


def decided(result: str, event: str = "update", **more: Any) -> dict[str, Any]:
    """A record of the node's history."""
    return {"to_version": "bad", "event": event, "result": result, **more}


@pytest.mark.parametrize(
    ("found", "guard"),
    [
        (decided("rejected", gates=GATES), "gate golden"),
        (decided("rejected", gates=[], stages={"fetching": 0.1, "preparing": 2.0}), "preparing"),
        (decided("rejected", gates=GATES[:1], stages={"gating": 0.1, "shadow": 2.0}), "shadow"),
        (decided("rolled_back", "probation"), "probation"),
        (decided("rejected", "sentinel", gates=GATES[:1]), "sentinel"),
        (decided("stable"), NOT_CAUGHT),
    ],
)
def test_the_guard_that_caught_it(found: dict[str, Any], guard: str) -> None:
    """A gate by its name; else the stage in which it was, or the watch after the swap."""
    assert caught_by(found) == guard


def test_a_swap_decides_nothing() -> None:
    """What comes after it does; other versions are left aside."""
    history = [
        decided("swapped"),
        decided("stable") | {"to_version": "good"},
        decided("rolled_back", "probation") | {"from_version": "bad", "to_version": "good"},
        decided("rejected", why="quarantined"),
    ]
    assert decision(history, "bad") == history[2]
    assert decision(history[:2], "bad") is None


def test_frames_of_a_version_and_those_that_nobody_served() -> None:
    """Seconds from its first result to the first of the version before; a frame that failed is lost."""
    records = [record(seq, "good" if seq < 30 or seq >= 60 else "bad", 1) for seq in range(90) if seq != 45]
    assert len(served_by(records, "bad")) == 29
    assert lost_frames(records) == 1
    assert back_after(records, "bad") == pytest.approx(1.0)
    assert back_after(records, "other") == 0.0
    assert longest_gap(records, 1000.0) == pytest.approx(2 / 30)


def test_answers_differ_by_objects() -> None:
    """One that is missing, new, of another class or elsewhere; not by scores, nor by a pixel."""
    box = (10.0, 10.0, 30.0, 30.0)
    one = [(0, 0.9, box)]
    assert not differs(one, [(0, 0.4, (11.0, 10.0, 31.0, 30.0))])
    assert differs(one, [])
    assert differs([], one)
    assert differs(one, [(1, 0.9, box)])
    assert differs(one, [(0, 0.9, (30.0, 10.0, 50.0, 30.0))])
    assert differs([*one, *one], one)
