# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pace: frames on time without drift, on a clock that the test turns."""

from __future__ import annotations

import pytest

from edgeagent.workers.frame_pacer import FramePacer


def test_due_times_do_not_drift() -> None:
    """Each take a little late leaves the thousandth frame where it belongs."""
    pacer, now = FramePacer(10, live=False), 100.0
    for i in range(1000):
        now += max(0.0, pacer.wait_s(now)) + 0.003
        assert pacer.take(now) == 0
        assert now == pytest.approx(100 + i * 0.1 + 0.003, abs=0.004)


def test_a_file_catches_up_after_a_hiccup() -> None:
    """0.5 s late: the frames that were due follow at once, none is left out."""
    pacer = FramePacer(10, live=False)
    pacer.take(0.0)
    assert pacer.take(0.6) == 0
    at_once = 0
    while pacer.wait_s(0.6) <= 1e-9:
        pacer.take(0.6)
        at_once += 1
    assert at_once == 5


def test_a_file_starts_afresh_after_a_long_stop() -> None:
    """A minute late: no burst of six hundred frames."""
    pacer = FramePacer(10, live=False)
    pacer.take(0.0)
    assert pacer.take(60.0) == 0
    assert pacer.wait_s(60.0) == pytest.approx(0.1)


def test_a_live_source_leaves_out_what_is_past() -> None:
    """0.65 s late at 10 a second: six frames are gone, and the next keeps the old beat."""
    pacer = FramePacer(10, live=True)
    pacer.take(0.0)
    assert pacer.take(0.75) == 6
    assert pacer.wait_s(0.75) == pytest.approx(0.05)


def test_a_live_source_makes_up_for_a_hiccup() -> None:
    """0.35 s late: a camera would have buffered the three frames; they follow at once."""
    pacer = FramePacer(10, live=True)
    pacer.take(0.0)
    assert [pacer.take(0.45) for _ in range(4)] == [0, 0, 0, 0]
    assert pacer.wait_s(0.45) == pytest.approx(0.05)


def test_a_restart_leaves_nothing_out() -> None:
    """Time that was spent on something else is no frame's time."""
    pacer = FramePacer(10, live=True)
    pacer.take(0.0)
    pacer.restart()
    assert pacer.wait_s(0.7) <= 0
    assert pacer.take(0.7) == 0
    assert pacer.wait_s(0.7) == pytest.approx(0.1)


def test_a_live_source_never_leaves_out_more_than_a_second() -> None:
    """A minute late: a second's worth is left out, and the beat starts afresh."""
    pacer = FramePacer(10, live=True)
    pacer.take(0.0)
    assert pacer.take(60.0) == 10
    assert pacer.wait_s(60.0) == pytest.approx(0.1)
