# SPDX-License-Identifier: AGPL-3.0-or-later
"""When the frames of a pipeline keep failing."""

from __future__ import annotations

import pytest

from edgeagent.serving.fault_level import FaultLevel
from tests.support.routing import FakeEngine, RouterHarness


@pytest.mark.parametrize(
    ("frames", "is_told"),
    [
        ("xxx", True),  # in a row
        ("x." * 30, True),  # every other one
        ("." * 500 + "xxx", True),  # a good past is no leave
        ("xx", False),
        ("x.." * 100, False),
        ("xx......" * 100, False),
    ],
)
def test_more_than_a_third_that_fail_are_told(frames: str, is_told: bool) -> None:
    """x: a frame that fails."""
    level, engine = FaultLevel(), FakeEngine("v1")
    found = 0
    for frame in frames:
        if frame == "x":
            found += level.failed(engine)
        else:
            level.passed(engine)
    assert bool(found) is is_told


def test_it_is_told_as_long_as_it_lasts() -> None:
    """Once for each three frames in a row."""
    level, engine = FaultLevel(), FakeEngine("v1")
    assert [level.failed(engine) for _ in range(6)] == [False, False, True] * 2


def test_another_engine_begins_anew() -> None:
    """What failed before the swap says nothing of what serves now."""
    level, old, new = FaultLevel(), FakeEngine("v1"), FakeEngine("v2")
    assert not level.failed(old)
    assert not level.failed(old)
    assert not level.failed(new)
    assert not level.failed(old)


def test_one_camera_of_three_is_enough() -> None:
    """Dark pictures of one line: the others' results are no comfort to it."""
    router = RouterHarness()
    lines = [router.line(f"line-{n}") for n in range(3)]
    engine = router.swap("v1")
    said: list[str] = []
    router.router._failing = lambda engine, why: said.append(why)
    for _ in range(3):
        for line in lines:
            line.captures()
            if line is lines[1]:
                engine.faults()
            else:
                engine.answers()
    assert said == ["frames of line-1 keep failing: NaN"]
    for line in lines:
        line.removed()
