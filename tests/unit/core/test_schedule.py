# SPDX-License-Identifier: AGPL-3.0-or-later
"""Times of day, in the time zone of the site: over midnight, over the change of the clocks."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from edgeagent.core.schedule import parse_window, seconds_until_open

BERLIN = ZoneInfo("Europe/Berlin")


def at(text: str) -> datetime:
    """In Berlin."""
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("windows", "now", "hours"),
    [
        (["02:00-04:30"], "2026-11-28T02:00", 0),
        (["02:00-04:30"], "2026-11-28T04:29", 0),
        (["02:00-04:30"], "2026-11-28T04:30", 21.5),
        (["02:00-04:30"], "2026-11-28T01:00", 1),
        (["22:00-06:00"], "2026-11-28T05:00", 0),  # begun the day before
        (["22:00-06:00"], "2026-11-28T06:00", 16),
        (["sun 22:00-06:00"], "2026-11-30T05:00", 0),  # Monday morning
        (["sun 22:00-06:00"], "2026-11-30T06:00", 6 * 24 + 16),
        (["mon-fri 12:00-12:30"], "2026-11-28T12:15", 2 * 24 - 0.25),  # a Saturday
        (["Fri-Mon 12:00-12:30"], "2026-11-28T12:15", 0),
        (["12:00-12:30", "08:00-08:10"], "2026-11-28T07:00", 1),
        (["00:00-00:00"], "2026-11-28T13:00", 0),  # all day
        (["02:00-03:00"], "2026-10-25T01:00", 1),  # the hour that comes twice
        (["04:00-05:00"], "2026-10-25T01:00", 4),  # the day that has an hour more
        (["04:00-05:00"], "2026-03-29T01:00", 2),  # and the one that has an hour less
        (["02:30-02:45"], "2026-03-29T01:00", 1.5),  # an hour that is skipped: after it
    ],
)
def test_until_the_next_window_opens(windows: list[str], now: str, hours: float) -> None:
    """Zero while one is open."""
    assert seconds_until_open([parse_window(w) for w in windows], at(now), BERLIN) == hours * 3600


def test_the_time_zone_of_the_node_does_not_matter() -> None:
    """Only that of the site."""
    window = [parse_window("02:00-03:00")]
    assert seconds_until_open(window, datetime(2026, 7, 1, 0, 30, tzinfo=UTC), BERLIN) == 0.0
    assert seconds_until_open(window, datetime(2026, 7, 1, 0, 30, tzinfo=UTC), ZoneInfo("UTC")) == 5400.0


def test_no_window_never_opens() -> None:
    """Whoever asks for one then is told."""
    assert seconds_until_open([], at("2026-11-28T00:00"), BERLIN) == math.inf


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is no window"),
        ("2-4", "is no window"),
        ("02:00", "is no window"),
        ("25:00-26:00", "hour must be in 0..23"),
        ("mon-xyz 02:00-03:00", "'xyz' is no day; allowed: mon, tue"),
        ("02:00-03:00 " + "x" * 1000, "is no window"),
    ],
)
def test_what_is_no_window_is_said(text: str, why: str) -> None:
    """With what is allowed."""
    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        parse_window(text)
    assert len(str(caught.value)) < 250
