# SPDX-License-Identifier: AGPL-3.0-or-later
"""What became of frames: counted always, gaps only while a window is open."""

from __future__ import annotations

from edgeagent.serving.frame_tally import FrameTally


def test_a_window_sees_what_happens_while_it_is_open() -> None:
    """Frames with a result and without one, and the longest gap of one pipeline; not what was before."""
    tally = FrameTally()
    tally.result("a", 0.0)
    tally.drop("busy", 5)
    window = tally.open()
    assert (window.results, window.lost, window.dropped, window.longest_gap_s) == (0, 0, {}, None)
    for pipeline, now in (("a", 1.0), ("b", 1.5), ("a", 1.6), ("b", 2.0)):
        tally.result(pipeline, now)
    tally.drop("busy", 2)
    tally.drop("unreadable", 3)
    assert (window.results, window.lost, window.longest_gap_s) == (4, 2, 1.0)
    assert window.dropped == {"busy": 2, "unreadable": 3}


def test_windows_overlap() -> None:
    """A version comes while another is on probation; each sees its own, and none after it was closed."""
    tally = FrameTally()
    first = tally.open()
    tally.result("a", 0.0)
    tally.result("a", 5.0)
    second = tally.open()
    tally.result("a", 6.0)
    tally.close(first)
    tally.result("a", 16.0)
    tally.close(second)
    tally.close(second)
    tally.result("a", 90.0)
    assert (first.longest_gap_s, second.longest_gap_s) == (5.0, 10.0)


def test_a_pipeline_that_stopped_leaves_no_gap() -> None:
    """What comes after that is another run of it."""
    tally = FrameTally()
    window = tally.open()
    tally.result("a", 0.0)
    tally.forget("a")
    tally.result("a", 99.0)
    assert window.longest_gap_s is None
