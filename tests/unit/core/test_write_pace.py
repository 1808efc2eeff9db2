# SPDX-License-Identifier: AGPL-3.0-or-later
"""How often a node writes its presence."""

from __future__ import annotations

from edgeagent.core.write_pace import BURST, REFILL_S, REFRESH_S, WritePace


def writings(pace: WritePace, changed: bool, times: list[float]) -> list[float]:
    """When it is written, where it is asked at these times."""
    written = []
    for now in times:
        if pace.is_due(changed, now):
            pace = pace.after_writing(now)
            written.append(now)
    return written


def test_what_has_not_changed_is_written_every_five_minutes() -> None:
    """However often it is asked."""
    assert REFRESH_S == 300
    assert writings(WritePace(0.0), False, [15.0 * n for n in range(81)]) == [300, 600, 900, 1200]


def test_a_change_is_written_at_once() -> None:
    """And so are some more, one after another."""
    times = [1000 + 0.1 * n for n in range(BURST)]
    assert writings(WritePace(0.0), True, times) == times


def test_what_changes_all_day_does_not_fill_the_store() -> None:
    """A camera that comes and goes every two seconds: one writing a minute, after the first ones."""
    day = 86_400
    count = len(writings(WritePace(0.0), True, [2.0 * n for n in range(day // 2)]))
    assert count <= BURST + day / REFILL_S
    assert count >= day / REFILL_S


def test_after_a_calm_time_changes_are_written_at_once_again() -> None:
    """The burst is whole again, and not larger."""
    pace = WritePace(0.0, left=0.0)
    assert writings(pace, True, [1.0, 59.0]) == []
    times = [50_000 + n for n in range(2 * BURST)]
    assert writings(pace, True, [float(t) for t in times]) == times[:BURST]
