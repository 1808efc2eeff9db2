# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the gates see of the line: the latest of each camera, at the cost of two slots at most."""

from __future__ import annotations

from edgeagent.update.recent_frames import RecentFrames
from tests.support.routing import RouterHarness


def test_the_last_frame_of_each_pipeline_that_gave_a_result() -> None:
    """The one before gives its slot back."""
    harness = RouterHarness()
    recent = RecentFrames(harness.router)
    first, second = harness.line("line-1"), harness.line("line-2")
    engine = harness.swap("v1")
    for seq in range(3):
        first.captures()
        second.captures()
        engine.answers()
        engine.answers()
        assert [(f.pipeline, f.seq) for f in recent.frames()] == [("line-1", seq), ("line-2", seq)]
        assert (first.in_use, second.in_use) == (1, 1)
        harness.now += 0.6


def test_before_the_first_result_the_newest_that_waits() -> None:
    """The first version ever is tried on what the camera sees. Without a camera there is nothing."""
    harness = RouterHarness()
    recent = RecentFrames(harness.router)
    harness.line("dark")
    camera = harness.line("line-1")
    assert recent.frames() == []
    camera.captures(2)
    assert [f.seq for f in recent.frames()] == [1]


def test_a_worker_that_reads_long_costs_one_slot_more() -> None:
    """Its frame stays as it is, whatever happens on the line meanwhile."""
    harness = RouterHarness()
    recent = RecentFrames(harness.router)
    camera = harness.line("line-1")
    engine = harness.swap("v1")
    camera.captures()
    engine.answers()
    (lent,) = recent.frames()
    lent.retain()
    for _ in range(5):
        harness.now += 1
        camera.captures()
        engine.answers()
        assert camera.in_use == 2
    assert [f.seq for f in recent.frames()] == [1]
    lent.release()
    harness.now += 1
    camera.captures()
    engine.answers()
    assert [f.seq for f in recent.frames()] == [6]
    assert camera.in_use == 1


def test_a_camera_that_ends_takes_its_frame_along() -> None:
    """Its ring can be closed; a worker that still reads has its own hold on the frame."""
    harness = RouterHarness()
    recent = RecentFrames(harness.router)
    camera = harness.line("line-1")
    engine = harness.swap("v1")
    camera.captures()
    engine.answers()
    (lent,) = recent.frames()
    lent.retain()
    camera.removed(held=1)
    assert recent.frames() == []
    lent.release()
    assert camera.in_use == 0
