# SPDX-License-Identifier: AGPL-3.0-or-later
"""Hard limits of a version that serves, against what the one before did."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgeagent.core.health import HealthLimits, HealthWindow, health_breach

LIMITS = HealthLimits()
USUAL = HealthWindow(
    5.0, frames=75, p95_ms=20.0, p99_ms=25.0, processor_ms=15.0, memory_mb=300.0, silence_s=8.0
)
BEFORE = (USUAL,) * 12


def breach(*now: HealthWindow, before: tuple[HealthWindow, ...] = BEFORE) -> str:
    """Of these windows."""
    return health_breach(now, before, LIMITS)


def windows(count: int, **what: Any) -> list[HealthWindow]:
    """The same a few times."""
    return [replace(USUAL, **what)] * count


def test_a_version_that_does_as_the_one_before_is_healthy() -> None:
    """For as long as one likes, and when nothing is known of it yet."""
    assert breach(*windows(200)) == ""
    assert breach() == ""
    assert breach(*windows(5), before=()) == ""


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ({"p95_ms": 61.0}, "p95 of the latency is 61 ms"),
        ({"p99_ms": 61.0}, "p99 of the latency is 61 ms"),
        ({"p95_ms": 0.0, "p99_ms": 0.0, "processor_ms": 40.0}, "a frame takes the processors 40 ms"),
        ({"frames": 60, "dropped": 15}, "20% of the frames are dropped"),
    ],
)
def test_what_lasts_for_three_windows_is_a_breach(what: dict[str, Any], said: str) -> None:
    """And what passes in two isn't."""
    assert breach(*windows(5), *windows(2, **what)) == ""
    assert breach(*windows(5), *windows(2, **what), *windows(1), *windows(2, **what)) == ""
    assert said in breach(*windows(5), *windows(3, **what))


def test_the_version_before_is_the_measure() -> None:
    """A line that was slow, and dropped frames, is so under its next version."""
    slow = replace(USUAL, p95_ms=60.0, frames=60, dropped=15)
    assert breach(slow, slow, slow, before=(slow,) * 5) == ""
    assert breach(slow, slow, slow, before=(slow,)) == ""


def test_one_slow_window_before_in_ten_counts_as_usual_no_more() -> None:
    """An hour with a backup must not hide what is slow for good."""
    before = (*BEFORE, replace(USUAL, p95_ms=500.0))
    assert "p95" in breach(*windows(3, p95_ms=61.0), before=before)


def test_frames_that_fail_are_a_breach_at_once() -> None:
    """Two of them, where there were none; one may be bad luck."""
    assert breach(replace(USUAL, failed=1)) == ""
    assert "2 of 77 frames failed" in breach(replace(USUAL, failed=2))
    assert breach(replace(USUAL, failed=2), before=(replace(USUAL, failed=2),) * 5) == ""


def test_a_worker_that_restarts_is_a_breach() -> None:
    """The second time."""
    assert breach(*windows(1, restarts=1)) == ""
    assert "started again 2 times" in breach(*windows(2, restarts=1))


def test_memory_that_grows_is_a_breach() -> None:
    """Steadily: 7 MB a second; not one that jumps once, or falls again and again."""
    leak = [replace(USUAL, memory_mb=300.0 + 35 * i) for i in range(10)]
    assert breach(*leak[:7]) == ""
    assert "420 MB a minute" in breach(*leak[:8])
    jump = [replace(USUAL, memory_mb=300.0 + 200 * (i > 5)) for i in range(12)]
    assert breach(*jump) == ""
    saw = [replace(USUAL, memory_mb=300.0 + 35 * (i % 4)) for i in range(40)]
    assert breach(*saw) == ""


def test_a_slow_leak_is_found_later() -> None:
    """6 MB a minute, of windows of five seconds: within a quarter of an hour."""
    leak = [replace(USUAL, memory_mb=300.0 + 0.5 * i) for i in range(180)]
    assert breach(*leak[:100]) == ""
    assert "6 MB a minute" in breach(*leak)


def test_windows_that_tell_no_latency_are_no_measure() -> None:
    """The machine was busy all the time under the version before, and isn't now."""
    busy = (replace(USUAL, p95_ms=0.0, p99_ms=0.0),) * 12
    assert breach(*windows(6), before=busy) == ""
    assert breach(*windows(6, p95_ms=60.0), before=(*busy, *BEFORE[:3]))


def test_silence_is_measured_by_the_longest_one_ever() -> None:
    """Three times of it, and a minute at least."""
    assert breach(replace(USUAL, silence_s=59.0)) == ""
    assert "nothing was found for 61 s, and for 8 s" in breach(replace(USUAL, silence_s=61.0))
    assert health_breach([replace(USUAL, silence_s=61.0)], BEFORE, LIMITS, longest_silence_s=600.0) == ""
    assert breach(replace(USUAL, silence_s=900.0), before=()) == ""
    assert breach(replace(USUAL, silence_s=61.0, frames=0)) == ""


def test_a_break_that_is_longer_than_what_was_watched_is_no_breach() -> None:
    """Five busy minutes before, and then the shift has its break."""
    assert breach(replace(USUAL, silence_s=299.0), before=BEFORE * 5) == ""
    assert breach(replace(USUAL, silence_s=301.0), before=BEFORE * 5)
