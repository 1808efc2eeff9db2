# SPDX-License-Identifier: AGPL-3.0-or-later
"""The least pace of a transfer."""

from __future__ import annotations

from edgeagent.store.pace import Pace, PaceMeter


def test_it_is_judged_over_the_time_given() -> None:
    """Not before; and anew for each stretch of it, so that a fast start excuses nothing."""
    meter = PaceMeter(Pace(100, 10), now=5.0, done=1000)
    assert meter.lag(1000, 14.9) == ""
    assert meter.lag(100_000, 15.0) == ""
    assert meter.lag(101_000, 25.0) == ""
    assert meter.lag(101_999, 35.0) == "999 bytes came within 10 s; model_store.min_bytes_per_second is 100"


def test_at_any_pace() -> None:
    """0 switches it off."""
    assert PaceMeter(Pace(0, 10), now=0.0).lag(0, 1000.0) == ""
