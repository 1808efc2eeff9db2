# SPDX-License-Identifier: AGPL-3.0-or-later
"""Times of day at which a node may switch, in the time zone of its site."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FORM = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))? )?(\d\d):(\d\d)-(\d\d):(\d\d)")
_EXAMPLES = "such as 02:00-04:30, sun 22:00-06:00, mon-fri 12:00-12:30"


@dataclass(frozen=True)
class Window:
    """From one time of day to another, on the days on which it begins (0: Monday). One that doesn't end after it begins
    ends on the next day."""

    days: frozenset[int]
    begin: time
    end: time


def parse_window(text: str) -> Window:
    """`[DAY[-DAY] ]HH:MM-HH:MM`. Raises ValueError that says what is wrong."""
    found = _FORM.fullmatch(text.strip().lower())
    if found is None:
        raise ValueError(f"{text[:40]!r} is no window; allowed: [DAY[-DAY] ]HH:MM-HH:MM, {_EXAMPLES}")
    first, last, *numbers = found.groups()
    unknown = [day for day in (first, last) if day and day not in DAYS]
    if unknown:
        raise ValueError(f"{text[:40]!r}: {unknown[0]!r} is no day; allowed: {', '.join(DAYS)}")
    hours = [int(n) for n in numbers]
    try:
        begin, end = time(hours[0], hours[1]), time(hours[2], hours[3])
    except ValueError as e:
        raise ValueError(f"{text[:40]!r}: {e}; allowed: 00:00 to 23:59") from e
    if first is None:
        return Window(frozenset(range(7)), begin, end)
    at = DAYS.index(first)
    days = (DAYS.index(last) - at) % 7 + 1 if last else 1
    return Window(frozenset((at + n) % 7 for n in range(days)), begin, end)


def seconds_until_open(windows: Sequence[Window], now: datetime, zone: tzinfo) -> float:
    """Seconds until the next of the windows opens, 0.0 while one is open, infinity when there is none.

    now: with a time zone, any. A window that begins or ends in an hour that the clocks skip does so an hour later.
    """
    today = now.astimezone(zone).date()
    waits = [
        _wait(window, today + timedelta(days=ahead), now, zone)
        for window in windows
        for ahead in range(-1, 9)
    ]
    return min(waits, default=float("inf"))


def _wait(window: Window, day: date, now: datetime, zone: tzinfo) -> float:
    """Until the window that begins on this day; 0.0 while it is open, infinity when it is over or there is none."""
    if day.weekday() not in window.days:
        return float("inf")
    begin = datetime.combine(day, window.begin, zone).astimezone(UTC)
    end_day = day if window.end > window.begin else day + timedelta(days=1)
    end = datetime.combine(end_day, window.end, zone).astimezone(UTC)
    if now >= end:
        return float("inf")
    return max(0.0, (begin - now).total_seconds())
