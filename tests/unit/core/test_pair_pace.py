# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often a second version looks on: as often as the line doesn't feel it."""

from __future__ import annotations

from edgeagent.core.pair_pace import PaceLimits, PairPace

LIMITS = PaceLimits(least_fps=0.5, most_fps=8.0, first_fps=4.0, slower=1.1)


def after(beside_ms: float, seconds: float = 60.0) -> PairPace:
    """The pace on a line of 15 frames a second that take 20 ms each, and so long beside the second version."""
    pace, due = PairPace(LIMITS), 0.0
    for frame in range(int(seconds * 15)):
        overlapped = frame / 15 >= due
        due += pace.interval_s if overlapped else 0.0
        pace.served(beside_ms if overlapped else 20.0, overlapped)
    return pace


def test_it_rises_while_nothing_is_felt() -> None:
    """Up to the most."""
    pace = after(21.0)
    assert (pace.fps, pace.interval_s) == (8.0, 1 / 8)
    assert 1.0 < pace.slower < LIMITS.slower


def test_it_falls_when_frames_are_slower_and_stays_down() -> None:
    """To the least, soon."""
    assert after(30.0, 8).fps <= 2.0
    assert after(30.0, 60).fps == after(30.0, 600).fps == LIMITS.least_fps


def test_a_line_that_never_meets_it_feels_nothing() -> None:
    """Its frames are through before the second version begins."""
    pace = PairPace(LIMITS)
    for _ in range(600):
        pace.served(20.0, False)
    assert (pace.fps, pace.slower) == (8.0, 0.0)
